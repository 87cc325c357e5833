"""Wires pods: a veth pair each, routed, with nothing left to be asked of the network.

The pod's end has a /32 and a /128 address and a default route by a link-local gateway that no machine has: both ends
hold permanent neighbour entries, so there is no ARP, no neighbour solicitation, no duplicate address detection and no
broadcast domain. The host's end has no address; the host routes the pod's two addresses to it.

Not here: which address a pod gets (`ipam_crdt`), what a container runtime is told (`weavemesh.cni`), the overlay
device. The kernel's work is done in threads: deleting a veth takes 15 ms, and all of it waits for the kernel's one
lock on devices.
"""

import asyncio
import errno
import hashlib
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from pathlib import Path
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from weavemesh.kernel import podmessage
from weavemesh.kernel.netns import call_in
from weavemesh.kernel.podlink import NetlinkError, RouteSocket
from weavemesh.kernel.podmessage import IPAddress, Link, Message

T = TypeVar("T")

HOST_PREFIX = "wmv"
"""Begins the name of the host's end of every pod's veth, so that all are found without state."""
HOST_MAC = "ee:ee:ee:ee:ee:ee"
"""Of every host end: a pod can be moved or restored without learning a new one."""
GATEWAY_IPV4 = IPv4Address("169.254.1.1")
GATEWAY_IPV6 = IPv6Address("fe80::1")

THREADS = 4
"""More would only queue at the kernel's lock on devices."""

_HOST_IFNAME = re.compile(HOST_PREFIX + "[0-9a-f]{10}")
_ALIAS = "weavemesh"
_ALIAS_BYTES_MAX = 255  # IFALIASZ - 1
_SYSCTL_IPV6 = Path("/proc/sys/net/ipv6/conf")
_HOST_IPV4 = {
    podmessage.DEVCONF_FORWARDING: 1,
    podmessage.DEVCONF_ACCEPT_REDIRECTS: 0,
    # Strict: a pod can send only from the address that is routed to it.
    podmessage.DEVCONF_RP_FILTER: 1,
}


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


class PodLink(Struct, frozen=True):
    """A host's end of a pod's veth, found in the kernel."""

    host_ifname: str
    ident: str | None
    """Whose it is; None: wiring it was never finished, or its ident is too long to be written on it."""
    label: str
    """What people call the pod ("namespace/name"); "" if nobody said."""


class _Order(Struct, frozen=True):
    ident: str
    netns_fd: int
    ifname: str
    address: PodAddress
    mtu: int
    label: str


def host_ifname(ident: str) -> str:
    """The name of the host's end of an attachment's veth, 13 characters."""
    return HOST_PREFIX + hashlib.sha256(ident.encode()).hexdigest()[:10]


def pod_mac(ident: str) -> str:
    """The pod's MAC: locally administered, unicast, the same each time for the same attachment."""
    digest = hashlib.sha256(b"mac " + ident.encode()).digest()
    return bytes([digest[0] & 0xFC | 0x02, *digest[1:6]]).hex(":")


class PodWiring:
    """Wires and unwires pods in the agent's network namespace, which must forward (`weavemesh.kernel.sysctl`).

    Calls for different idents may run at once; those for one ident are the caller's to put in order.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="weavemesh-pod")

    async def attach(
        self, ident: str, *, netns_fd: int, ifname: str, address: PodAddress, mtu: int, label: str = ""
    ) -> WiredPod:
        """Makes the attachment whole or not at all; the pod can send and be reached when this returns.

        A half-made leftover of the same ident, or one in another namespace, is cleared first. InterfaceExists: the pod
        has `ifname` already, and it stays. WiringFailed: anything else. Cancelled: ends when the kernel is done and
        what it made is undone.
        """
        order = _Order(ident, netns_fd, ifname, address, mtu, label)
        return await self._run(partial(_attach, order), undo=partial(_detach, host_ifname(ident)))

    async def detach(self, ident: str) -> bool:
        """Removes the veth with all its routes; False if there was none. WiringFailed if the kernel refuses."""
        return await self._run(partial(_detach, host_ifname(ident)))

    async def check(self, ident: str, *, netns_fd: int, ifname: str, address: PodAddress) -> tuple[str, ...]:
        """What is missing of an attachment, as sentences; what others added to it is none of our business."""
        return await self._run(partial(_check, ident, netns_fd, ifname, address))

    async def list_pod_links(self) -> tuple[PodLink, ...]:
        """All host ends of pods' veths, by name and without any state of ours. WiringFailed if the kernel refuses."""
        return await self._run(_list_pod_links)

    async def close(self) -> None:
        """Waits for what is running; the pods stay wired."""
        await asyncio.to_thread(self._threads.shutdown)

    async def _run(self, work: Callable[[], T], *, undo: Callable[[], object] | None = None) -> T:
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._threads, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            # A thread cannot be stopped, and nobody may clean up beside it.
            await asyncio.wait([future])
            if not future.cancelled() and future.exception() is None and undo is not None:
                await asyncio.wait([loop.run_in_executor(self._threads, undo)])
            raise


def _attach(order: _Order) -> WiredPod:
    try:
        inside, pod_has_ipv6 = call_in(order.netns_fd, lambda: (RouteSocket(), _has_ipv6()))
    except OSError as error:
        raise WiringFailed(f"cannot enter the container's network namespace: {error.strerror}") from error
    with inside, RouteSocket() as outside:
        if not (pod_has_ipv6 and _has_ipv6()):
            order = replace(order, address=replace(order.address, ipv6=None))
        try:
            pair = _make_pair(order, inside=inside, outside=outside)
        except OSError as error:
            raise WiringFailed(f"cannot {error}") from error
        try:
            _wire(order, pair, inside=inside, outside=outside)
        except OSError as error:
            with suppress(OSError):
                outside.perform(podmessage.delete_link(pair.name))
            raise WiringFailed(f"cannot set up {order.ifname}: {error}") from error
    return WiredPod(pair.name, HOST_MAC, pod_mac(order.ident), order.mtu, order.address)


def _make_pair(order: _Order, *, inside: RouteSocket, outside: RouteSocket) -> Link:
    """The host's end of the new pair; it has no alias yet, which marks it as half-made."""
    name = host_ifname(order.ident)
    peer = podmessage.Peer(name=order.ifname, mac=pod_mac(order.ident), netns_fd=order.netns_fd)
    make = podmessage.add_veth(name, mac=HOST_MAC, mtu=order.mtu, peer=peer)
    try:
        outside.perform(make)
    except NetlinkError as error:
        if error.errno != errno.EEXIST:
            raise
        _clear_leftover(name, order.ifname, inside=inside, outside=outside)
        outside.perform(make)
    link = outside.link(name)
    if link is None or link.peer_index is None:
        raise WiringFailed(f"{name} vanished while it was made; was the container's network namespace deleted?")
    return link


def _clear_leftover(name: str, ifname: str, *, inside: RouteSocket, outside: RouteSocket) -> None:
    there, ours = inside.link(ifname), outside.link(name)
    if there is not None:
        half_made = ours is not None and ours.alias is None
        if not (ours and half_made and (ours.peer_index, there.peer_index) == (there.index, ours.index)):
            raise InterfaceExists(ifname)
    with suppress(NetlinkError):  # that it is gone already is as good; anything else shows when it is made again
        outside.perform(podmessage.delete_link(name))


def _wire(order: _Order, pair: Link, *, inside: RouteSocket, outside: RouteSocket) -> None:
    """Addresses and routes, first in the pod; the alias last of all, for it says that the attachment is whole."""
    assert pair.peer_index is not None, "a pair has two ends"
    addresses = order.address.all()
    with_ipv6 = order.address.ipv6 is not None
    host_side: list[Message] = [podmessage.configure_link(pair.name, ipv4=_HOST_IPV4, ipv6=with_ipv6)]
    pod_side: list[Message] = []
    if with_ipv6:
        pod_side.append(podmessage.configure_link(order.ifname, ipv4={}, ipv6=True))
    pod_side += [podmessage.set_up(podmessage.LOOPBACK_INDEX), podmessage.set_up(pair.peer_index)]
    for address in addresses:
        pod_side += _pod_messages(pair.peer_index, address)
        host_side.append(podmessage.add_host_route(pair.index, address))
        host_side.append(podmessage.add_neighbour(pair.index, address, pod_mac(order.ident)))
    outside.perform(*host_side)
    if with_ipv6:
        (_SYSCTL_IPV6 / pair.name / "accept_ra").write_text("0")
    inside.perform(*pod_side)
    outside.link(pair.name)  # the carrier is there now, and not when the kernel's deferred work gets to it
    outside.perform(podmessage.set_alias(pair.index, _alias(order.ident, order.label)))


def _pod_messages(index: int, address: IPAddress) -> list[Message]:
    if isinstance(address, IPv4Address):
        return [
            podmessage.add_address(index, IPv4Interface(address)),
            podmessage.add_host_route(index, GATEWAY_IPV4),
            podmessage.add_neighbour(index, GATEWAY_IPV4, HOST_MAC),
            podmessage.add_default_route(index, GATEWAY_IPV4),
        ]
    return [
        podmessage.add_address(index, IPv6Interface(address)),
        podmessage.add_neighbour(index, GATEWAY_IPV6, HOST_MAC),
        podmessage.add_default_route(index, GATEWAY_IPV6),
    ]


def _detach(name: str) -> bool:
    with RouteSocket() as outside:
        try:
            outside.perform(podmessage.delete_link(name))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return False
            raise WiringFailed(f"cannot {error}") from error
    return True


def _check(ident: str, netns_fd: int, ifname: str, address: PodAddress) -> tuple[str, ...]:
    name = host_ifname(ident)
    try:
        with call_in(netns_fd, RouteSocket) as inside, RouteSocket() as outside:
            ours, there = outside.link(name), inside.link(ifname)
            if ours is None:
                return (f"the host's end {name} is gone",)
            if there is None:
                return (f"the container has no interface {ifname}",)
            if (ours.peer_index, there.peer_index) != (there.index, ours.index):
                return (f"{ifname} in the container is not the other end of {name}",)
            return (*_check_host(ours, address, outside), *_check_pod(there, address, inside))
    except OSError as error:
        return (f"the attachment cannot be looked at: {error}",)


def _check_host(ours: Link, address: PodAddress, outside: RouteSocket) -> list[str]:
    findings = [] if ours.up else [f"{ours.name} is down"]
    return findings + [
        f"the host has no route to {one} by {ours.name}"
        for one in address.all()
        if outside.device_towards(one) != ours.index
    ]


def _check_pod(there: Link, address: PodAddress, inside: RouteSocket) -> list[str]:
    findings = [] if there.up else [f"{there.name} is down"]
    held, gateways = inside.addresses(there.index), inside.default_gateways(there.index)
    for one in address.all():
        gateway = GATEWAY_IPV4 if isinstance(one, IPv4Address) else GATEWAY_IPV6
        if one not in held:
            findings.append(f"{there.name} has no address {one}")
        if gateway not in gateways:
            findings.append(f"{there.name} has no default route via {gateway}")
    return findings


def _list_pod_links() -> tuple[PodLink, ...]:
    try:
        with RouteSocket() as outside:
            return tuple(_pod_link(link) for link in outside.links() if _HOST_IFNAME.fullmatch(link.name))
    except OSError as error:
        raise WiringFailed(f"cannot {error}") from error


def _alias(ident: str, label: str) -> str:
    whole = f"{_ALIAS} {ident}"
    if len(whole.encode()) > _ALIAS_BYTES_MAX:
        return _ALIAS
    return f"{whole} {label}".encode()[:_ALIAS_BYTES_MAX].decode("utf-8", "ignore").rstrip() if label else whole


def _pod_link(link: Link) -> PodLink:
    mark, _, rest = (link.alias or "").partition(" ")
    ident, _, label = rest.partition(" ")
    return PodLink(link.name, ident if mark == _ALIAS and ident else None, label)


def _has_ipv6() -> bool:
    """Whether a new device of this thread's namespace can have an IPv6 address."""
    try:
        return (_SYSCTL_IPV6 / "default" / "disable_ipv6").read_text().strip() == "0"
    except FileNotFoundError:
        return False
