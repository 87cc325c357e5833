"""Everything of ours goes, from nothing but names and numbers; nothing else is touched."""

import os
import signal
from collections.abc import Iterator
from functools import cache
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from tests.kernel.tunnel_lab import DATAPATHS, Datapath, Host, Wire, missing
from weavemesh.kernel import exposure
from weavemesh.kernel.podmodel import PodAddress
from weavemesh.kernel.removal import remove_everything
from weavemesh.kernel.userspace import SOCKET_FOLDER

pytestmark = pytest.mark.root

lacks = cache(missing)


@pytest.fixture(params=DATAPATHS)
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Host, ...]]:
    datapath: Datapath = request.param
    if reason := lacks(datapath):
        pytest.skip(reason)
    with Wire(2, datapath) as wire:
        yield wire.hosts


def picture(host: Host) -> str:
    """All that a host has: links, addresses, routes of all tables; without what IPv6 still brings up by itself."""
    commands = "-br link", "-br address", "route show table all", "-6 route show table all"
    lines = "".join(host.run("ip", *command.split()).stdout for command in commands).splitlines()
    return "\n".join(line for line in lines if "fe80:" not in line)


def remove(host: Host) -> list[str]:
    return host.call(lambda: remove_everything(host.interface))


def add_veth(host: Host, name: str, peer: str) -> None:
    host.run("ip", "link", "add", name, "type", "veth", "peer", "name", peer)


def test_all_of_ours_goes_and_all_else_stays(pair: tuple[Host, ...]) -> None:
    one, two = pair
    add_veth(one, "wmv012345678", "a")  # one digit short
    add_veth(one, "wmv01234567890", "b")  # one too many
    add_veth(one, "wmv012345678z", "c")
    add_veth(one, "wm1", "d")
    one.run("ip", "tuntap", "add", "wmv0123456780", "mode", "tap")  # not a veth
    one.run("ip", "route", "add", "10.99.0.0/24", "dev", "eth0", "proto", "88")
    one.run("ip", "route", "add", "blackhole", "10.98.0.0/24", "table", "100")
    one.run("nft", "add", "table", "inet", "weavemeshers")
    before = picture(one)
    one.join(two)
    one.run("nft", "add", "table", "inet", "weavemesh-pods")
    add_veth(one, "wmv0123456789", "e")
    one.run("ip", "link", "set", "wmv0123456789", "up")
    one.run("ip", "route", "add", "10.33.0.9/32", "dev", "wmv0123456789", "proto", "87")
    one.run("ip", "route", "add", "10.97.0.0/24", "dev", "eth0", "proto", "87", "table", "100")
    one.run("ip", "route", "add", "blackhole", "10.96.0.0/24", "proto", "87", "metric", "5", "table", "4000")
    one.run("ip", "-6", "route", "add", "unreachable", "2001:db8::/64", "proto", "87", "table", "100")
    assert remove(one) == [
        "removed the pod interface wmv0123456789",
        f"removed the tunnel device {one.interface}",
        "removed 5 routes",
        "removed the table weavemesh-pods of the packet filter",
    ]
    assert one.run("nft", "list", "tables").stdout == "table inet weavemeshers\n"
    assert picture(one) == before
    assert not (SOCKET_FOLDER / f"{one.interface}.sock").exists()
    assert remove(one) == []


def test_what_a_killed_wireguard_go_left_goes_too(pair: tuple[Host, ...]) -> None:
    one, two = pair
    if one.datapath != "userspace":
        pytest.skip("needs a device with a process")
    one.join(two)
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and one.interface.encode() in (folder / "cmdline").read_bytes().split(b"\0"):
                os.kill(int(folder.name), signal.SIGKILL)
        except OSError:
            continue
    removed = remove(one)
    assert f"removed the control socket of {one.interface}" in removed
    assert "removed 2 routes" in removed
    assert remove(one) == []


def test_something_else_of_that_name_stays(pair: tuple[Host, ...]) -> None:
    one, _ = pair
    add_veth(one, one.interface, "p")
    assert remove(one) == []
    assert one.run("ip", "link", "show", one.interface).returncode == 0
    one.run("ip", "link", "del", one.interface)


def test_the_exposed_address_goes_too(pair: tuple[Host, ...]) -> None:
    one = pair[0]
    address = PodAddress(IPv4Address("10.32.0.9"), IPv6Address("fd57::a20:9"))
    one.call(lambda: _expose(address))
    assert "10.32.0.9" in one.run("ip", "route", "show", "table", "local").stdout
    assert remove(one) == ["removed 2 routes"]
    assert "10.32.0.9" not in one.run("ip", "route", "show", "table", "local").stdout


async def _expose(address: PodAddress) -> None:
    exposure.expose(address)
