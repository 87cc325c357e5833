"""The status tells what the cores know: each peer once, tunnels by what answers, the ring by who owns what."""

from ipaddress import IPv4Address, IPv4Network
from random import Random

from msgspec.structs import replace

from gossip import CloneView, PathReport, PeerView, Target, TargetPhase, TargetView
from ipam_crdt import IpamStatus, Owner, OwnerStatus
from tests.unit.weavemesh.test_planning import OURS, THEIRS, summary, view
from weavemesh import reporting
from weavemesh.overlay.mtu import PathMtus
from weavemesh.overlay.pathevent import PathView
from weavemesh.overlay.plan import ula_prefix
from weavemesh.overlay.probe import SILENT_AFTER_S, TunnelHealth
from weavemesh.overlay.state import Endpoint, ObservedPeer
from weavemesh.reporting import Known
from weavemesh.status import PeerStatus

RING_ID = bytes(16)
NOW, UNIX_NOW = 1000.0, 1_700_000_000.0


def observed(endpoint: str = "198.51.100.7") -> ObservedPeer:
    return ObservedPeer(
        public_key=THEIRS.wireguard_public_key,
        preshared_key=None,
        endpoint=Endpoint(IPv4Address(endpoint), 6783),
        allowed_ips=(),
        last_handshake=UNIX_NOW - 30,
        rx_bytes=1,
        tx_bytes=2,
    )


def known(
    peer: PeerView,
    *,
    tunnel: ObservedPeer | None = None,
    health: TunnelHealth | None = None,
    path: PathView | None = None,
) -> Known:
    owned = (IPv4Network("10.40.0.0/13"),)
    return Known(
        now=NOW,
        unix_now=UNIX_NOW,
        peers=(view(summary().encode(), hops=0), peer),
        links=(peer.linked,) if peer.linked else (),
        targets=(),
        tunnels={tunnel.public_key: tunnel} if tunnel else {},
        health=lambda _: health,
        path=lambda _: path,
        mtus=PathMtus(most=1420, unproven=1420, adopted={}, rng=Random(1)),
        ring=IpamStatus(
            universe=IPv4Network("10.32.0.0/12"),
            ring_id=RING_ID,
            owners=(OwnerStatus(Owner(THEIRS.name), owned, 2**19, None, True),),
            unknown=2**19,
            allocated=0,
            pending=(),
            findings=(),
            is_removed=False,
            removed=(),
            unsettled=(),
            quarantined=(),
        ),
        ula=ula_prefix(RING_ID),
        nicknames={THEIRS.name: "theirs"},
    )


def theirs(at: Known) -> PeerStatus:
    ours, other = reporting.peer_statuses(at)
    assert ours.ourselves and not other.ourselves
    return other


def test_a_peer_whose_tunnel_answers_is_live_with_its_figures() -> None:
    peer = view(summary().encode(), link_address="198.51.100.7:40112")
    told = theirs(known(peer, tunnel=observed(), health=TunnelHealth(0.004, NOW - 1, 0.0)))
    assert (told.tunnel, told.rtt_ms, told.last_handshake_s, told.last_seen_s) == ("live", 4.0, 30.0, 1.0)
    assert (told.endpoint, told.endpoint_source) == ("198.51.100.7:6783", "seen on its link")
    assert told.owned == ("10.40.0.0/13",)
    assert told.addresses[0] == "10.40.0.1" and told.addresses[1].endswith("a28:1")


def test_a_tunnel_that_fell_silent_or_never_answered_or_is_not_there() -> None:
    peer = view(summary().encode())
    silent = TunnelHealth(0.004, NOW - SILENT_AFTER_S - 1, 1.0)
    assert theirs(known(peer, tunnel=observed(), health=silent)).tunnel == "silent"
    assert theirs(known(peer, tunnel=observed(), health=TunnelHealth(None, None, 1.0))).tunnel == "connecting"
    assert theirs(known(peer)).tunnel == "none"


def test_where_an_endpoint_comes_from_is_told() -> None:
    said = summary(advertised=("203.0.113.9:6783",), endpoints=("10.0.0.5:6783",)).encode()
    sources = {
        address: theirs(known(view(said), tunnel=observed(address))).endpoint_source
        for address in ("203.0.113.9", "10.0.0.5", "192.0.2.200")
    }
    assert sources == {
        "203.0.113.9": "advertised",
        "10.0.0.5": "its own address",
        "192.0.2.200": "learned from its packets",
    }


def test_a_peer_that_has_said_nothing_is_still_there() -> None:
    told = theirs(known(view(None)))
    assert (told.name, told.nickname, told.public_key, told.tunnel) == (THEIRS.name, "", None, "none")


def test_attempts_to_connect_are_told_with_their_reason() -> None:
    waiting = TargetView(
        target=Target("host3:6783"),
        phase=TargetPhase.WAITING,
        peer=None,
        attempts=2,
        reason="refused",
        next_dial_at=NOW + 3,
    )
    at = replace(known(view(None)), targets=(waiting,))
    (attempt,) = reporting.connection_statuses(at)
    assert (attempt.address, attempt.state, attempt.reason) == ("host3:6783", "retrying", "refused")
    (target,) = reporting.target_statuses(at)
    assert (target.state, target.retry_in_s) == ("retrying", 3.0)


def test_an_address_of_a_peer_that_is_in_the_mesh_by_another_way_is_reached() -> None:
    said = replace(summary(), endpoints=("10.101.0.2:6783",))
    waiting = TargetView(
        target=Target(said.endpoints[0]),
        phase=TargetPhase.WAITING,
        peer=None,
        attempts=9,
        reason="no answer within 5.0 s",
        next_dial_at=NOW + 3,
    )
    present = view(said.encode())
    for peer, state in ((present, "reached"), (replace(present, reachable=False), "retrying")):
        (target,) = reporting.target_statuses(replace(known(peer), targets=(waiting,)))
        assert (target.state, target.peer) == (state, THEIRS.name if state == "reached" else None)


def test_the_ring_is_told_by_owner_with_its_share() -> None:
    told = reporting.ipam_status(known(view(summary().encode())), waiting_for="", allocations={})
    assert (told.ready, told.status, told.range) == (True, "ready", "10.32.0.0/12")
    (entry,) = told.entries
    assert (entry.peer, entry.nickname, entry.percent) == (THEIRS.name, "theirs", 50.0)


def test_without_a_ring_the_status_says_what_is_waited_for() -> None:
    at = known(view(None))
    at = replace(at, ring=replace(at.ring, ring_id=None, owners=()), ula=None)
    told = reporting.ipam_status(at, waiting_for="192.0.2.1:6783: nobody listens there", allocations={})
    assert (told.ready, told.status, told.ipv6_range) == (False, "192.0.2.1:6783: nobody listens there", None)


def test_pods_are_told_with_both_addresses() -> None:
    (pod,) = reporting.pod_statuses(
        {"net/abc/eth0": IPv4Address("10.32.0.9")},
        {"net/abc/eth0": "default/web"},
        ula=ula_prefix(RING_ID),
        interface=lambda _: "wmv0123456789",
    )
    assert (pod.pod, pod.addresses[0], pod.host_interface) == ("default/web", "10.32.0.9", "wmv0123456789")
    assert len(pod.addresses) == 2


def test_the_sentences_of_the_ring_name_peers_as_people_do() -> None:
    at = known(view(None))
    ring = replace(
        at.ring,
        findings=(f"{THEIRS.name} sent nonsense",),
        unsettled=(f"10.40.0.0/13 of {THEIRS.name}, which was removed, waits",),
        removed=(Owner(THEIRS.name), Owner("z" * 16)),
        quarantined=(IPv4Network("10.32.1.0/24"),),
    )
    told = reporting.ipam_status(replace(at, ring=ring), waiting_for="", allocations={})
    assert [problem.sentence for problem in told.findings] == [f"{THEIRS.name}(theirs) sent nonsense"]
    assert told.unsettled == (f"10.40.0.0/13 of {THEIRS.name}(theirs), which was removed, waits",)
    assert [(one.peer, one.nickname) for one in told.removed] == [(THEIRS.name, "theirs"), ("z" * 16, "")]
    assert (told.quarantined, told.is_removed, told.unknown) == (("10.32.1.0/24",), False, 2**19)


def test_ways_that_are_not_direct_are_told_for_the_whole_mesh() -> None:
    reports = (PathReport(OURS.name, None, "no answer\x1b[2J"),)
    at = known(replace(view(summary().encode()), reports=reports))
    (path,) = reporting.indirect_paths(at)
    assert (path.origin, path.peer, path.relay, path.reason) == (THEIRS.name, OURS.name, None, "no answer\\x1b[2J")


def test_a_clone_is_named_as_far_as_it_is_known() -> None:
    at = known(view(summary().encode()))
    assert reporting.clone_problems(at, None) == ()
    (unknown,) = reporting.clone_problems(at, CloneView(times=2, last_at=at.now - 3, summary=None, address=None))
    assert unknown.sentence == "another machine uses this peer's identity, last seen 3 s ago"
    said = summary(endpoints=("10.0.0.5:6783",))
    (named,) = reporting.clone_problems(
        at, CloneView(times=2, last_at=at.now, summary=said.encode(), address="192.0.2.7:1")
    )
    assert f"another machine ({said.nickname}, 10.0.0.5:6783, 192.0.2.7:1) uses" in named.sentence
    assert "weavemesh reset" in named.remedy


def test_a_relayed_path_is_told_with_its_reason() -> None:
    peer = view(summary().encode(), link_address="198.51.100.7:40112")
    told = theirs(known(peer, path=PathView("relay", None, NOW - 5, (), "no answer from 198.51.100.7:6783")))
    assert (told.via, told.path_since_s, told.why_not_direct) == ("relay", 5.0, "no answer from 198.51.100.7:6783")
