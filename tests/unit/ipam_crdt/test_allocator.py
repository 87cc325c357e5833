"""The allocator: how it begins, goes on after a restart, answers its own pods, and what it tells a person."""

from ipaddress import IPv4Address, IPv4Network

import pytest

from ipam_crdt.error import LocalMisuse, SnapshotCorrupt, SnapshotForeign, UniverseMismatch
from ipam_crdt.event import (
    Allocate,
    Allocated,
    Announce,
    Claim,
    Clear,
    Fenced,
    Leave,
    OwnershipChanged,
    PeersReachable,
    Persist,
    Refused,
    Release,
    Remove,
    RingReceived,
)
from ipam_crdt.roster import Owner, Roster
from ipam_crdt.snapshot import read_snapshot
from ipam_crdt.vote import VOTES_FORMAT
from ipam_crdt.wire import decode_knowledge
from tests.unit.ipam_crdt.peers import (
    ALONE,
    ANNE,
    BERT,
    CARL,
    FAR,
    UNIVERSE,
    allocator,
    answers,
    converse,
    give,
    mesh,
    pair,
    refusal,
    tell,
)


def test_a_founder_persists_its_ring_before_it_tells_of_it() -> None:
    anne = allocator(ANNE, ALONE)
    kept, votes, ring, changed = anne.outputs()
    assert isinstance(kept, Persist) and read_snapshot(kept.snapshot).ring == anne.ring
    assert isinstance(votes, Announce) and votes.payload.startswith(VOTES_FORMAT)
    assert isinstance(ring, Announce) and decode_knowledge(ring.payload).ring_id == anne.ring_id
    assert changed == OwnershipChanged()
    assert anne.ready and anne.owned(ANNE) == (UNIVERSE,)


def test_one_who_joins_never_makes_a_ring() -> None:
    bert = allocator(BERT)
    assert (bert.outputs(), bert.ready, bert.ring_id, bert.digest()) == ([], False, None, b"")
    assert tell(bert, Allocate("pod", 5.0)) == []
    assert bert.deadline() == 5.0
    bert.tick(5.0)
    assert "there is no address ring yet: this peer joins a ring and founds none" in refusal(bert.outputs())
    assert bert.deadline() is None


def test_an_address_is_persisted_before_it_is_handed_out() -> None:
    anne = allocator(ANNE, ALONE)
    anne.outputs()
    kept, answer = tell(anne, Allocate("pod", FAR))
    assert isinstance(kept, Persist)
    assert answer == Allocated("pod", IPv4Address("10.0.0.1"))
    again = allocator(ANNE, snapshot=kept.snapshot)
    assert again.allocations() == {"pod": IPv4Address("10.0.0.1")}
    assert again.ring == anne.ring and again.outputs() == []


def test_a_snapshot_wins_over_founding() -> None:
    kept = allocator(ANNE, ALONE).outputs()[0]
    assert isinstance(kept, Persist)
    again = allocator(ANNE, ALONE, snapshot=kept.snapshot, seed=2)
    assert again.ring_id == allocator(ANNE, ALONE).ring_id != allocator(ANNE, ALONE, seed=2).ring_id


def test_a_restart_with_a_ring_has_nothing_to_keep_whatever_the_electorate() -> None:
    kept = allocator(ANNE, ALONE).outputs()[0]
    assert isinstance(kept, Persist)
    assert allocator(ANNE, ALONE, snapshot=kept.snapshot).outputs() == []


def test_an_ident_that_asks_again_has_the_same_address_until_it_is_released() -> None:
    anne = allocator(ANNE, ALONE)
    first, second = answers(tell(anne, Allocate("pod", FAR), Allocate("pod", FAR)))
    assert first == second
    tell(anne, Release("pod"))
    assert anne.allocations() == {}
    assert answers(tell(anne, Allocate("pod", FAR))) != [first]


def test_ticks_early_late_or_twice_do_no_harm() -> None:
    _, bert = pair()
    tell(bert, Allocate("pod", 5.0))
    for now in (0.1, 0.1, 0.2):
        bert.tick(now)
        assert bert.outputs() == []
    bert.tick(50.0)
    assert len(answers(bert.outputs())) == 1
    bert.tick(60.0)
    assert bert.outputs() == []


def test_the_status_counts_every_address_once() -> None:
    anne, bert = pair()
    converse({ANNE: anne, BERT: bert}, BERT, tell(bert, Allocate("pod", FAR)))
    status = bert.status()
    assert [(owner.owner, owner.addresses, owner.free, owner.reachable) for owner in status.owners] == [
        (ANNE, 128, 127, True),
        (BERT, 128, 126, True),
    ]
    assert (status.unknown, status.allocated, status.pending, status.findings) == (0, 1, (), ())


def test_what_can_never_be_right_is_refused_at_birth() -> None:
    for owner, universe in ((Owner(""), UNIVERSE), (Owner("\n"), UNIVERSE), (ANNE, IPv4Network("10.0.0.0/31"))):
        with pytest.raises(LocalMisuse):
            allocator(owner, universe=universe)
    for subnet in (IPv4Network("10.0.0.0/31"), IPv4Network("10.0.0.0/23"), IPv4Network("10.9.0.0/24")):
        with pytest.raises(LocalMisuse):
            allocator(ANNE, subnet=subnet)


def test_a_snapshot_that_cannot_be_obeyed_is_refused_at_birth() -> None:
    kept = allocator(ANNE, ALONE).outputs()[0]
    assert isinstance(kept, Persist)
    with pytest.raises(SnapshotForeign):
        allocator(BERT, snapshot=kept.snapshot)
    with pytest.raises(UniverseMismatch):
        allocator(ANNE, snapshot=kept.snapshot, universe=IPv4Network("10.9.0.0/24"))
    with pytest.raises(SnapshotCorrupt):
        allocator(ANNE, snapshot=kept.snapshot[:-1])


def test_another_subnet_after_a_restart_keeps_what_is_in_use() -> None:
    anne = allocator(ANNE, ALONE)
    kept = tell(anne, Allocate("pod", FAR))[0]
    assert isinstance(kept, Persist)
    again = allocator(ANNE, snapshot=kept.snapshot, subnet=IPv4Network("10.0.0.64/26"))
    assert again.check() == [] and again.allocations() == anne.allocations()
    assert answers(tell(again, Allocate("next", FAR))) == [Allocated("next", IPv4Address("10.0.0.66"))]


def test_a_removal_is_persisted_and_told_and_its_space_is_nobodys_until_it_is_settled() -> None:
    peers = mesh(ANNE, BERT, CARL)
    give(peers, ANNE, BERT)
    tell(peers[CARL], PeersReachable(()))
    outputs = tell(peers[CARL], Remove(BERT))
    assert [type(output) for output in outputs] == [Persist, Announce, OwnershipChanged]
    assert isinstance(outputs[0], Persist)
    assert allocator(CARL, snapshot=outputs[0].snapshot).roster.removed == {BERT}
    assert peers[CARL].owned(BERT) == () and peers[CARL].owners() == (ANNE,)
    status = peers[CARL].status()
    assert (status.removed, status.unknown, len(status.unsettled)) == ((BERT,), 128, 1)


def test_nobody_removes_itself_or_one_who_was_removed_already() -> None:
    peers = mesh(ANNE, BERT)
    tell(peers[ANNE], Remove(BERT))
    assert tell(peers[ANNE], Remove(ANNE), Remove(BERT)) == []
    assert not peers[ANNE].is_removed


def test_before_there_is_a_ring_nobody_removes_and_nobody_leaves_but_one_can_be_told_of_its_removal() -> None:
    bert = allocator(BERT)
    assert tell(bert, Remove(ANNE), Leave(), Clear(UNIVERSE)) == []
    assert (bert.is_removed, bert.roster) == (False, Roster())
    tell(bert, Fenced(ANNE))
    assert (bert.is_removed, bert.removal_is_known, bert.roster) == (True, True, Roster())
    (refused,) = tell(bert, Allocate("pod", 5.0))
    assert isinstance(refused, Refused) and "weavemesh reset" in refused.reason


def test_one_who_is_told_that_it_was_removed_stops_for_ever() -> None:
    peers = mesh(ANNE, BERT)
    give(peers, ANNE, BERT)
    waiting = Claim("waits", IPv4Address("10.0.0.5"), FAR)
    outputs = tell(peers[BERT], waiting, Fenced(ANNE))
    assert "weavemesh reset" in refusal(outputs)
    kept = [output for output in outputs if isinstance(output, Persist)][-1]
    assert peers[BERT].is_removed and peers[BERT].removal_is_known and peers[BERT].owned(BERT) == ()
    again = allocator(BERT, snapshot=kept.snapshot)
    assert again.is_removed and not again.removal_is_known, "in this life nobody has said so yet"
    assert "weavemesh reset" in refusal(tell(again, Allocate("pod", FAR)))
    assert again.status().is_removed and again.check() == [] and again.deadline() is None


def test_a_removal_that_was_heard_before_the_ring_is_known_fences_as_well() -> None:
    anne = mesh(ANNE, BERT)[ANNE]
    tell(anne, Remove(BERT))
    late = allocator(BERT, seed=2)
    tell(late, RingReceived(ANNE, anne.state()))
    assert late.is_removed and "weavemesh reset" in refusal(tell(late, Allocate("pod", FAR)))
