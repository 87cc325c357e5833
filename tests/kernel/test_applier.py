"""The overlay on real namespaces, with kernel and userspace WireGuard alike: golden cases, packets, adoption."""

import socket
import time
from collections.abc import Iterator
from functools import cache

import pytest

from tests.kernel.tunnel_lab import DATAPATHS, Datapath, Host, Pings, Wire, missing, run
from tests.unit.weavemesh.overlay.golden import CASES
from tests.unit.weavemesh.overlay.overlay_sample import known
from weavemesh.kernel import applier
from weavemesh.kernel.applier import Kernel
from weavemesh.kernel.netns import call_in
from weavemesh.overlay.diff import AddRoute, CreateDevice, DiscardAllowedIps, SetPeer
from weavemesh.overlay.plan import plan
from weavemesh.overlay.state import ObservedState, render
from weavemesh.overlay.tunnel import ApplyReport, Tunnel

pytestmark = pytest.mark.root

lacks = cache(missing)


@pytest.fixture(params=DATAPATHS)
def datapath(request: pytest.FixtureRequest) -> Datapath:
    chosen: Datapath = request.param
    if reason := lacks(chosen):
        pytest.skip(reason)
    return chosen


@pytest.fixture
def host(datapath: Datapath) -> Iterator[Host]:
    with Wire(1, datapath) as wire:
        yield wire.hosts[0]


@pytest.fixture
def three(datapath: Datapath) -> Iterator[tuple[Host, ...]]:
    with Wire(3, datapath) as wire:
        yield wire.hosts


def observed(host: Host) -> ObservedState:
    async def observe(kernel: Kernel) -> ObservedState | None:
        return await kernel.observe()

    state = host.with_kernel(observe)
    assert state is not None
    return state


@pytest.mark.parametrize("case", CASES)
def test_golden(host: Host, case: str) -> None:
    async def play(kernel: Kernel) -> None:
        for step in CASES[case]:
            report = await kernel.apply(step.desired(host.interface))
            assert not report.failures
            assert tuple(type(action).__name__ for action in report.actions) == step.actions
            state = await kernel.observe()
            assert state is not None
            assert render(state) == step.shown.replace("IFACE", host.interface)

    host.with_kernel(play)


def test_the_real_kernel_is_a_tunnel(host: Host, datapath: Datapath) -> None:
    async def look(kernel: Tunnel) -> str:
        return kernel.datapath

    assert host.with_kernel(look) == {"kernel": "kernel", "userspace": "userspace (wireguard-go)"}[datapath]


def test_what_one_life_made_the_next_adopts_without_one_action(host: Host) -> None:
    desired = CASES["a peer costs a peer"][3].desired(host.interface)
    assert host.apply(desired).actions
    assert host.apply(desired) == ApplyReport((), (), ())


def test_what_was_set_is_believed_for_a_while_and_then_mended(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """One peer more costs one peer: nothing is read for it. What others took away meanwhile comes back later."""
    one, two = (
        CASES["a peer costs a peer"][1].desired(host.interface),
        CASES["a peer costs a peer"][3].desired(host.interface),
    )

    async def play(kernel: Kernel) -> None:
        assert not (await kernel.apply(one)).failures
        host.run("ip", "route", "flush", "proto", "87", "type", "unreachable")
        looks = kernel.looks
        report = await kernel.apply(two)
        assert [type(action) for action in report.actions] == [SetPeer, SetPeer, AddRoute, AddRoute]
        assert kernel.looks == looks
        monkeypatch.setattr(applier, "belief_s", lambda _: 0.0)
        mended = await kernel.apply(two)
        assert {type(action) for action in mended.actions} == {AddRoute}
        assert kernel.looks == looks + 1
        assert (await kernel.apply(two)).actions == ()

    host.with_kernel(play)


@pytest.mark.parametrize(("look_took_s", "believed_s"), [(0.05, 25.0), (1.25, 25.0), (5.0, 100.0), (60.0, 300.0)])
def test_where_looking_takes_long_it_is_done_seldom(look_took_s: float, believed_s: float) -> None:
    assert applier.belief_s(look_took_s) == believed_s


def test_after_a_failure_nothing_is_believed(host: Host) -> None:
    one, two = (
        CASES["a peer costs a peer"][1].desired(host.interface),
        CASES["a peer costs a peer"][3].desired(host.interface),
    )

    async def play(kernel: Kernel) -> None:
        assert not (await kernel.apply(one)).failures
        host.run("ip", "link", "del", host.interface)
        assert (await kernel.apply(two)).failures
        report = await kernel.apply(two)
        assert not report.failures
        assert CreateDevice in {type(action) for action in report.actions}

    host.with_kernel(play)


def test_packets_pass_in_both_families(three: tuple[Host, ...]) -> None:
    one, two, _ = three
    one.join(two)
    two.join(one)
    assert one.pings("10.34.0.1")
    assert one.pings("fd00:77::a22:1")
    peer = observed(one).peers[0]
    assert peer.last_handshake is not None and abs(peer.last_handshake - time.time()) < 60
    assert peer.rx_bytes > 0 < peer.tx_bytes
    assert peer.preshared_key is not None


def test_another_life_and_a_growing_mesh_lose_no_packet(three: tuple[Host, ...]) -> None:
    one, two, other = three
    one.join(two)
    two.join(one)
    assert one.pings("10.34.0.1")
    with Pings(one, "10.34.0.1") as pings:
        while pings.running:
            assert one.join(two) and one.join(two, other)
            two.join(one)
        assert pings.lost() == 0


def test_ranges_that_move_or_go_disturb_no_other_range(three: tuple[Host, ...]) -> None:
    one, two, other = three
    two.join(one)
    moving = " ".join(f"10.40.{number}.0/24" for number in range(100))
    there = one.wish({two: f"10.34.0.0/24 {moving}", other: "10.35.0.0/24"})
    elsewhere = one.wish({two: "10.34.0.0/24", other: f"10.35.0.0/24 {moving}"})
    nowhere = one.wish({two: "10.34.0.0/24", other: "10.35.0.0/24"})
    one.apply(there)
    assert one.pings("10.34.0.1")
    with Pings(one, "10.34.0.1") as pings:
        while pings.running:
            moved, back = one.apply(elsewhere), one.apply(there)
            gone = one.apply(nowhere)
            assert not (moved.failures or back.failures or gone.failures)
            assert [type(action) for action in (*moved.actions, *back.actions)] == [SetPeer, SetPeer]
            assert sum(isinstance(action, DiscardAllowedIps) for action in gone.actions) == 1
            one.apply(there)
        assert pings.lost() == 0


def test_an_endpoint_that_was_learned_is_kept(three: tuple[Host, ...]) -> None:
    one, two, _ = three
    one.join(two)
    two.join(one)
    assert one.pings("10.34.0.1")
    two.apply(two.wish({one: "10.33.0.0/24"}, port=6784))
    assert two.pings("10.33.0.1")
    assert "endpoint 192.0.2.2:6784" in render(observed(one))
    assert one.apply(one.wish({two: "10.34.0.0/24"})).actions == ()
    assert "endpoint 192.0.2.2:6784" in render(observed(one))


def test_a_device_removed_by_hand_comes_back_and_nothing_leaves_meanwhile(three: tuple[Host, ...]) -> None:
    one, two, _ = three
    one.run("ip", "route", "add", "default", "via", "192.0.2.3")  # where packets in clear would go
    desired = one.join(two)
    two.join(one)
    assert one.pings("10.34.0.1")
    one.run("ip", "link", "del", one.interface)
    for address in ("10.34.0.1", "10.40.0.1"):
        assert "unreachable" in one.run("ip", "route", "get", address, check=False).stderr + one.routes()
        assert one.run("ip", "route", "get", address, check=False).returncode != 0
    assert one.apply(desired).failures == ()
    assert one.pings("10.34.0.1")


def test_a_taken_port_is_a_sentence_and_is_tried_again(three: tuple[Host, ...]) -> None:
    one, two, _ = three
    desired = one.wish({two: "10.34.0.0/24"})
    with call_in(one.netns_fd, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as thief:
        thief.bind(("0.0.0.0", 6783))
        report = one.apply(desired)
        assert report.failures == (
            "letting the tunnel device listen on UDP port 6783 failed: UDP port 6783 is taken by another program",
        )
        assert "unreachable 10.32.0.0/12" in one.routes()
    assert one.apply(desired).failures == ()


def test_a_route_of_somebody_else_stays_and_is_named(three: tuple[Host, ...]) -> None:
    one, two, _ = three
    one.run("ip", "route", "add", "10.34.0.0/24", "dev", "eth0")
    report = one.apply(one.wish({two: "10.34.0.0/24"}))
    assert report.failures == (
        "adding the route to 10.34.0.0/24 failed: another program has one to the same destination; remove that one",
    )
    assert "10.34.0.0/24 dev eth0" in one.routes()


def test_more_allowed_ips_than_one_message_holds(three: tuple[Host, ...]) -> None:
    one, two, other = three
    many = " ".join(f"10.{40 + number // 256}.{number % 256}.0/25" for number in range(1500))
    desired = one.wish({two: f"10.34.0.0/24 {many}", other: "10.35.0.0/24"})
    assert one.apply(desired).failures == ()
    assert one.apply(desired).actions == ()
    assert max(len(peer.allowed_ips) for peer in observed(one).peers) == 3002
    assert one.apply(one.wish({two: "10.34.0.0/24", other: "10.35.0.0/24"})).failures == ()
    assert max(len(peer.allowed_ips) for peer in observed(one).peers) == 2


def test_link_local_addresses_are_not_made(host: Host) -> None:
    host.join()
    assert "fe80" not in host.run("ip", "-6", "address", "show", "dev", host.interface).stdout
    assert "fd00:77::a21:1/128" in host.run("ip", "-6", "address", "show", "dev", host.interface).stdout


def test_pods_routes_are_not_its_business(host: Host) -> None:
    desired = host.join()
    run("ip", "-n", host.namespace, "link", "add", "wmv0123456789", "type", "veth", "peer", "name", "p")
    host.run("ip", "link", "set", "wmv0123456789", "up")
    host.run("ip", "route", "add", "10.33.0.9/32", "dev", "wmv0123456789", "proto", "87")
    assert host.apply(desired).actions == ()
    assert "10.33.0.9 dev wmv0123456789" in host.routes()


def test_an_apply_of_the_plan_of_nobody_is_whole(host: Host) -> None:
    """Before a host has an address there are only the fence and the device."""
    report = host.apply(plan(known({}, interface=host.interface, address=None)))
    assert not report.failures
    assert observed(host).addresses == ()
