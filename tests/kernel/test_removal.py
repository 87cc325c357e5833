"""Removal needs no state and no agent, and takes nothing that does not bear a mark of ours."""

import asyncio
import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from ipaddress import IPv4Interface, IPv4Network, IPv6Network
from pathlib import Path
from typing import TypeVar

import pytest

from weavemesh.kernel.applier import Kernel
from weavemesh.kernel.netns import call_in
from weavemesh.kernel.removal import remove_everything
from weavemesh.overlay.state import DesiredState, PrivateKey, Route

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]

T = TypeVar("T")

KEY = PrivateKey(b"\x08" * 31 + b"\x48")
PODS = ("wmv0123456789", "wmvabcdefabcd")
SOCKETS = Path("/var/run/wireguard")


class Host:
    """A network namespace; its name is also that of its tunnel device."""

    def __init__(self) -> None:
        self.name = f"wmk{secrets.token_hex(3)}"

    def ip(self, *arguments: str, check: bool = True) -> str:
        command = ["ip", "-n", self.name, *arguments]
        return subprocess.run(command, check=check, capture_output=True, text=True, timeout=30).stdout

    def within(self, function: Callable[[], T]) -> T:
        descriptor = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            return call_in(descriptor, function)
        finally:
            os.close(descriptor)

    def remove_everything(self) -> list[str]:
        return self.within(lambda: asyncio.run(remove_everything(self.name)))

    def everything(self) -> str:
        """Links, addresses and routes, without what the kernel counts by itself."""
        links = [line.split()[0] for line in self.ip("-br", "link").splitlines()]
        routes = self.ip("route", "show", "table", "all") + self.ip("-6", "route", "show", "table", "all")
        return "\n".join([*links, self.ip("-br", "addr"), routes])


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    subprocess.run(["ip", "netns", "add", host.name], check=True)
    try:
        yield host
    finally:
        host.ip("link", "del", host.name, check=False)  # a living wireguard-go would hold the namespace
        subprocess.run(["ip", "netns", "del", host.name], check=True)


@pytest.fixture
def settled(host: Host) -> Host:
    """A host that has network interfaces and routes of its own, some of which look a little like ours."""
    host.ip("link", "set", "lo", "up")
    others = ("wmv", "wmv012345678", "wmvABCDEFABCD", "wm1", "eth0")
    for number, name in enumerate(others):
        host.ip("link", "add", name, "type", "veth", "peer", "name", f"far{number}")
    for name in ("eth0", "far4"):
        host.ip("addr", "add", f"192.0.2.{len(name)}/24", "dev", name)
        host.ip("link", "set", name, "up", "addrgenmode", "none")
    host.ip("link", "add", "wmvffffffffff", "type", "bridge")
    host.ip("route", "add", "198.51.100.0/24", "dev", "eth0", "proto", "88")
    host.ip("route", "add", "unreachable", "10.32.0.0/12", "metric", "4278198271")
    return host


def test_of_nothing_nothing_is_removed(settled: Host) -> None:
    before = settled.everything()
    assert settled.remove_everything() == []
    assert settled.everything() == before


def test_all_that_is_ours_goes_and_nothing_else(settled: Host) -> None:
    if shutil.which("wireguard-go") is None:
        pytest.skip("wireguard-go is not installed")
    before = settled.everything()
    desired = DesiredState(
        interface=settled.name,
        mtu=1380,
        private_key=KEY,
        listen_port=6783,
        addresses=(IPv4Interface("10.32.0.1/32"),),
        peers=(),
        routes=(
            Route(IPv4Network("10.33.0.0/16"), "device", None),
            Route(IPv4Network("10.32.0.0/12"), "unreachable", None),
            Route(IPv6Network("fd57:1::/96"), "unreachable", None),
        ),
    )

    async def live() -> None:
        kernel = await Kernel.open(interface=settled.name, datapath="userspace")
        try:
            assert (await kernel.apply(desired)).failures == ()
        finally:
            await kernel.close()

    settled.within(lambda: asyncio.run(live()))
    for number, pod in enumerate(PODS):
        settled.ip("link", "add", pod, "type", "veth", "peer", "name", f"pod{number}")
        settled.ip("link", "set", pod, "up")
        settled.ip("route", "add", f"10.32.0.{number + 2}", "dev", pod, "proto", "87")
    settled.ip("route", "add", "unreachable", "10.50.0.0/16", "proto", "87", "table", "100")

    removed = settled.remove_everything()

    assert set(removed) >= {f"removed the pod interface {pod}" for pod in PODS}
    assert f"removed the tunnel device {settled.name}" in removed
    assert settled.everything() == before
    assert not (SOCKETS / f"{settled.name}.sock").exists()
    assert settled.remove_everything() == []


def test_a_device_of_another_kind_under_our_name_stays(settled: Host) -> None:
    settled.ip("link", "add", settled.name, "type", "bridge")
    assert settled.remove_everything() == []
    assert settled.name in settled.ip("link")
