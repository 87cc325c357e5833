"""What a runtime wishes for a container beyond the configuration: addresses, a MAC, a name service, a label.

Three places have grown for it, and all are read: `runtimeConfig` (capabilities), `args.cni` in the configuration, and
the variable CNI_ARGS; the earlier of these wins (CNI conventions, "Dynamic Plugin specific fields"). What is not known
is none of our business. Pure; used by `weavemesh.cni.request`. Keys arrive in lower case.
"""

import re
from ipaddress import IPv4Interface, IPv6Interface, ip_interface

from msgspec import Struct

from weavemesh.cni.result import CniError, Dns, ErrorCode
from weavemesh.kernel.podmessage import IPAddress

ADDRESSES_MAX = 2
"""One of each family: a pod has no more."""

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.ASCII)
_MULTICAST, _NOBODY = 0x01, "00:00:00:00:00:00"


class Wish(Struct, frozen=True):
    """What is wished; empty or None where nothing is."""

    addresses: tuple[IPAddress, ...] = ()
    mac: str | None = None
    dns: Dns | None = None
    label: str = ""
    """"namespace/name" of the pod, or its name alone, or "" where the runtime does not say."""


def decode_wish(runtime_config: object, args: object, arguments: str) -> Wish:
    """The wishes in `runtimeConfig`, `args` and CNI_ARGS. CniError with code 7 for one that cannot be meant."""
    capabilities = _table(runtime_config)
    in_args = _table(_table(args).get("cni"))
    pairs = dict(pair.split("=", 1) for pair in arguments.split(";") if "=" in pair)
    addresses = capabilities.get("ips") or in_args.get("ips") or pairs.get("IP")
    mac = capabilities.get("mac") or in_args.get("mac") or pairs.get("MAC")
    return Wish(
        addresses=_addresses(addresses),
        mac=_mac(mac) if mac else None,
        dns=_dns(_table(capabilities.get("dns"))),
        label="/".join(filter(None, (pairs.get("K8S_POD_NAMESPACE"), pairs.get("K8S_POD_NAME")))),
    )


def decode_ip(text: str) -> IPAddress:
    """The address in `10.32.0.7` or `10.32.0.7/12`. ValueError."""
    interface: IPv4Interface | IPv6Interface = ip_interface(text)
    return interface.ip


def _addresses(value: object) -> tuple[IPAddress, ...]:
    texts = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    try:
        addresses = tuple(dict.fromkeys(decode_ip(str(text)) for text in texts))
    except ValueError as error:
        raise CniError(ErrorCode.INVALID_CONFIG, "an address that is asked for is none", str(error)) from error
    if len(addresses) > ADDRESSES_MAX or len({address.version for address in addresses}) < len(addresses):
        raise CniError(
            ErrorCode.INVALID_CONFIG,
            "more addresses are asked for than a pod can have: one of each family",
            ", ".join(map(str, addresses)),
        )
    return addresses


def _mac(value: object) -> str:
    text = str(value).lower().replace("-", ":")
    if not _MAC.fullmatch(text) or int(text[:2], 16) & _MULTICAST or text == _NOBODY:
        raise CniError(ErrorCode.INVALID_CONFIG, f"the MAC that is asked for is not one of a device: {value!r}")
    return text


def _dns(table: dict[str, object]) -> Dns | None:
    """The capability `dns` names its parts otherwise than a configuration does."""
    servers, searches, options = (_texts(table.get(key)) for key in ("servers", "searches", "options"))
    if not (servers or searches or options):
        return None
    return Dns(nameservers=servers, search=searches, options=options)


def _texts(value: object) -> list[str] | None:
    return [str(one) for one in value] or None if isinstance(value, list) else None


def _table(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}
