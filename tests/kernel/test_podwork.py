"""What is made, retired and kept in a real namespace, beyond what a runtime sees of it (test_pod.py)."""

import os
import secrets
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeVar

import pytest

from tests.kernel.cni_lab import run
from tests.kernel.player import play
from weavemesh.kernel import podmessage, podplan, podwork
from weavemesh.kernel.netns import call_in
from weavemesh.kernel.podlink import RouteSocket
from weavemesh.kernel.podmodel import EVERYWHERE, InterfaceExists, Order, PodAddress, host_ifname
from weavemesh.kernel.podplan import INDEX_MIN, Plan

pytestmark = pytest.mark.root

T = TypeVar("T")
MESH = (IPv4Network("10.32.0.0/12"), IPv6Network("fd57::a20:0/108"))
FIRST = PodAddress(IPv4Address("10.32.0.5"), IPv6Address("fd57::a20:5"))
NAME = host_ifname("net/c1/eth0")


class Bench:
    """A host and a pod, without any agent."""

    def __init__(self) -> None:
        mark = secrets.token_hex(3)
        self.host, self.pod = f"wmw{mark}h", f"wmw{mark}p"
        for name in (self.host, self.pod):
            run("ip", "netns", "add", name)
        self.host_fd, self.pod_fd = (os.open(f"/run/netns/{name}", os.O_RDONLY) for name in (self.host, self.pod))
        run("ip", "netns", "exec", self.host, "sysctl", "-qw", "net.ipv4.ip_forward=1")

    def close(self) -> None:
        for descriptor, name in ((self.host_fd, self.host), (self.pod_fd, self.pod)):
            os.close(descriptor)
            run("ip", "netns", "del", name, check=False)

    def call(self, function: Callable[[], T]) -> T:
        return call_in(self.host_fd, function)

    def order(self, ident: str = "net/c1/eth0", **changes: object) -> Order:
        known: dict[str, object] = {"ifname": "eth0", "mtu": 1380, "mesh": MESH, **changes}
        return Order(ident, self.pod_fd, **known)  # type: ignore[arg-type]  # the test's own keywords

    def play(self, order: Order, *, index: int = INDEX_MIN, batches_max: int = 99) -> tuple[Plan, bytes]:
        """A plan and the replies to it, up to so many batches."""
        plan = podplan.plan(podplan.draft(order, index=index, netns_fd=self.pod_fd, has_ipv6=True), FIRST)
        with call_in(self.host_fd, RouteSocket) as outside, call_in(self.pod_fd, RouteSocket) as inside:
            return plan, play((plan.pair, *plan.rest)[:batches_max], outside=outside, inside=inside)

    def ip(self, where: str, *words: str) -> str:
        return run("ip", "-n", where, *words).stdout


def is_done(plan: Plan, replies: bytes) -> bool:
    """Whether nothing failed and the last message was taken."""
    told = [(number, body) for kind, _, number, body in podmessage.unpack(replies) if kind == podmessage.ERROR]
    return told[-1][0] == plan.rest[-1].last and not any(podmessage.decode_failure(body)[0] for _, body in told)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    try:
        yield bench
    finally:
        bench.close()


def test_a_pod_without_another_way_sends_everything_here(bench: Bench) -> None:
    wired = bench.call(lambda: podwork.attach(bench.order(), FIRST))
    assert wired.routes == EVERYWHERE
    assert "default via 169.254.1.1" in bench.ip(bench.pod, "route")
    assert "10.32.0.0/12" not in bench.ip(bench.pod, "route")


def test_another_default_route_is_kept_and_the_mesh_comes_here(bench: Bench) -> None:
    bench.ip(bench.pod, "link", "add", "other", "type", "veth", "peer", "name", "far")
    bench.ip(bench.pod, "link", "set", "other", "up")
    bench.ip(bench.pod, "route", "add", "default", "dev", "other")
    wired = bench.call(lambda: podwork.attach(bench.order(), FIRST))
    assert wired.routes == (EVERYWHERE[1], MESH[0])
    routes = bench.ip(bench.pod, "route")
    assert "default dev other" in routes and "10.32.0.0/12 via 169.254.1.1 dev eth0" in routes
    assert "default via fe80::1" in bench.ip(bench.pod, "-6", "route")


def test_a_pod_may_have_the_mesh_alone_and_a_mac_of_its_own(bench: Bench) -> None:
    wired = bench.call(
        lambda: podwork.attach(bench.order(is_default=False, mac="02:00:00:00:00:07", ifname="mesh0"), FIRST)
    )
    assert (wired.routes, wired.mac) == (MESH, "02:00:00:00:00:07")
    assert "02:00:00:00:00:07" in bench.ip(bench.pod, "link", "show", "mesh0")
    assert "lladdr 02:00:00:00:00:07" in bench.ip(bench.host, "neigh", "show", "nud", "permanent")
    assert "default" not in bench.ip(bench.pod, "route")


def test_what_is_retired_is_routed_to_no_more_and_goes_together(bench: Bench) -> None:
    wired = bench.call(lambda: podwork.attach(bench.order(), FIRST))
    assert bench.call(lambda: podwork.check("net/c1/eth0", bench.pod_fd, "eth0", FIRST)) == ()
    assert bench.call(lambda: podwork.retire(NAME, FIRST)) is True
    assert wired.host_ifname in bench.ip(bench.host, "link")
    assert "10.32.0.5" not in bench.ip(bench.host, "route")
    assert "fd57::a20:5" not in bench.ip(bench.host, "-6", "route")
    assert bench.call(lambda: podwork.check("net/c1/eth0", bench.pod_fd, "eth0", FIRST)) != ()
    (link,) = bench.call(podwork.list_pod_links)
    assert link.is_retired
    assert bench.call(podwork.delete_retired) is True
    assert bench.call(podwork.delete_retired) is False
    assert bench.call(lambda: podwork.retire(NAME, FIRST)) is False
    assert bench.call(podwork.list_pod_links) == ()


def test_retired_devices_are_in_nobodys_way(bench: Bench) -> None:
    for ident in ("net/c1/eth0", "net/c1/eth0", "net/c2/eth0"):
        assert bench.call(lambda: podwork.attach(bench.order(ident), FIRST)).host_ifname == host_ifname(ident)  # noqa: B023
        with pytest.raises(InterfaceExists):
            bench.call(lambda: podwork.attach(bench.order("net/c3/eth0"), FIRST))
        bench.call(lambda: podwork.retire(host_ifname(ident), FIRST))  # noqa: B023


def test_an_address_given_to_another_pod_stays_with_it_when_the_old_devices_go(bench: Bench) -> None:
    bench.call(lambda: podwork.attach(bench.order(), FIRST))
    bench.call(lambda: podwork.retire(NAME, FIRST))
    other = bench.call(lambda: podwork.attach(bench.order("net/c2/net1", ifname="net1"), FIRST))
    bench.call(podwork.delete_retired)
    assert f"10.32.0.5 dev {other.host_ifname}" in bench.ip(bench.host, "route")


def test_a_host_end_makes_up_no_address(bench: Bench) -> None:
    bench.call(lambda: podwork.attach(bench.order(), FIRST))
    assert "inet" not in bench.ip(bench.host, "address", "show", NAME)
    assert "fe80" not in bench.ip(bench.pod, "address", "show", "eth0")


def test_what_is_played_is_what_is_made_here(bench: Bench) -> None:
    plan, replies = bench.play(bench.order())
    assert is_done(plan, replies)
    shown = [bench.ip(bench.pod, *what) for what in (("-4", "route"), ("-6", "route"), ("neigh",))]
    assert bench.call(lambda: podwork.check("net/c1/eth0", bench.pod_fd, "eth0", FIRST)) == ()
    bench.call(lambda: podwork.detach(NAME))
    assert bench.call(lambda: podwork.attach(bench.order(), FIRST)) == plan.pod
    assert [bench.ip(bench.pod, *what) for what in (("-4", "route"), ("-6", "route"), ("neigh",))] == shown


@pytest.mark.parametrize("obstacle", ["another default route", "no IPv6"])
def test_where_only_the_pods_part_fails_the_pair_is_kept(bench: Bench, obstacle: str) -> None:
    if obstacle == "no IPv6":
        run("ip", "netns", "exec", bench.pod, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
    else:
        bench.ip(bench.pod, "link", "add", "other", "type", "veth", "peer", "name", "far")
        bench.ip(bench.pod, "link", "set", "other", "up")
        bench.ip(bench.pod, "route", "add", "default", "dev", "other")
    order = bench.order()
    plan, replies = bench.play(order)
    assert not is_done(plan, replies)
    wired = bench.call(lambda: podwork.attach_after(plan, order, FIRST, replies))
    assert f"{plan.index}: {NAME}" in bench.ip(bench.host, "link", "show", NAME)
    assert bench.call(lambda: podwork.check("net/c1/eth0", bench.pod_fd, "eth0", wired.address)) == () or (
        obstacle == "another default route"
    )
    bench.call(lambda: podwork.detach(NAME))
    assert bench.call(lambda: podwork.attach(order, FIRST)) == wired


@pytest.mark.parametrize("batches", range(4))
def test_a_plan_that_was_cut_off_is_undone_or_replaced(bench: Bench, batches: int) -> None:
    order = bench.order()
    plan, replies = bench.play(order, batches_max=batches)
    assert all(not link.is_whole for link in bench.call(podwork.list_pod_links)), "the alias comes last"
    bench.call(lambda: podwork.undo(order.ident, plan.index))
    assert bench.call(podwork.list_pod_links) == ()
    plan, replies = bench.play(order, batches_max=batches)
    assert bench.call(lambda: podwork.attach_after(plan, order, FIRST, replies)) == plan.pod
    assert bench.call(lambda: podwork.check("net/c1/eth0", bench.pod_fd, "eth0", FIRST)) == ()


@pytest.mark.parametrize("where", ["host", "pod"])
def test_an_index_that_is_taken_is_left_alone_and_another_chosen(bench: Bench, where: str) -> None:
    taken = INDEX_MIN if where == "host" else INDEX_MIN + 1
    space = bench.host if where == "host" else bench.pod
    bench.ip(space, "link", "add", "other", "index", str(taken), "type", "veth", "peer", "name", "far")
    order = bench.order()
    plan, replies = bench.play(order)
    assert not is_done(plan, replies)
    assert bench.call(lambda: podwork.attach_after(plan, order, FIRST, replies)) == plan.pod
    assert f"{taken}: other" in bench.ip(space, "link")
    assert bench.call(lambda: podwork.check("net/c1/eth0", bench.pod_fd, "eth0", FIRST)) == ()


def test_a_player_that_is_late_takes_nothing_from_the_pod_that_has_the_address_now(bench: Bench) -> None:
    late = bench.order("net/c2/eth1", ifname="eth1")
    bench.call(lambda: podwork.attach(bench.order(), FIRST))
    plan, replies = bench.play(late)
    assert not is_done(plan, replies)
    bench.call(lambda: podwork.undo(late.ident, plan.index))
    assert f"10.32.0.5 dev {NAME}" in bench.ip(bench.host, "route")
    assert f"fd57::a20:5 dev {NAME}" in bench.ip(bench.host, "-6", "route")


def test_what_an_earlier_attempt_made_is_not_undone_by_another_plan(bench: Bench) -> None:
    bench.call(lambda: podwork.attach(bench.order(), FIRST))
    plan, replies = bench.play(bench.order())
    bench.call(lambda: podwork.undo("net/c1/eth0", plan.index))
    assert NAME in bench.ip(bench.host, "link")
    with pytest.raises(InterfaceExists):
        bench.call(lambda: podwork.attach_after(plan, bench.order(), FIRST, replies))
    assert NAME in bench.ip(bench.host, "link")
