"""The MTU of each path is found and set on its routes: no packets vanish, jumbo frames are used, restarts keep it."""

import subprocess
from collections.abc import Iterator

import pytest

from deploy.demo.lab import Lab, Machine, Pod, running, wait_until
from tests.e2e.nat_lab import NatLab, mtu_of, path_of
from tests.e2e.test_mesh import kill_agent
from tests.e2e.transfer import Transfer

pytestmark = pytest.mark.timeout(180)

STALL_MAX_S = 3.0
NARROW, PASSES = 1300, 1232
"""Octets of a packet between two hosts, and of the largest in a tunnel that then passes: 60 less, filled up to 16."""
_MAXIMUM_SEGMENT = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.create_server((sys.argv[1], 0), family=family) as listening:
    print(listening.getsockname()[1], flush=True)
    connection, _ = listening.accept()
    print(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG), flush=True)
"""
_CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2]))).recv(1)"
_TIMESTAMPS_OCTETS = 12
IDLE_S = 60
"""One question in four through a tunnel that nobody uses is as long as its packets may be, here one each 16 s. That it
has become narrow is known when the answer is 3 s late."""


@pytest.fixture
def nats(lab: Lab) -> Iterator[NatLab]:
    yield NatLab(lab)


def pair(nats: NatLab) -> tuple[Machine, Machine]:
    """Two public hosts with a direct path, whose MTU is known."""
    one, other = nats.internet.public("one"), nats.internet.public("other")
    for machine in (nats.hub, nats.equip(one), nats.equip(other)):
        nats.up(machine)
    wait_until(lambda: path_of(one, other) == path_of(other, one) == ("direct", "live"), seconds=20, what="a path")
    have_mtu(one, other, 1420)
    return one, other


def have_mtu(one: Machine, other: Machine, octets: int, *, seconds: float = 20) -> None:
    wait_until(
        lambda: mtu_of(one, other) == mtu_of(other, one) == (octets, True), seconds=seconds, what=f"packets of {octets}"
    )


def segment_octets(sender: Pod, receiver: Pod, address: str) -> int:
    """The most that a new connection puts into one segment, without options."""
    with running(receiver.start("python3", "-c", _MAXIMUM_SEGMENT, address, stdout=subprocess.PIPE)) as listening:
        assert listening.stdout is not None
        port = listening.stdout.readline().strip()
        sender.run("python3", "-c", _CONNECT, address, port)
        shown = listening.stdout.readline()
        listening.stdout.close()
    return int(shown) + _TIMESTAMPS_OCTETS


def test_a_transfer_goes_on_when_the_path_becomes_narrow_and_routers_say_nothing(nats: NatLab) -> None:
    one, other = pair(nats)
    a, b = one.add_pod("a"), other.add_pod("b")
    with Transfer(a, b, str(b.ipv4), octets=40_000_000, per_second=1e7) as transfer:
        transfer.wait_for(10_000_000, seconds=20)
        for machine in (one, other):
            nats.internet.narrow(machine, NARROW)
        transfer.wait_for(25_000_000, seconds=20)
        assert transfer.segment_octets() == PASSES - 40 - _TIMESTAMPS_OCTETS
        stall_s, _ = transfer.finish(seconds=60)
    assert stall_s <= STALL_MAX_S
    have_mtu(one, other, PASSES)
    assert f"  {PASSES}  " in one.weavemesh("status", "connections", check=False).stdout
    assert f"packets of up to {PASSES} octets" in one.weavemesh("why", "other").stdout
    assert f"{PASSES} octets" in one.weavemesh("ping", "other", "--mtu").stdout
    assert segment_octets(a, b, str(b.ipv4)) == PASSES - 40
    assert segment_octets(b, a, str(a.ipv6)) == PASSES - 60
    assert mtu_of(one, nats.hub) == (1420, True), "the other path is as it was"


def test_a_restarted_agent_adopts_what_was_found(nats: NatLab) -> None:
    one, other = pair(nats)
    for machine in (one, other):
        nats.internet.narrow(machine, NARROW)
    have_mtu(one, other, PASSES, seconds=IDLE_S)
    routes = one.ip("route", "show", "proto", "87"), one.ip("-6", "route", "show", "proto", "87")
    assert all(f"mtu lock {PASSES}" in shown for shown in routes)
    kill_agent(one)
    before = changed_routes(one)
    one.weavemesh("up")
    have_mtu(one, other, PASSES)
    assert changed_routes(one) == before
    assert (one.ip("route", "show", "proto", "87"), one.ip("-6", "route", "show", "proto", "87")) == routes


def changed_routes(machine: Machine) -> int:
    return machine.run("cat", "/run/weavemesh/agent.log").stdout.count("changing the route")


def test_jumbo_frames_are_used_where_they_pass(nats: NatLab) -> None:
    one, other = nats.internet.public("one"), nats.internet.public("other")
    for machine in (one, other):
        nats.internet.enlarge(machine, 9000)
    for machine in (nats.hub, nats.equip(one), nats.equip(other)):
        nats.up(machine)
    have_mtu(one, other, 8920)
    a, b = one.add_pod("a"), other.add_pod("b")
    pings = ("ping", "-n", "-c", "1", "-W", "3", "-M", "do", "-s")
    # The routes of both hosts follow a moment after what is known.
    wait_until(
        lambda: a.run(*pings, str(8920 - 28), str(b.ipv4), check=False).returncode == 0,
        seconds=20,
        what="a jumbo frame",
    )
    # The hub's network carries 1500: 1440 and WireGuard's 60, over IPv4.
    wait_until(lambda: mtu_of(one, nats.hub) == (1440, True), seconds=20, what="the hub's MTU")
    refused = a.run(*pings, str(8920 - 28), nats.overlay_address(nats.hub), check=False)
    assert "mtu = 1440" in refused.stdout and refused.returncode != 0
    assert a.run(*pings, str(1420 - 28), nats.overlay_address(nats.hub)).returncode == 0


def test_the_mtu_follows_the_path(nats: NatLab) -> None:
    one, other = pair(nats)
    nats.internet.narrow(nats.hub, NARROW)
    ends = nats.internet.address(one), nats.internet.address(other)
    for source, destination in (ends, ends[::-1]):
        nats.internet.block(source, destination)
    wait_until(lambda: path_of(one, other) == path_of(other, one) == ("hub", "live"), seconds=20, what="the relay")
    have_mtu(one, other, PASSES)
    for source, destination in (ends, ends[::-1]):
        nats.internet.unblock(source, destination)
    wait_until(lambda: path_of(one, other)[0] == path_of(other, one)[0] == "direct", seconds=60, what="the direct path")
    have_mtu(one, other, 1420)


def test_the_user_sets_the_upper_bound(nats: NatLab) -> None:
    one, other = nats.internet.public("one"), nats.internet.public("other")
    nats.up(nats.hub)
    nats.up(nats.equip(one), "--mtu", "1300")
    nats.up(nats.equip(other))
    wait_until(lambda: mtu_of(one, other) == (1300, True), seconds=20, what="packets of 1300")
    wait_until(lambda: mtu_of(other, one) == (1420, True), seconds=20, what="packets of 1420 the other way")
    assert "mtu 1300" in one.add_pod("a").run("ip", "link", "show", "eth0").stdout
