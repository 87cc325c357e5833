"""What a container runtime is told: results in the shape of each version of the specification, and errors.

Pure. Its counterpart is `weavemesh.cni.request`. The shapes: CNI SPEC 1.1.0 "Section 5: Result Types" and its
predecessors; where runtimes are stricter than the text, a comment says so.
"""

from enum import IntEnum
from ipaddress import IPv4Address

import msgspec
from msgspec import Struct

from weavemesh.kernel.pod import GATEWAY_IPV4, GATEWAY_IPV6, WiredPod
from weavemesh.kernel.podmessage import IPAddress

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
"""Of the specification, that we speak; the oldest first."""
NEWEST_VERSION = VERSIONS[-1]

_IP4_IP6 = frozenset(("0.1.0", "0.2.0"))
"""One address per family, no interfaces."""
_IP_VERSION = frozenset(("0.3.0", "0.3.1", "0.4.0"))
"""Each address says its family; `dns` is there even if it is empty."""


class ErrorCode(IntEnum):
    """SPEC 1.1.0 "Error"; from 100 on ours; 8 and 999 as the specification's own library has them."""

    INCOMPATIBLE_VERSION = 1
    INVALID_ENVIRONMENT = 4
    IO_FAILURE = 5
    DECODING_FAILURE = 6
    INVALID_CONFIG = 7
    INVALID_NETNS = 8
    TRY_AGAIN_LATER = 11
    INTERFACE_EXISTS = 101
    ATTACHMENT_BROKEN = 102
    INTERNAL = 999


class CniError(Exception):
    """A call that failed, as the runtime will read it: `msg` is the sentence, `details` the cause and the remedy."""

    def __init__(self, code: ErrorCode, msg: str, details: str = "") -> None:
        super().__init__(code, msg, details)
        self.code = code
        self.msg = msg
        self.details = details


class Dns(msgspec.Struct, omit_defaults=True):
    """The name service that a network's configuration asks for; a plugin hands it on (SPEC "dns")."""

    nameservers: list[str] | None = None
    domain: str | None = None
    search: list[str] | None = None
    options: list[str] | None = None


class Attached(Struct, frozen=True):
    """A successful ADD."""

    ifname: str
    sandbox: str
    """CNI_NETNS, word for word."""
    pod: WiredPod
    dns: Dns


def encode_result(attached: Attached, version: str) -> bytes:
    """The result of ADD in the shape of one of VERSIONS."""
    dns = msgspec.to_builtins(attached.dns)
    if version in _IP4_IP6:
        families = {f"ip{one.version}": _family(one) for one in attached.pod.address.all()}
        return msgspec.json.encode({"cniVersion": version, **families, "dns": dns})
    # The host's end first, the container's last: runtimes look up `interface` as an index.
    result: dict[str, object] = {
        "cniVersion": version,
        "interfaces": _interfaces(attached, version),
        "ips": [_ip(one, version) for one in attached.pod.address.all()],
        "routes": [_default_route(one) for one in attached.pod.address.all()],
    }
    if version in _IP_VERSION or dns:
        result["dns"] = dns
    return msgspec.json.encode(result)


def encode_error(error: CniError, version: str) -> bytes:
    """The error object (SPEC "Error"); it is printed on stdout beside a status that is not 0."""
    body: dict[str, object] = {"cniVersion": version, "code": int(error.code), "msg": error.msg}
    if error.details:
        body["details"] = error.details
    return msgspec.json.encode(body)


def encode_versions(version: str) -> bytes:
    """The result of VERSION."""
    return msgspec.json.encode({"cniVersion": version, "supportedVersions": VERSIONS})


def _interfaces(attached: Attached, version: str) -> list[dict[str, object]]:
    pod = attached.pod
    host: dict[str, object] = {"name": pod.host_ifname, "mac": pod.host_mac}
    container: dict[str, object] = {"name": attached.ifname, "mac": pod.mac, "sandbox": attached.sandbox}
    if version == "1.1.0":
        host["mtu"] = container["mtu"] = pod.mtu
    return [host, container]


def _ip(address: IPAddress, version: str) -> dict[str, object]:
    entry: dict[str, object] = {"interface": 1, "address": _cidr(address), "gateway": str(_gateway(address))}
    if version in _IP_VERSION:
        entry["version"] = str(address.version)
    return entry


def _family(address: IPAddress) -> dict[str, object]:
    return {"ip": _cidr(address), "gateway": str(_gateway(address)), "routes": [_default_route(address)]}


def _default_route(address: IPAddress) -> dict[str, str]:
    everywhere = "0.0.0.0/0" if isinstance(address, IPv4Address) else "::/0"
    return {"dst": everywhere, "gw": str(_gateway(address))}


def _gateway(address: IPAddress) -> IPAddress:
    return GATEWAY_IPV4 if isinstance(address, IPv4Address) else GATEWAY_IPV6


def _cidr(address: IPAddress) -> str:
    return f"{address}/{address.max_prefixlen}"
