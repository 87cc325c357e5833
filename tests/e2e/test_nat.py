"""Peers behind translators of every kind reach each other: directly where theory allows it, else over a relay, at once.

Here the pairs that differ in kind; the whole matrix is `make test-nat` (WEAVEMESH_NAT_MATRIX=all).
"""

import os
from collections.abc import Iterator

import pytest

from deploy.demo.lab import Lab, Machine, running, wait_until
from tests.e2e.conftest import path_of as path_on
from tests.e2e.nat_lab import NatLab, Pings, path_of, pings
from tests.e2e.test_mesh import ON_THEIR_WAY_MAX, kill_agent
from tests.lab.nat import KINDS, NatKind, is_direct_possible

pytestmark = pytest.mark.timeout(180)

SHORT: list[tuple[NatKind, NatKind]] = [
    ("port-restricted", "port-restricted"),
    ("address-restricted", "symmetric"),
    ("port-restricted", "symmetric"),
    ("symmetric", "symmetric"),
]
ALL = [(one, other) for index, one in enumerate(KINDS) for other in KINDS[index:]]
PAIRS = ALL if os.environ.get("WEAVEMESH_NAT_MATRIX") == "all" else SHORT


@pytest.fixture
def nats(lab: Lab) -> Iterator[NatLab]:
    yield NatLab(lab)


def join(nats: NatLab, *machines: Machine) -> None:
    """The hub first, then these, as users start them."""
    nats.up(nats.hub)
    for machine in machines:
        nats.up(nats.equip(machine))


def meet(one: Machine, other: Machine, *, via: str) -> None:
    """Both come to agree that packets go this way, and they do."""
    wait_until(
        lambda: path_of(one, other) == path_of(other, one) == (via, "live"),
        seconds=20,
        what=f"{one.name} and {other.name} to talk {via}",
    )


@pytest.mark.parametrize(("kind", "other_kind"), PAIRS, ids=[f"{one}+{other}" for one, other in PAIRS])
def test_every_kind_reaches_every_kind(nats: NatLab, kind: NatKind, other_kind: NatKind) -> None:
    one, other = nats.internet.behind("one", kind), nats.internet.behind("other", other_kind)
    join(nats, one, other)
    wait_until(lambda: pings(other, nats.overlay_address(one)), seconds=10, what="a first answer")
    meet(one, other, via="direct" if is_direct_possible(kind, other_kind) else "hub")


def test_a_double_nat_is_crossed(nats: NatLab) -> None:
    outer = nats.internet.site("outer", "port-restricted")
    one = nats.internet.host("one", nats.internet.site("inner", "port-restricted", behind=outer))
    other = nats.internet.behind("other", "port-restricted")
    join(nats, one, other)
    meet(one, other, via="direct")


def test_two_behind_one_nat_meet_inside(nats: NatLab) -> None:
    site = nats.internet.site("nat", "symmetric")
    one, other = nats.internet.host("one", site), nats.internet.host("other", site)
    join(nats, one, other)
    meet(one, other, via="direct")
    (peer,) = [peer for peer in one.status()["peers"] if peer["nickname"] == "other"]
    assert peer["endpoint"] == f"{site.inside_address(other)}:6783"


def test_blocked_in_one_direction_a_relay_helps(nats: NatLab) -> None:
    one, other = nats.internet.public("one"), nats.internet.public("other")
    nats.internet.block(nats.internet.address(one), nats.internet.address(other))
    join(nats, one, other)
    meet(one, other, via="hub")
    status = one.status()
    (peer,) = [peer for peer in status["peers"] if peer["nickname"] == "other"]
    assert nats.internet.address(other) in peer["why_not_direct"]
    wait_until(lambda: one.status()["router"]["indirect"], seconds=10, what="the mesh to hear of the way")
    assert all(path["reason"] for path in one.status()["router"]["indirect"])
    assert "over" in one.weavemesh("why", "other").stdout and "hub" in one.weavemesh("why", "other").stdout
    assert "no NAT in between" in one.weavemesh("netcheck").stdout
    assert one.weavemesh("ping", "other", "-c", "1").returncode == 0
    assert "1420 octets" in one.weavemesh("ping", "other", "--mtu").stdout
    shown = one.weavemesh("status", "connections", check=False).stdout
    assert "WHY NOT DIRECT" in shown and nats.internet.address(other) in shown


def test_who_may_talk_udp_with_one_only_talks_with_all(nats: NatLab) -> None:
    one, other = nats.internet.public("one"), nats.internet.public("other")
    nats.internet.lock_in(nats.internet.address(one), but=[nats.internet.address(nats.hub)])
    join(nats, one, other)
    meet(one, other, via="hub")


def test_a_relay_sees_ciphertext_only_and_no_connection_of_it(nats: NatLab) -> None:
    one, other = nats.internet.behind("one", "symmetric"), nats.internet.behind("other", "symmetric")
    join(nats, one, other)
    meet(one, other, via="hub")
    (before,) = nats.hub.status()["router"]["relayed"]
    tracked_before = tracked_ports(nats.hub)
    secret = b"wm plain text!"
    capture = nats.hub.start(
        "tcpdump", "--immediate-mode", "-U", "-i", "wan", "-w", "/run/relayed.pcap", "udp", "portrange", "26783-26910"
    )
    with running(capture):
        wait_until(lambda: path_on(nats.hub, "/run/relayed.pcap").exists(), seconds=10, what="tcpdump to begin")
        one.run("ping", "-n", "-c", "20", "-i", "0.02", "-p", secret.hex(), nats.overlay_address(other))
        wait_until(
            lambda: nats.hub.status()["router"]["relayed"][0]["packets"] >= before["packets"] + 40,
            seconds=10,
            what="the relay to have counted them",
        )
        captured = path_on(nats.hub, "/run/relayed.pcap")
        wait_until(lambda: captured.stat().st_size > 40 * 128, seconds=10, what="tcpdump to have seen them")
    content = captured.read_bytes()
    assert secret not in content and secret[4:] not in content
    assert tracked_ports(nats.hub) <= tracked_before


def tracked_ports(machine: Machine) -> int:
    """Connections at the first relay port that the kernel keeps: the first knocks came before the table was there."""
    return int(machine.run("sh", "-c", "grep -c 26783 /proc/net/nf_conntrack || true").stdout.strip() or 0)


def test_who_forwards_nothing_is_no_relay(nats: NatLab) -> None:
    one, other = nats.internet.behind("one", "symmetric"), nats.internet.behind("other", "symmetric")
    willing = nats.equip(nats.internet.public("willing"))
    nats.up(nats.hub, "--no-relay")
    for machine in (willing, nats.equip(one), nats.equip(other)):
        nats.up(machine)
    meet(one, other, via="willing")
    assert "weavemesh-relay" not in nats.hub.run("nft", "list", "ruleset").stdout


def test_a_cut_path_is_replaced_and_comes_back_without_loss(nats: NatLab) -> None:
    one, other = nats.internet.public("one"), nats.internet.public("other")
    join(nats, one, other)
    meet(one, other, via="direct")
    a, b = nats.internet.address(one), nats.internet.address(other)
    with Pings(one, nats.overlay_address(other)) as flow:
        nats.internet.block(a, b)
        nats.internet.block(b, a)
        meet(one, other, via="hub")
        nats.internet.unblock(a, b)
        nats.internet.unblock(b, a)
        flow.mark()
        meet(one, other, via="direct")
    assert flow.lost_since_mark() == 0


def test_a_dead_relay_is_replaced(nats: NatLab) -> None:
    one, other = nats.internet.behind("one", "symmetric"), nats.internet.behind("other", "symmetric")
    second = nats.internet.public("second")
    join(nats, second, one, other)
    wait_until(lambda: path_of(one, other)[1] == "live", seconds=20, what="the tunnel")
    relay = {"hub": nats.hub, "second": second}[str(path_of(one, other)[0])]
    left = {"hub": "second", "second": "hub"}[relay.name]
    relay.run("ip", "link", "set", "wan", "down")
    meet(one, other, via=left)
    assert pings(one, nats.overlay_address(other), seconds=3)


def test_a_peer_that_changes_its_address_is_followed(nats: NatLab) -> None:
    one, other = nats.internet.public("one"), nats.internet.public("other")
    join(nats, one, other)
    meet(one, other, via="direct")
    nats.internet.renumber(one)
    wait_until(
        lambda: pings(other, nats.overlay_address(one), seconds=0.5), seconds=10, what="the tunnel to work again"
    )
    meet(one, other, via="direct")


def test_a_restarted_relay_goes_on(nats: NatLab) -> None:
    one, other = nats.internet.behind("one", "symmetric"), nats.internet.behind("other", "symmetric")
    join(nats, one, other)
    meet(one, other, via="hub")
    with Pings(one, nats.overlay_address(other)) as flow:
        flow.mark()
        kill_agent(nats.hub)
        nats.hub.weavemesh("up")
        # Bindings renewed with the new agent have replaced what the former one left.
        wait_until(lambda: nats.hub.status()["router"]["relayed"], seconds=20, what="the pair to bind again")
    assert flow.lost_since_mark() <= ON_THEIR_WAY_MAX
    meet(one, other, via="hub")
