"""What a host says of its routes, addresses and MTU, in real namespaces."""

import asyncio
import os
import secrets
import socket
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from ipaddress import ip_address, ip_network
from typing import TypeVar

import pytest

from weavemesh.kernel import host
from weavemesh.kernel.netlink import Netlink
from weavemesh.kernel.netns import call_in

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]

T = TypeVar("T")

UNIVERSE = ip_network("10.32.0.0/12")
POD = "wmv0123456789"
DEVICE = "wmk0"


class Place:
    """A network namespace with a veth pair eth0/eth1, a tunnel device and a pod's interface."""

    def __init__(self, name: str) -> None:
        self.name = name

    def ip(self, *arguments: str) -> None:
        subprocess.run(["ip", "-n", self.name, *arguments], check=True, capture_output=True, timeout=30)

    def within(self, function: Callable[[], T]) -> T:
        descriptor = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            return call_in(descriptor, function)
        finally:
            os.close(descriptor)

    def ask(self, question: Callable[[Netlink], Awaitable[T]]) -> T:
        async def asked() -> T:
            netlink = await Netlink.open()
            try:
                return await question(netlink)
            finally:
                await netlink.close()

        return self.within(lambda: asyncio.run(asked()))

    def overlapping(self) -> tuple[str, ...]:
        return self.ask(lambda netlink: host.routes_overlapping(netlink, DEVICE, UNIVERSE))

    def addresses(self) -> list[str]:
        return [str(address) for address in self.ask(lambda netlink: host.host_addresses(netlink, DEVICE))]

    def mtu(self) -> int:
        return self.ask(lambda netlink: host.underlay_mtu(netlink, DEVICE))


@pytest.fixture
def place() -> Iterator[Place]:
    name = f"wmk{secrets.token_hex(3)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        place = Place(name)
        place.ip("link", "add", "eth0", "type", "veth", "peer", "eth1")
        place.ip("link", "add", POD, "type", "veth", "peer", DEVICE)
        for interface in ("lo", "eth0", "eth1", POD, DEVICE):
            place.ip("link", "set", interface, "up")
        yield place
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def test_routes_of_others_into_the_range_are_named(place: Place) -> None:
    place.ip("addr", "add", "192.0.2.1/24", "dev", "eth0")
    place.ip("route", "add", "default", "via", "192.0.2.2")
    place.ip("route", "add", "0.0.0.0/1", "dev", "eth1")
    assert place.overlapping() == ()
    place.ip("addr", "add", "10.33.0.1/24", "dev", "eth1")
    place.ip("route", "add", "10.0.0.0/8", "dev", "eth0")
    place.ip("route", "add", "10.40.0.0/16", "dev", "eth0", "table", "7")
    assert place.overlapping() == ("10.0.0.0/8 dev eth0", "10.33.0.0/24 dev eth1", "10.40.0.0/16 dev eth0")


def test_an_address_alone_in_the_range_is_named(place: Place) -> None:
    place.ip("addr", "add", "10.33.0.1/32", "dev", "eth1")
    assert place.overlapping() == ("10.33.0.1/32 dev eth1",)


def test_our_own_routes_do_not_overlap(place: Place) -> None:
    place.ip("addr", "add", "10.32.0.1/32", "dev", DEVICE)
    place.ip("route", "add", "10.33.0.0/16", "dev", DEVICE)
    place.ip("route", "add", "10.32.0.9/32", "dev", POD)
    place.ip("route", "add", "10.34.0.0/16", "dev", "eth0", "proto", "87")
    place.ip("route", "add", "unreachable", "10.32.0.0/12", "metric", "4278198272", "proto", "87")
    assert place.overlapping() == ()


def test_the_address_towards_the_world_is_the_first(place: Place) -> None:
    place.ip("addr", "add", "198.51.100.1/24", "dev", "eth0")
    place.ip("addr", "add", "2001:db8::1/64", "dev", "eth1", "nodad")
    place.ip("addr", "add", "192.0.2.1/24", "dev", "eth1")
    place.ip("addr", "add", "2001:db8::dead/64", "dev", "eth1", "nodad", "preferred_lft", "0")
    place.ip("addr", "add", "169.254.7.7/16", "dev", "eth1", "scope", "link")
    place.ip("addr", "add", "10.32.0.1/32", "dev", DEVICE)
    place.ip("addr", "add", "10.32.0.2/32", "dev", POD)
    place.ip("route", "add", "default", "via", "192.0.2.2")
    assert place.addresses() == ["192.0.2.1", "2001:db8::1", "198.51.100.1"]


def test_the_mtu_is_that_of_the_way_into_the_world(place: Place) -> None:
    assert place.mtu() == 1500, "nothing is known"
    place.ip("link", "set", "eth0", "mtu", "9000")
    place.ip("link", "set", "eth1", "mtu", "1400")
    place.ip("link", "set", DEVICE, "mtu", "1280")
    place.ip("addr", "add", "10.32.0.1/32", "dev", DEVICE)
    place.ip("addr", "add", "198.51.100.1/24", "dev", "eth0")
    place.ip("addr", "add", "192.0.2.1/24", "dev", "eth1")
    assert place.mtu() == 1400, "the smallest of those with addresses"
    place.ip("route", "add", "default", "via", "198.51.100.2")
    assert place.mtu() == 9000


@pytest.mark.parametrize(
    ("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::1")]
)
def test_a_udp_port_is_taken_in_its_own_namespace_only(place: Place, family: int, address: str) -> None:
    with place.within(lambda: socket.socket(family, socket.SOCK_DGRAM)) as holder:
        holder.bind((address, 0))
        port = holder.getsockname()[1]
        assert place.within(lambda: host.udp_port_is_taken(port))
    assert not place.within(lambda: host.udp_port_is_taken(port))


def test_addresses_are_of_both_families(place: Place) -> None:
    place.ip("addr", "add", "2001:db8::1/64", "dev", "eth0", "nodad")
    assert place.ask(lambda netlink: host.host_addresses(netlink, DEVICE)) == (ip_address("2001:db8::1"),)
