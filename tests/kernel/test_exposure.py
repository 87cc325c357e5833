"""A host answers under an address that no device has, in both families, until it is hidden."""

import os
import secrets
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

import pytest

from tests.kernel.cni_lab import run
from weavemesh.kernel import exposure
from weavemesh.kernel.netns import call_in
from weavemesh.kernel.podmodel import PodAddress

pytestmark = pytest.mark.root

ADDRESS = PodAddress(IPv4Address("10.32.0.9"), IPv6Address("fd57::a20:9"))


@pytest.fixture
def netns() -> Iterator[tuple[str, int]]:
    name = f"wme{secrets.token_hex(3)}"
    run("ip", "netns", "add", name)
    run("ip", "-n", name, "link", "set", "lo", "up")
    descriptor = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        yield name, descriptor
    finally:
        os.close(descriptor)
        run("ip", "netns", "del", name)


def answers(name: str) -> list[bool]:
    pings = [run("ip", "netns", "exec", name, "ping", "-c1", "-W1", str(one), check=False) for one in ADDRESS.all()]
    return [ping.returncode == 0 for ping in pings]


def test_exposing_and_hiding_may_be_said_twice(netns: tuple[str, int]) -> None:
    name, descriptor = netns
    assert answers(name) == [False, False]
    for _ in range(2):
        call_in(descriptor, lambda: exposure.expose(ADDRESS))
        assert answers(name) == [True, True]
    for _ in range(2):
        call_in(descriptor, lambda: exposure.hide(ADDRESS))
        assert answers(name) == [False, False]


def test_a_host_without_ipv6_is_exposed_with_ipv4(netns: tuple[str, int]) -> None:
    name, descriptor = netns
    run("ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
    call_in(descriptor, lambda: exposure.expose(ADDRESS))
    assert answers(name)[0]
    call_in(descriptor, lambda: exposure.hide(ADDRESS))
