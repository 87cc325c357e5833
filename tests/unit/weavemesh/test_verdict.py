"""What is right and what is not."""

from collections.abc import Sequence

import msgspec

from tests.unit.weavemesh import sample
from weavemesh.status import (
    HOST_IDENT,
    AgentStatus,
    IpamPending,
    IpamStatus,
    PeerStatus,
    Problem,
    RouterStatus,
    StatusReport,
)
from weavemesh.verdict import REMOVED, REMOVED_REMEDY, judge, title


def verdict_on(
    *,
    agent: AgentStatus | None = None,
    router: RouterStatus | None = None,
    peers: Sequence[PeerStatus] | None = None,
    ipam: IpamStatus | None = None,
    findings: Sequence[Problem] = (),
) -> StatusReport:
    return judge(
        generated_at=0.0,
        agent=agent or sample.agent_status(),
        datapath="kernel",
        secret_fingerprint="k3jd9sl2",
        router=router or sample.router(),
        peers=sample.peers() if peers is None else peers,
        ipam=ipam or sample.ipam(),
        pods=sample.pods(),
        findings=findings,
    )


def sentences(report: StatusReport) -> list[str]:
    return [problem.sentence for problem in report.problems]


def test_a_sound_mesh_is_well() -> None:
    report = verdict_on()
    assert report.ok
    assert report.verdict == "all is well"
    assert report.problems == ()


def test_a_peer_alone_is_well() -> None:
    report = verdict_on(peers=sample.peers()[:1])
    assert report.ok
    assert report.encryption.coverage == "no other peers yet"


def test_coverage_counts_the_others_only() -> None:
    ours, second, _ = sample.peers()
    assert verdict_on(peers=(ours, second)).encryption.coverage == "1 of 1 peer has a live tunnel"
    assert (
        verdict_on(peers=(ours, second, sample.silent_peer())).encryption.coverage == "1 of 2 peers have a live tunnel"
    )


def test_a_silent_tunnel_is_told_with_where_it_was_sent_to() -> None:
    ours, second, _ = sample.peers()
    report = verdict_on(peers=(ours, second, sample.silent_peer()))
    assert not report.ok
    assert sentences(report) == [
        "no live tunnel to cccccccccccccccc(n3): no answer from 192.0.2.3:6783, last handshake 6 min 40 s ago"
    ]
    assert "UDP port 6783" in report.problems[0].remedy


def test_a_lost_peer_is_told_once_and_not_as_a_tunnel_too() -> None:
    ours, second, _ = sample.peers()
    report = verdict_on(peers=(ours, second, sample.lost_peer()))
    assert sentences(report) == ["cccccccccccccccc(n3) is unreachable, last heard of 2 min 12 s ago"]


def test_what_the_agent_says_of_a_peer_goes_before_what_is_concluded() -> None:
    ours, second, _ = sample.peers()
    broken = msgspec.structs.replace(sample.lost_peer(), problem=Problem(sentence="its key changed", remedy="ask it"))
    report = verdict_on(peers=(ours, second, broken))
    assert report.problems == (Problem(sentence="cccccccccccccccc(n3): its key changed", remedy="ask it"),)


def test_a_target_still_dialled_is_a_problem_only_after_a_while() -> None:
    router = sample.failing_router()
    dialling = tuple(msgspec.structs.replace(target, state="connecting", reason=None) for target in router.targets[:1])
    router = msgspec.structs.replace(router, targets=dialling)
    young = msgspec.structs.replace(sample.agent_status(), uptime_s=1.0)
    assert verdict_on(router=router, agent=young).ok
    assert sentences(verdict_on(router=router)) == ["no connection to host9:6783: no answer yet"]


def test_ourselves_among_the_targets_is_no_problem() -> None:
    router = sample.failing_router()
    ourselves = tuple(msgspec.structs.replace(target, state="ourselves") for target in router.targets)
    assert verdict_on(router=msgspec.structs.replace(router, targets=ourselves)).ok


def test_an_agent_that_waits_says_what_for() -> None:
    agent = sample.agent_status(ready=False, waiting_for="no peer answers yet")
    assert sentences(verdict_on(agent=agent)) == ["this peer is not ready: no peer answers yet"]


def test_while_the_agent_waits_for_the_ring_one_sentence_says_it_with_the_way_to_found_one() -> None:
    agent = sample.agent_status(ready=False, waiting_for="nobody told us of the ring")
    host = IpamPending(ident=HOST_IDENT, reason="nobody told us of the ring", waiting_s=1.0)
    ring = msgspec.structs.replace(sample.ipam(), ready=False, status="waiting", pending=(host,), entries=())
    report = verdict_on(agent=agent, ipam=ring, peers=(sample.peers()[0], sample.silent_peer()))
    assert sentences(report) == ["this peer is not ready: nobody told us of the ring"]
    assert "--no-resume" in report.problems[0].remedy


def test_address_troubles_are_told() -> None:
    waiting = msgspec.structs.replace(sample.ipam(), ready=False, status="waiting for the ring")
    assert sentences(verdict_on(ipam=waiting)) == ["no addresses for pods yet: waiting for the ring"]
    assert "k8s/0123/eth0 has waited 8 s for an address" in sentences(verdict_on(ipam=sample.starved_ipam()))[-1]
    lost = tuple(msgspec.structs.replace(entry, reachable=False) for entry in sample.ipam().entries)
    stranded = verdict_on(ipam=msgspec.structs.replace(sample.ipam(), entries=lost))
    assert sentences(stranded) == ["all address ranges are owned by unreachable peers"]


def test_what_the_ring_waits_for_and_what_is_isolated_is_told_once() -> None:
    ring = msgspec.structs.replace(
        sample.ipam(),
        unsettled=("10.48.0.0/14 of a peer that was removed waits; start n3",),
        quarantined=("10.32.0.0/24", "10.33.0.0/24"),
        findings=(Problem(sentence="10.32.0.0/24 was given twice", remedy=""),),
    )
    report = verdict_on(ipam=ring)
    assert sentences(report) == [
        "10.32.0.0/24 was given twice",
        "10.48.0.0/14 of a peer that was removed waits; start n3",
        "nothing of 10.33.0.0/24 is handed out here, because somebody else was given it, too",
    ]
    assert "`weavemesh ipam clear 10.33.0.0/24`" in report.problems[2].remedy


def test_of_a_removed_peer_nothing_else_matters() -> None:
    gone = msgspec.structs.replace(sample.starved_ipam(), is_removed=True)
    finding = Problem(sentence="the disk is full", remedy="make room")
    report = verdict_on(
        ipam=gone, router=sample.failing_router(), peers=(sample.peers()[0], sample.lost_peer()), findings=(finding,)
    )
    assert not report.ok
    assert report.problems == (Problem(sentence=REMOVED, remedy=REMOVED_REMEDY), finding)
    assert "weavemesh reset" in REMOVED_REMEDY


def test_findings_come_first_and_nothing_is_told_twice() -> None:
    finding = Problem(sentence="the ring has a conflict", remedy="")
    report = verdict_on(findings=(finding, finding), agent=sample.agent_status(ready=False))
    assert report.problems[0] == finding
    assert len(report.problems) == 2
    assert report.verdict == "2 things are not right"


def test_peers_are_in_order_of_their_nicknames_ourselves_first() -> None:
    ours, second, third = sample.peers()
    assert [peer.nickname for peer in verdict_on(peers=(third, second, ours)).peers] == ["n1", "n2", "n3"]


def test_a_peer_without_nickname_is_called_by_its_name() -> None:
    assert title(nickname="", name="abc") == "abc"
    assert title(nickname="n1", name="abc") == "abc(n1)"
