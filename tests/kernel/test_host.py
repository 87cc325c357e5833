"""What a host tells of itself: overlapping routes, addresses, MTU, taken ports."""

import socket
from collections.abc import Iterator
from ipaddress import IPv4Network

import pytest

from tests.kernel.tunnel_lab import Host, Wire, root_missing
from weavemesh.kernel import host as questions
from weavemesh.kernel.netlink import Netlink
from weavemesh.kernel.netns import call_in

pytestmark = pytest.mark.root
UNIVERSE = IPv4Network("10.32.0.0/12")


@pytest.fixture
def host() -> Iterator[Host]:
    if reason := root_missing():
        pytest.skip(reason)
    with Wire(1, "kernel") as wire:
        yield wire.hosts[0]


def overlapping(host: Host) -> tuple[str, ...]:
    async def ask() -> tuple[str, ...]:
        netlink = await Netlink.open()
        try:
            return await questions.routes_overlapping(netlink, "wm0", UNIVERSE)
        finally:
            await netlink.close()

    return host.call(ask)


def described(host: Host) -> tuple[list[str], int]:
    async def ask() -> tuple[list[str], int]:
        netlink = await Netlink.open()
        try:
            addresses = await questions.host_addresses(netlink, "wm0")
            return [str(address) for address in addresses], await questions.underlay_mtu(netlink, "wm0")
        finally:
            await netlink.close()

    return host.call(ask)


def test_routes_that_share_addresses_are_named_once_and_ours_never(host: Host) -> None:
    host.run("ip", "route", "add", "default", "via", "192.0.2.99")
    host.run("ip", "route", "add", "0.0.0.0/1", "via", "192.0.2.99")
    assert overlapping(host) == ()
    host.run("ip", "address", "add", "10.33.0.200/30", "dev", "eth0")
    host.run("ip", "address", "add", "10.35.0.200/32", "dev", "eth0")
    host.run("ip", "route", "add", "10.0.0.0/8", "via", "192.0.2.99", "table", "100")
    host.run("ip", "route", "add", "10.36.0.0/16", "dev", "eth0", "proto", "87")
    host.run("ip", "route", "add", "unreachable", "10.32.0.0/12", "metric", "4278198272")
    host.run("ip", "link", "add", "wmv0123456789", "type", "veth", "peer", "name", "p")
    host.run("ip", "link", "set", "wmv0123456789", "up")
    host.run("ip", "route", "add", "10.37.0.1/32", "dev", "wmv0123456789")
    assert overlapping(host) == ("10.0.0.0/8 dev eth0", "10.33.0.200/30 dev eth0", "10.35.0.200/32 dev eth0")


def test_lasting_global_addresses_are_told_those_of_the_default_route_first(host: Host) -> None:
    host.run("ip", "link", "add", "aa0", "type", "veth", "peer", "name", "p")
    host.run("ip", "link", "set", "aa0", "up")
    host.run("ip", "link", "set", "p", "up")
    host.run("ip", "address", "add", "198.51.100.1/24", "dev", "aa0")
    host.run("ip", "address", "add", "2001:db8::1/64", "dev", "eth0", "nodad")
    host.run("ip", "address", "add", "2001:db8::2/64", "dev", "eth0", "nodad", "preferred_lft", "0")
    host.run("ip", "address", "add", "203.0.113.1/32", "dev", "lo", "scope", "host")
    host.run("ip", "link", "add", "wmv0123456789", "type", "veth", "peer", "name", "q")
    host.run("ip", "address", "add", "10.32.0.7/32", "dev", "wmv0123456789")
    host.run("ip", "route", "add", "default", "via", "192.0.2.99")
    assert described(host)[0] == ["192.0.2.1", "2001:db8::1", "198.51.100.1"]


def test_the_mtu_is_that_of_the_way_out(host: Host) -> None:
    host.run("ip", "link", "set", "eth0", "mtu", "1450")
    assert described(host)[1] == 1450
    host.run("ip", "address", "flush", "dev", "eth0")
    assert described(host)[1] == 1500
    host.run("ip", "address", "add", "192.0.2.1/24", "dev", "eth0")
    host.run("ip", "route", "add", "default", "via", "192.0.2.99")
    assert described(host)[1] == 1450


def test_a_taken_udp_port_is_seen_in_either_family(host: Host) -> None:
    assert not call_in(host.netns_fd, lambda: questions.udp_port_is_taken(6783))
    for family, anywhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "::1")):
        with call_in(host.netns_fd, lambda family=family: socket.socket(family, socket.SOCK_DGRAM)) as other:  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
            other.bind((anywhere, 6783))
            assert call_in(host.netns_fd, lambda: questions.udp_port_is_taken(6783))
