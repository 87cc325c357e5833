"""What a container runtime is told: results in the shape of each version of the specification, and errors.

Pure. Its counterpart is `weavemesh.cni.request`. The shapes: CNI SPEC 1.1.0 "Section 5: Result Types" and its
predecessors; where runtimes are stricter than the text, a comment says so.
"""

from collections.abc import Mapping, Sequence
from enum import IntEnum

import msgspec
from msgspec import Struct

from weavemesh.kernel.podmessage import IPAddress, IPInterface, IPNetwork
from weavemesh.kernel.podmodel import EVERYWHERE, WiredPod, gateway_of

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
    CANNOT_ADD = 50
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
    """A successful ADD of an interface."""

    ifname: str
    sandbox: str
    """CNI_NETNS, word for word."""
    pod: WiredPod
    dns: Dns
    chained: Mapping[str, object] | None = None
    """The result of the plugins before us, which ours is added to."""


class Leased(Struct, frozen=True):
    """A successful ADD of the IPAM plugin, one entry a family."""

    addresses: tuple[IPInterface, ...]
    gateways: tuple[IPAddress, ...]
    routes: tuple[object, ...]
    """As objects of a result."""
    dns: Dns


_GATEWAYS = {family: str(gateway_of(family)) for family in (4, 6)}
_ROUTES_EVERYWHERE = tuple({"dst": str(network), "gw": _GATEWAYS[network.version]} for network in EVERYWHERE)


def encode_result(attached: Attached, version: str) -> bytes:
    """The result of ADD in the shape of one of VERSIONS."""
    dns = msgspec.to_builtins(attached.dns)
    pod = attached.pod
    if version in _IP4_IP6:
        families = {
            f"ip{one.version}": {
                "ip": _cidr(one),
                "gateway": str(gateway_of(one.version)),
                "routes": [_route(network) for network in pod.routes if network.version == one.version],
            }
            for one in pod.address.all()
        }
        return msgspec.json.encode({"cniVersion": version, **families, "dns": dns})
    before = attached.chained or {}
    interfaces, ips, routes = (_list(before.get(key)) for key in ("interfaces", "ips", "routes"))
    # The host's end first, the container's last: runtimes look up `interface` as an index.
    own = [_ip(one, version, interface=len(interfaces) + 1) for one in pod.address.all()]
    result: dict[str, object] = {
        **before,
        "cniVersion": version,
        "interfaces": [*interfaces, *_interfaces(attached, version)],
        "ips": [*ips, *own],
        "routes": [*routes, *_routes(pod.routes)],
    }
    dns = dns or before.get("dns") or {}
    if version in _IP_VERSION or dns:
        result["dns"] = dns
    return msgspec.json.encode(result)


def encode_lease(leased: Leased, version: str) -> bytes:
    """The result of the IPAM plugin's ADD, which has no interfaces, in the shape of one of VERSIONS."""
    dns = msgspec.to_builtins(leased.dns)
    pairs = list(zip(leased.addresses, leased.gateways, strict=True))
    if version in _IP4_IP6:
        families = {
            f"ip{one.version}": {"ip": str(one), "gateway": str(gateway), "routes": _of_family(leased.routes, one)}
            for one, gateway in pairs
        }
        return msgspec.json.encode({"cniVersion": version, **families, "dns": dns})
    ips: list[dict[str, object]] = [{"address": str(one), "gateway": str(gateway)} for one, gateway in pairs]
    if version in _IP_VERSION:
        for entry, (one, _) in zip(ips, pairs, strict=True):
            entry["version"] = str(one.version)
    result = {"cniVersion": version, "ips": ips, "routes": leased.routes}
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


def _ip(address: IPAddress, version: str, *, interface: int) -> dict[str, object]:
    entry: dict[str, object] = {
        "interface": interface,
        "address": _cidr(address),
        "gateway": _GATEWAYS[address.version],
    }
    if version in _IP_VERSION:
        entry["version"] = str(address.version)
    return entry


def _routes(networks: Sequence[IPNetwork]) -> Sequence[Mapping[str, str]]:
    return _ROUTES_EVERYWHERE if networks is EVERYWHERE else [_route(one) for one in networks]


def _route(network: IPNetwork) -> Mapping[str, str]:
    return {"dst": str(network), "gw": _GATEWAYS[network.version]}


def _of_family(routes: tuple[object, ...], address: IPInterface) -> list[object]:
    return [one for one in routes if isinstance(one, dict) and (":" in str(one.get("dst"))) == (address.version == 6)]


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _cidr(address: IPAddress) -> str:
    return f"{address!s}/{address.max_prefixlen}"  # its own formatting is slow
