"""Questions about the host that carries the overlay: its routes, its addresses, its MTU. Changes nothing."""

import re
import socket
from typing import Final

from weavemesh.kernel.linkmessage import Link
from weavemesh.kernel.netlink import PROTOCOL, Netlink
from weavemesh.kernel.rtnetlink import KernelRoute
from weavemesh.overlay.state import IPAddress, IPNetwork, overlap

POD_LINK: Final = re.compile(r"wmv[0-9a-f]{10}")
"""Name of the host side of a pod's veth pair."""

DEFAULT_MTU: Final = 1500

_SHORTEST_SPECIFIC: Final = 2
"""Routes of /0 are defaults, and those of /1 are how VPNs write a default; neither claims our range."""
_GLOBAL_SCOPE: Final = 0
_CONNECTED: Final = 2  # RTPROT_KERNEL: made with an address


async def routes_overlapping(netlink: Netlink, interface: str, network: IPNetwork) -> tuple[str, ...]:
    """Routes not ours that share addresses with `network`, as `10.32.0.0/16 dev eth1`; sorted, without defaults."""
    names = {link.index: link.name for link in await netlink.links()}
    found: dict[str, KernelRoute] = {}
    for route in await netlink.routes(protocol=None):
        name = names.get(route.index or 0, "")
        if route.kind not in ("unicast", "local") or route.protocol == PROTOCOL:
            continue
        if name == interface or POD_LINK.fullmatch(name) or route.destination.prefixlen < _SHORTEST_SPECIFIC:
            continue
        if overlap(route.destination, network):
            found[f"{route.destination} dev {name or 'none'}"] = route
    # An address's own entry says nothing beside the route to its network.
    networks = [route for route in found.values() if route.protocol == _CONNECTED and route.kind == "unicast"]
    return tuple(
        sorted(
            text
            for text, route in found.items()
            if route.kind == "unicast"
            or not any(
                network.index == route.index and overlap(network.destination, route.destination) for network in networks
            )
        )
    )


async def host_addresses(netlink: Netlink, interface: str) -> tuple[IPAddress, ...]:
    """Global addresses, lasting and usable; those of interfaces with a default route first, IPv4 before IPv6."""
    names = {link.index: link.name for link in await netlink.links()}
    defaults = {route.index for route in await netlink.routes(protocol=None) if _is_default(route)}
    entries = [
        entry
        for entry in await netlink.addresses()
        if entry.scope == _GLOBAL_SCOPE
        and not entry.passing
        and not entry.address.ip.is_loopback
        and not _is_ours(names.get(entry.index, ""), interface)
    ]
    entries.sort(key=lambda entry: (entry.index not in defaults, entry.address.version, entry.index))
    return tuple(dict.fromkeys(entry.address.ip for entry in entries))


async def underlay_mtu(netlink: Netlink, interface: str) -> int:
    """The smallest MTU in bytes of the interfaces that carry default routes, or else of those with global addresses.

    1500 on a host that has neither.
    """
    links = {link.index: link for link in await netlink.links()}
    routes = await netlink.routes(protocol=None)
    carriers = [route.index for route in routes if _is_default(route)]
    if not carriers:
        carriers = [entry.index for entry in await netlink.addresses() if entry.scope == _GLOBAL_SCOPE]
    found = [links[index] for index in carriers if index is not None and index in links]
    return min((link.mtu for link in found if _carries_tunnels(link, interface)), default=DEFAULT_MTU)


def udp_port_is_taken(port: int) -> bool:
    """True if a socket of this network namespace has the UDP port, in either family."""
    for family, anywhere in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        try:
            probe = socket.socket(family, socket.SOCK_DGRAM)
        except OSError:
            continue  # a kernel without this family
        with probe:
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                probe.bind((anywhere, port))
            except OSError:
                return True
    return False


def _is_default(route: KernelRoute) -> bool:
    return route.kind == "unicast" and route.destination.prefixlen == 0


def _is_ours(name: str, interface: str) -> bool:
    return name == interface or POD_LINK.fullmatch(name) is not None


def _carries_tunnels(link: Link, interface: str) -> bool:
    return link.up and link.name != "lo" and not _is_ours(link.name, interface)
