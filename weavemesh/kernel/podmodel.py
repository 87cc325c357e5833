"""What a pod's attachment is: its addresses, its names in the kernel, and how wiring it can fail. No system calls.

The counterparts are `weavemesh.kernel.podwork`, which makes attachments, and `weavemesh.kernel.pod`, the door.
"""

import hashlib
import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from msgspec import Struct

from weavemesh.kernel.podmessage import IPAddress, Link

IPNetwork = IPv4Network | IPv6Network

HOST_PREFIX = "wmv"
"""Begins the name of the host's end of every pod's veth, so that all are found without state."""
HOST_MAC = "ee:ee:ee:ee:ee:ee"
"""Of every host end: a pod can be moved or restored without learning a new one."""
GATEWAY_IPV4 = IPv4Address("169.254.1.1")
GATEWAY_IPV6 = IPv6Address("fe80::1")
RETIRED_GROUP = 0x776D64
"""The device group of host ends that are being removed: no address is theirs any more, nothing is routed to them."""

EVERYWHERE: tuple[IPNetwork, ...] = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))

_HOST_IFNAME = re.compile(HOST_PREFIX + "[0-9a-f]{10}")
_ALIAS = "weavemesh"
_ALIAS_BYTES_MAX = 255  # IFALIASZ - 1


class InterfaceExists(Exception):
    """The pod has an interface of that name, which is not a leftover of ours."""

    def __init__(self, ifname: str) -> None:
        super().__init__(ifname)
        self.ifname = ifname

    def __str__(self) -> str:
        return f"the container already has an interface {self.ifname}"


class WiringFailed(Exception):
    """The kernel or the pod's namespace refused; `reason` is a sentence, and what had been made is undone."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class StillWired(WiringFailed):
    """An attachment could not be undone: its address must stay with it."""


class PodAddress(Struct, frozen=True):
    """What a pod is reached by."""

    ipv4: IPv4Address
    ipv6: IPv6Address | None
    """None: the cluster has no IPv6, or the pod has it switched off."""

    def all(self) -> tuple[IPAddress, ...]:
        """The addresses that are there, IPv4 first."""
        return (self.ipv4,) if self.ipv6 is None else (self.ipv4, self.ipv6)


class WiredPod(Struct, frozen=True):
    """One attachment as it is in the kernel now."""

    host_ifname: str
    host_mac: str
    mac: str
    mtu: int
    address: PodAddress
    """What the pod really got: without IPv6 where the pod or the host has it switched off."""
    routes: tuple[IPNetwork, ...] = EVERYWHERE
    """What the pod sends this way."""


class PodLink(Struct, frozen=True):
    """A host's end of a pod's veth, found in the kernel."""

    host_ifname: str
    ident: str | None
    """Whose it is; None: wiring it was never finished, or its ident is too long to be written on it."""
    label: str
    """What people call the pod ("namespace/name"); "" if nobody said."""
    is_whole: bool = True
    """False: whoever made it has not finished."""
    is_retired: bool = False
    """True: it is being removed."""


class Order(Struct, frozen=True):
    """One attachment to be made; which address it gets may be decided later."""

    ident: str
    netns_fd: int
    ifname: str
    mtu: int
    label: str = ""
    mac: str | None = None
    """None: one that is made of the ident."""
    is_default: bool = True
    """Whether all that the pod sends goes this way, unless it has a default route already."""
    mesh: tuple[IPNetwork, ...] = ()
    """What goes this way in any case."""

    @property
    def pod_mac(self) -> str:
        """The MAC of the pod's end."""
        return self.mac or pod_mac(self.ident)


def host_ifname(ident: str) -> str:
    """The name of the host's end of an attachment's veth, 13 characters."""
    return HOST_PREFIX + hashlib.sha256(ident.encode()).hexdigest()[:10]


def pod_mac(ident: str) -> str:
    """The pod's MAC: locally administered, unicast, the same each time for the same attachment."""
    digest = hashlib.sha256(b"mac " + ident.encode()).digest()
    return bytes([digest[0] & 0xFC | 0x02, *digest[1:6]]).hex(":")


def alias_of(ident: str, label: str) -> str:
    """What is written on the host's end when an attachment is whole."""
    whole = f"{_ALIAS} {ident}"
    if len(whole.encode()) > _ALIAS_BYTES_MAX:
        return _ALIAS
    return f"{whole} {label}".encode()[:_ALIAS_BYTES_MAX].decode("utf-8", "ignore").rstrip() if label else whole


def pod_link_of(link: Link) -> PodLink | None:
    """The host's end as it was found; None if the device is none."""
    if not _HOST_IFNAME.fullmatch(link.name):
        return None
    mark, _, rest = (link.alias or "").partition(" ")
    ident, _, label = rest.partition(" ")
    return PodLink(
        host_ifname=link.name,
        ident=ident if mark == _ALIAS and ident else None,
        label=label,
        is_whole=mark == _ALIAS,
        is_retired=link.group == RETIRED_GROUP,
    )


def gateway_of(family: int) -> IPAddress:
    """By which gateway a pod sends in this family (4 or 6)."""
    return GATEWAY_IPV4 if family == 4 else GATEWAY_IPV6
