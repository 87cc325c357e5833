"""The hand-packed messages against a real kernel."""

import errno
import os
import secrets
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path

import pytest

from weavemesh.kernel import podmessage
from weavemesh.kernel.netns import call_in
from weavemesh.kernel.podlink import NetlinkError, RouteSocket
from weavemesh.kernel.podmessage import Peer

pytestmark = pytest.mark.root

DEFAULT4, DEFAULT6 = IPv4Network("0.0.0.0/0"), IPv6Network("::/0")
IPV4, IPV6 = IPv4Address("10.32.0.1"), IPv6Address("fd57::1")


@pytest.fixture
def netns_fd() -> Iterator[int]:
    """A fresh network namespace."""
    name = f"wmc{secrets.token_hex(3)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    descriptor = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
        subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.fixture
def route_socket(netns_fd: int) -> Iterator[RouteSocket]:
    with call_in(netns_fd, RouteSocket) as route_socket:
        yield route_socket


@pytest.fixture
def pair(netns_fd: int, route_socket: RouteSocket) -> tuple[int, int]:
    """The indices of a veth pair, both ends up in the namespace."""
    peer = Peer(name="far", mac="02:00:00:00:00:02", netns_fd=netns_fd)
    route_socket.perform(podmessage.add_veth("near", mac="02:00:00:00:00:01", mtu=1380, peer=peer))
    near, far = route_socket.link("near"), route_socket.link("far")
    assert near is not None
    assert far is not None
    route_socket.perform(podmessage.set_up(far.index), podmessage.set_up(podmessage.LOOPBACK_INDEX))
    return near.index, far.index


def test_a_pair_knows_its_ends(pair: tuple[int, int], route_socket: RouteSocket) -> None:
    near, far = route_socket.link("near"), route_socket.link("far")
    assert near is not None
    assert far is not None
    assert (near.index, near.peer_index, far.index, far.peer_index) == (pair[0], pair[1], pair[1], pair[0])
    assert (near.mac, near.mtu, near.up, far.mac, far.mtu) == (
        "02:00:00:00:00:01",
        1380,
        True,
        "02:00:00:00:00:02",
        1380,
    )
    assert {link.name for link in route_socket.links()} >= {"lo", "near", "far"}
    assert route_socket.link("nobody") is None


def test_addresses_and_routes_are_there_at_once_and_may_be_said_twice(
    pair: tuple[int, int], route_socket: RouteSocket
) -> None:
    index = pair[1]
    messages = (
        podmessage.add_address(index, IPv4Interface(IPV4)),
        podmessage.add_address(index, IPv6Interface(IPV6)),
        podmessage.add_host_route(index, IPv4Address("169.254.1.1")),
        podmessage.add_neighbour(index, IPv4Address("169.254.1.1"), "ee:ee:ee:ee:ee:ee"),
        podmessage.add_neighbour(index, IPv6Address("fe80::1"), "ee:ee:ee:ee:ee:ee"),
    )
    routes = (
        podmessage.add_gateway_route(index, DEFAULT4, IPv4Address("169.254.1.1")),
        podmessage.add_gateway_route(index, DEFAULT6, IPv6Address("fe80::1")),
    )
    route_socket.perform(*messages, *routes)
    route_socket.perform(*messages)
    again = route_socket.attempt(*routes)
    assert [failure and failure.errno for failure in again] == [errno.EEXIST] * 2
    assert route_socket.addresses(index) >= {IPV4, IPV6}
    assert route_socket.gateway_routes(index) == {
        (IPv4Address("169.254.1.1"), DEFAULT4),
        (IPv6Address("fe80::1"), DEFAULT6),
    }
    assert route_socket.device_towards(IPv4Address("192.0.2.1")) == index
    assert route_socket.gateway_routes(pair[0]) == frozenset()


def test_without_a_route_there_is_no_device(route_socket: RouteSocket) -> None:
    assert route_socket.device_towards(IPv4Address("192.0.2.1")) is None
    assert route_socket.device_towards(IPv6Address("2001:db8::1")) is None


def test_both_ends_go_together(pair: tuple[int, int], route_socket: RouteSocket) -> None:
    route_socket.perform(podmessage.delete_link("near"))
    assert route_socket.link("far") is None
    assert pair[1] not in {link.index for link in route_socket.links()}


def test_a_link_local_address_is_made_up_unless_forbidden(netns_fd: int, route_socket: RouteSocket) -> None:
    peer = Peer(name="quiet", mac="02:00:00:00:00:02", netns_fd=netns_fd)
    route_socket.perform(
        podmessage.add_veth("loud", mac="02:00:00:00:00:01", mtu=1380, peer=peer),
        podmessage.configure_link("quiet", ipv4={podmessage.DEVCONF_RP_FILTER: 1}, ipv6=True),
    )
    loud, quiet = route_socket.link("loud"), route_socket.link("quiet")
    assert loud is not None
    assert quiet is not None
    route_socket.perform(podmessage.set_up(quiet.index))
    assert route_socket.link("quiet") is not None
    assert route_socket.addresses(quiet.index) == frozenset()
    assert call_in(netns_fd, Path("/proc/sys/net/ipv4/conf/quiet/rp_filter").read_text) == "1\n"


def test_a_refusal_names_the_message_and_the_reason(route_socket: RouteSocket) -> None:
    with pytest.raises(NetlinkError, match="delete nobody: No such device") as caught:
        route_socket.perform(podmessage.set_up(podmessage.LOOPBACK_INDEX), podmessage.delete_link("nobody"))
    assert caught.value.errno == errno.ENODEV
    with pytest.raises(NetlinkError, match=r"route to 0\.0\.0\.0/0 via 10\.9\.9\.9: "):
        route_socket.perform(podmessage.add_gateway_route(77, DEFAULT4, IPv4Address("10.9.9.9")))
    assert route_socket.link("lo") is not None, "the socket is as good as before"


def test_an_alias_is_kept(pair: tuple[int, int], route_socket: RouteSocket) -> None:
    route_socket.perform(podmessage.set_alias(pair[0], "x" * 255))
    link = route_socket.link("near")
    assert link is not None
    assert link.alias == "x" * 255


def test_a_host_route_is_taken_away_by_its_device(pair: tuple[int, int], route_socket: RouteSocket) -> None:
    for address in (IPV4, IPV6):
        route_socket.perform(podmessage.add_host_route(pair[0], address))
        assert route_socket.device_towards(address) == pair[0]
        elsewhere, here, again = route_socket.attempt(
            podmessage.remove_host_route("far", pair[1], address),
            podmessage.remove_host_route("near", pair[0], address),
            podmessage.remove_host_route("near", pair[0], address),
        )
        assert elsewhere and again and (elsewhere.errno, here, again.errno) == (errno.ESRCH, None, errno.ESRCH)
        assert route_socket.device_towards(address) is None


@pytest.mark.usefixtures("pair")
def test_a_group_is_deleted_together(route_socket: RouteSocket, netns_fd: int) -> None:
    peer = Peer(name="farther", mac="02:00:00:00:00:02", netns_fd=netns_fd)
    route_socket.perform(podmessage.add_veth("other", mac="02:00:00:00:00:01", mtu=1380, peer=peer))
    route_socket.perform(podmessage.set_group("near", 77), podmessage.set_group("other", 77))
    link = route_socket.link("near")
    assert link and link.group == 77
    route_socket.perform(podmessage.delete_group(77))
    assert {link.name for link in route_socket.links()}.isdisjoint({"near", "far", "other", "farther"})
    (gone,) = route_socket.attempt(podmessage.delete_group(77))
    assert gone and gone.errno == errno.ENODEV
