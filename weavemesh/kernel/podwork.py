"""The kernel's part of wiring pods, blocking: makes an attachment, retires it, looks at it. For threads of `pod`.

An attachment is made in three system calls: the pair, the pod's end, the host's end. The alias is written last of all;
without it the attachment is half made. Retiring takes the pod's routes away and marks the host's end, which makes the
address free for another; the devices themselves, which take the kernel 15 ms or more, are then deleted together.
"""

import errno
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface
from pathlib import Path

from msgspec.structs import replace

from weavemesh.kernel import podmessage
from weavemesh.kernel.netns import visit
from weavemesh.kernel.podlink import NetlinkError, RouteSocket
from weavemesh.kernel.podmessage import IPNetwork, Link, Message
from weavemesh.kernel.podmodel import (
    EVERYWHERE,
    GATEWAY_IPV4,
    GATEWAY_IPV6,
    HOST_MAC,
    RETIRED_GROUP,
    InterfaceExists,
    Order,
    PodAddress,
    PodLink,
    WiredPod,
    WiringFailed,
    alias_of,
    gateway_of,
    host_ifname,
    pod_link_of,
)

_SYSCTL_IPV6 = Path("/proc/sys/net/ipv6/conf")
_ALWAYS = "2"  # accept_ra
_NO_IPV6 = (errno.EACCES, errno.EAFNOSUPPORT, errno.EOPNOTSUPP)
"""How the kernel refuses an IPv6 address where IPv6 is switched off, or was never there."""
_HOST_IPV4 = {
    podmessage.DEVCONF_FORWARDING: 1,
    podmessage.DEVCONF_ACCEPT_REDIRECTS: 0,
    # Strict: a pod can send only from the address that is routed to it.
    podmessage.DEVCONF_RP_FILTER: 1,
}


def attach(order: Order) -> WiredPod:
    """Makes the attachment whole or not at all. InterfaceExists; WiringFailed."""
    try:
        inside = visit(order.netns_fd, RouteSocket)
    except OSError as error:
        raise WiringFailed(f"cannot enter the container's network namespace: {error.strerror}") from error
    with inside, RouteSocket() as outside:
        if not _host_has_ipv6():
            order = replace(order, address=replace(order.address, ipv6=None))
        try:
            pair = _make_pair(order, inside=inside, outside=outside)
        except OSError as error:
            raise WiringFailed(f"cannot {error}") from error
        try:
            address, routes = _wire_pod(order, pair, inside)
            _wire_host(order, pair, address, outside)
        except OSError as error:
            with suppress(OSError):
                outside.perform(podmessage.delete_link(pair.name))
            raise WiringFailed(f"cannot set up {order.ifname}: {error}") from error
    return WiredPod(pair.name, HOST_MAC, order.pod_mac, order.mtu, address, routes)


def retire(name: str, address: PodAddress | None) -> bool:
    """Ends the attachment whose host's end has this name: nothing is routed to the pod any more, and what it sends from
    its address is dropped (rp_filter).

    The devices are left to `delete_retired`. False if there was none. WiringFailed.
    """
    with RouteSocket() as outside:
        try:
            link = outside.link(name)
            if link is None:
                return False
            routes = [podmessage.remove_host_route(name, link.index, one) for one in (address.all() if address else ())]
            first, *others = outside.attempt(podmessage.set_group(name, RETIRED_GROUP), *routes)
        except OSError as error:
            raise WiringFailed(f"cannot {error}") from error
    for failure in (first, *others):
        if failure and failure.errno not in (errno.ENODEV, errno.ESRCH):
            raise WiringFailed(f"cannot {failure}") from failure
    return first is None


def delete_retired() -> bool:
    """Deletes the devices of all retired attachments; False if there were none. WiringFailed."""
    with RouteSocket() as outside:
        try:
            outside.perform(podmessage.delete_group(RETIRED_GROUP))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return False
            raise WiringFailed(f"cannot {error}") from error
    return True


def detach(name: str) -> bool:
    """Deletes the veth whose host's end has this name, and waits for it; False if there was none. WiringFailed."""
    with RouteSocket() as outside:
        try:
            outside.perform(podmessage.delete_link(name))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return False
            raise WiringFailed(f"cannot {error}") from error
    return True


def check(ident: str, netns_fd: int, ifname: str, address: PodAddress) -> tuple[str, ...]:
    """What is missing of an attachment, as sentences."""
    name = host_ifname(ident)
    try:
        with visit(netns_fd, RouteSocket) as inside, RouteSocket() as outside:
            ours, there = outside.link(name), inside.link(ifname)
            if ours is None or ours.group == RETIRED_GROUP:
                return (f"the host's end {name} is gone",)
            if there is None:
                return (f"the container has no interface {ifname}",)
            if (ours.peer_index, there.peer_index) != (there.index, ours.index):
                return (f"{ifname} in the container is not the other end of {name}",)
            return (*_check_host(ours, address, outside), *_check_pod(there, address, inside))
    except OSError as error:
        return (f"the attachment cannot be looked at: {error}",)


def list_pod_links() -> tuple[PodLink, ...]:
    """All host ends of pods' veths, by name alone. WiringFailed."""
    try:
        with RouteSocket() as outside:
            return tuple(found for link in outside.links() if (found := pod_link_of(link)))
    except OSError as error:
        raise WiringFailed(f"cannot {error}") from error


def _make_pair(order: Order, *, inside: RouteSocket, outside: RouteSocket) -> Link:
    """The host's end of the new pair; it has no alias yet, which marks it as half-made."""
    name = host_ifname(order.ident)
    peer = podmessage.Peer(name=order.ifname, mac=order.pod_mac, netns_fd=order.netns_fd)
    make = (
        podmessage.add_veth(name, mac=HOST_MAC, mtu=order.mtu, peer=peer),
        # Before the pod's end is up: then a link-local address would be made up for this one.
        podmessage.configure_link(name, ipv4=_HOST_IPV4, ipv6=order.address.ipv6 is not None),
    )
    made, configured = outside.attempt(*make)
    if made and made.errno == errno.EEXIST:
        _clear_leftover(name, order.ifname, inside=inside, outside=outside)
        made, configured = outside.attempt(*make)
    _raise_first((made, configured))
    link = outside.link(name)
    if link is None or link.peer_index is None:
        raise WiringFailed(f"{name} vanished while it was made; was the container's network namespace deleted?")
    return link


def _clear_leftover(name: str, ifname: str, *, inside: RouteSocket, outside: RouteSocket) -> None:
    """What is in the way is cleared if it is half made, is being removed, or is of ours in another namespace."""
    with suppress(NetlinkError):
        outside.perform(podmessage.delete_group(RETIRED_GROUP))
    there, ours = inside.link(ifname), outside.link(name)
    if there is not None:
        half_made = ours is not None and ours.alias is None
        if not (ours and half_made and (ours.peer_index, there.peer_index) == (there.index, ours.index)):
            raise InterfaceExists(ifname)
    with suppress(NetlinkError):  # that it is gone already is as good; anything else shows when it is made again
        outside.perform(podmessage.delete_link(name))


def _wire_pod(order: Order, pair: Link, inside: RouteSocket) -> tuple[PodAddress, tuple[IPNetwork, ...]]:
    """The pod's end; which addresses it has now (IPv6 may be switched off there), and what is routed this way."""
    assert pair.peer_index is not None, "a pair has two ends"
    index, address = pair.peer_index, order.address
    ipv4 = [
        podmessage.set_up(podmessage.LOOPBACK_INDEX),
        podmessage.set_up(index),
        podmessage.add_address(index, IPv4Interface(address.ipv4)),
        podmessage.add_host_route(index, GATEWAY_IPV4),
        podmessage.add_neighbour(index, GATEWAY_IPV4, HOST_MAC),
    ]
    if address.ipv6 is None:
        inside.perform(*ipv4)
        return address, _route_pod(order, index, inside, (4,))
    ipv6 = [
        podmessage.add_address(index, IPv6Interface(address.ipv6)),
        # The kernel makes this route itself, but in deferred work, and until then the pod takes no answers.
        podmessage.add_local_route(address.ipv6, index),
        podmessage.add_neighbour(index, GATEWAY_IPV6, HOST_MAC),
    ]
    # First of all, so that no link-local address is made up when the device comes up.
    first = podmessage.configure_link(order.ifname, ipv4={}, ipv6=True)
    outcomes = inside.attempt(first, *ipv4, *ipv6)
    _raise_first(outcomes[1 : 1 + len(ipv4)])
    refused = outcomes[1 + len(ipv4)]
    if refused and refused.errno in _NO_IPV6:
        return replace(address, ipv6=None), _route_pod(order, index, inside, (4,))
    _raise_first(outcomes)
    return address, _route_pod(order, index, inside, (4, 6))


def _route_pod(order: Order, index: int, inside: RouteSocket, families: Sequence[int]) -> tuple[IPNetwork, ...]:
    """Everything goes through the gateway, or, if something else is the default already, what belongs to the mesh."""
    wanted = [network for network in EVERYWHERE if network.version in families] if order.is_default else []
    outcomes = _add_routes(index, wanted, inside)
    routes = [network for network, failure in zip(wanted, outcomes, strict=True) if failure is None]
    lacking = [family for family in families if family not in {network.version for network in routes}]
    mesh = [network for network in order.mesh if network.version in lacking]
    _add_routes(index, mesh, inside)
    return (*routes, *mesh)


def _add_routes(index: int, networks: Sequence[IPNetwork], inside: RouteSocket) -> Sequence[NetlinkError | None]:
    """For each network whether there was a route already. Any other failure is raised."""
    messages = [podmessage.add_gateway_route(index, one, gateway_of(one.version)) for one in networks]
    outcomes = inside.attempt(*messages) if messages else ()
    _raise_first([failure for failure in outcomes if failure and failure.errno != errno.EEXIST])
    return outcomes


def _wire_host(order: Order, pair: Link, address: PodAddress, outside: RouteSocket) -> None:
    """The host's end; the alias last of all, for it says that the attachment is whole."""
    # Asking makes the kernel see at once that the pod's end is up, and not when its deferred work gets to it.
    messages: list[Message] = [podmessage.get_link(pair.name)]
    for one in address.all():
        messages.append(podmessage.add_host_route(pair.index, one))
        messages.append(podmessage.add_neighbour(pair.index, one, order.pod_mac))
    if address.ipv6 and _read(_SYSCTL_IPV6 / "default" / "accept_ra") == _ALWAYS:
        (_SYSCTL_IPV6 / pair.name / "accept_ra").write_text("0")  # a pod is no router of the host's
    outside.perform(*messages, podmessage.set_alias(pair.index, alias_of(order.ident, order.label)))


def _check_host(ours: Link, address: PodAddress, outside: RouteSocket) -> list[str]:
    findings = [] if ours.up else [f"{ours.name} is down"]
    return findings + [
        f"the host has no route to {one} by {ours.name}"
        for one in address.all()
        if outside.device_towards(one) != ours.index
    ]


def _check_pod(there: Link, address: PodAddress, inside: RouteSocket) -> list[str]:
    findings = [] if there.up else [f"{there.name} is down"]
    held, routes = inside.addresses(there.index), inside.gateway_routes(there.index)
    for one in address.all():
        gateway = GATEWAY_IPV4 if isinstance(one, IPv4Address) else GATEWAY_IPV6
        if one not in held:
            findings.append(f"{there.name} has no address {one}")
        if gateway not in {via for via, _ in routes}:
            findings.append(f"{there.name} has no default route via {gateway}")
    return findings


def _raise_first(outcomes: Sequence[NetlinkError | None]) -> None:
    for failure in outcomes:
        if failure:
            raise failure


def _host_has_ipv6() -> bool:
    """Whether a new device of the host can have an IPv6 address."""
    return _read(_SYSCTL_IPV6 / "default" / "disable_ipv6") == "0"


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
