"""Ring and space in step, and a snapshot for every change worth keeping and for no other."""

from ipaddress import IPv4Network

import pytest

from ipam_crdt.cidr import Block
from ipam_crdt.error import SnapshotCorrupt, SnapshotForeign, UniverseMismatch
from ipam_crdt.holding import Holding
from ipam_crdt.ring import ROUND_BITS, Conflict, Entry, Ring, Title
from ipam_crdt.roster import Owner, Roster
from ipam_crdt.snapshot import read_votes
from ipam_crdt.wire import DenyReason, decode_knowledge

ANNE, BERT, CARL = Owner("anne"), Owner("bert"), Owner("carl")
UNIVERSE = Block.of(IPv4Network("10.0.0.0/28"))
LOWER, UPPER = UNIVERSE.halves()
START = UNIVERSE.start
RING_ID = bytes(range(16))


def founder() -> tuple[Holding, Ring]:
    holding = Holding(ANNE, UNIVERSE, UNIVERSE)
    ring = holding.settle_in(RING_ID, (ANNE,))
    assert holding.take_snapshot() is not None
    return holding, ring


def test_who_holds_nothing_has_nothing_to_keep() -> None:
    holding = Holding(ANNE, UNIVERSE, UNIVERSE)
    assert (holding.ring, holding.take_snapshot(), holding.digest(), holding.check()) == (None, None, b"", [])
    assert decode_knowledge(holding.state()).ring_id is None
    assert decode_knowledge(holding.state()).universe == UNIVERSE


def test_one_who_founds_alone_owns_all_of_it() -> None:
    holding, ring = founder()
    assert holding.space.blocks == (UNIVERSE,)
    assert holding.check() == []
    assert ring.ring_id == RING_ID and ring is holding.ring


def test_every_change_is_kept_once_and_what_changes_nothing_is_not() -> None:
    holding, ring = founder()
    assert holding.take_snapshot() is None
    holding.release("nobody")
    assert not holding.claim("pod", START)
    assert holding.take_snapshot() is None
    assert holding.allocate("pod") is not None
    assert holding.take_snapshot() is not None
    assert holding.claim("other", START + 5)
    assert holding.take_snapshot() is not None
    holding.release("pod")
    assert holding.take_snapshot() is not None
    holding.adopt(ring.grant(UPPER, giver=ANNE, taker=BERT))
    assert holding.take_snapshot() is not None
    assert holding.take_snapshot() is None


def test_a_full_space_changes_nothing() -> None:
    holding, _ = founder()
    while holding.allocate(f"pod{len(holding.space.allocations)}") is not None:
        pass
    holding.take_snapshot()
    assert holding.allocate("late") is None
    assert holding.take_snapshot() is None


def test_what_is_given_away_leaves_the_space_and_what_is_given_enters_it() -> None:
    holding, ring = founder()
    holding.adopt(ring.grant(UPPER, giver=ANNE, taker=BERT))
    assert (holding.space.blocks, holding.check()) == ((LOWER,), [])
    assert holding.ring is not None
    holding.adopt(holding.ring.merge([Entry(UPPER, Title(3, ANNE, BERT))]))
    assert (holding.space.blocks, holding.check()) == ((UNIVERSE,), [])


def test_a_restored_holding_is_the_one_that_was_kept() -> None:
    holding, ring = founder()
    holding.adopt(ring.grant(UPPER, giver=ANNE, taker=BERT))
    for ident in ("one", "two"):
        holding.allocate(ident)
    holding.release("one")
    snapshot = holding.take_snapshot()
    assert snapshot is not None
    again = Holding(ANNE, UNIVERSE, UNIVERSE)
    again.restore(snapshot)
    assert (again.ring, again.space.allocations) == (holding.ring, holding.space.allocations)
    assert list(again.space.freed) == list(holding.space.freed)
    assert (again.state(), again.digest(), again.check()) == (holding.state(), holding.digest(), [])
    assert again.take_snapshot() is None


def test_a_snapshot_of_another_peer_range_or_form_is_not_obeyed() -> None:
    holding = Holding(ANNE, UNIVERSE, UNIVERSE)
    holding.settle_in(RING_ID, (ANNE,))
    snapshot = holding.take_snapshot()
    assert snapshot is not None
    with pytest.raises(SnapshotForeign) as foreign:
        Holding(BERT, UNIVERSE, UNIVERSE).restore(snapshot)
    assert foreign.value.belongs_to == ANNE
    with pytest.raises(UniverseMismatch) as mismatch:
        Holding(ANNE, LOWER, LOWER).restore(snapshot)
    assert (mismatch.value.persisted, mismatch.value.configured) == (UNIVERSE.network(), LOWER.network())
    with pytest.raises(SnapshotCorrupt):
        Holding(ANNE, UNIVERSE, UNIVERSE).restore(snapshot[:-1])


def test_a_donation_of_one_address_is_that_address_or_the_reason_why_not() -> None:
    holding, ring = founder()
    holding.claim("pod", START + 5)
    merged = ring.grant(UPPER, giver=ANNE, taker=BERT)
    holding.adopt(merged)
    assert holding.donation(merged.ring, START + 3, UNIVERSE)[0] == Block(START + 3, 32)
    assert holding.donation(merged.ring, START + 5, UNIVERSE) == (None, DenyReason.TAKEN)
    assert holding.donation(merged.ring, START, UNIVERSE) == (None, DenyReason.TAKEN)
    assert holding.donation(merged.ring, UPPER.start, UNIVERSE) == (None, DenyReason.NOT_MINE)
    assert holding.donation(merged.ring, START - 1, UNIVERSE) == (None, DenyReason.NOT_MINE)


def test_who_has_nothing_free_denies_for_being_full() -> None:
    holding, ring = founder()
    while holding.allocate(f"pod{len(holding.space.allocations)}") is not None:
        pass
    assert holding.donation(ring, None, UNIVERSE) == (None, DenyReason.FULL)


def test_equal_rings_have_equal_digests_whatever_is_in_use() -> None:
    holding, ring = founder()
    other = Holding(BERT, UNIVERSE, UNIVERSE)
    other.enter(ring.ring_id)
    assert other.digest() != holding.digest()
    assert other.ring is not None
    told = decode_knowledge(holding.state())
    other.adopt(other.ring.merge(told.entries, told.roster))
    holding.allocate("pod")
    assert other.digest() == holding.digest()
    holding.adopt(ring.grant(UPPER, giver=ANNE, taker=BERT))
    assert other.digest() != holding.digest()


def test_who_enters_a_ring_owns_nothing_and_keeps_its_name() -> None:
    holding = Holding(ANNE, UNIVERSE, UNIVERSE)
    holding.enter(bytes(range(16)))
    snapshot = holding.take_snapshot()
    assert snapshot is not None
    again = Holding(ANNE, UNIVERSE, UNIVERSE)
    again.restore(snapshot)
    assert again.ring == Ring.unknown(bytes(range(16)), UNIVERSE)
    assert (again.space.free_count, again.check()) == (0, [])


def test_founders_settle_in_with_a_share_each() -> None:
    holding = Holding(BERT, UNIVERSE, UNIVERSE)
    ring = holding.settle_in(bytes(16), (ANNE, BERT))
    assert ring.roster == Roster.of(ANNE, BERT)
    assert (holding.space.blocks, holding.check()) == ((UPPER,), [])
    assert holding.take_snapshot() is not None


def test_what_is_isolated_is_neither_handed_out_nor_given_away_and_in_use_it_stays() -> None:
    holding, ring = founder()
    holding.claim("pod", UPPER.start)
    holding.isolate(Conflict(UPPER, Title(1, ANNE, Owner("")), Title(1, BERT, ANNE)))
    assert holding.check() == [] and holding.space.blocks == (LOWER,)
    assert holding.space.allocations == {"pod": UPPER.start}
    assert not holding.claim("other", UPPER.start + 1)
    assert holding.donation(ring, UPPER.start + 1, UNIVERSE) == (None, DenyReason.TAKEN)
    given, _ = holding.donation(ring, None, UNIVERSE)
    assert given is not None and LOWER.covers(given)
    snapshot = holding.take_snapshot()
    assert snapshot is not None
    again = Holding(ANNE, UNIVERSE, UNIVERSE)
    again.restore(snapshot)
    assert again.space.blocks == (LOWER,) and again.check() == []
    holding.clear(LOWER)
    assert holding.take_snapshot() is None, "nothing of it was isolated"
    holding.clear(UPPER)
    assert holding.space.blocks == (UNIVERSE,) and holding.check() == []
    assert holding.take_snapshot() is not None


def test_what_is_isolated_and_changes_hands_comes_back_whole() -> None:
    holding, _ = founder()
    holding.isolate(Conflict(UPPER, Title(1, ANNE, Owner("")), Title(1, BERT, ANNE)))
    assert holding.ring is not None
    holding.adopt(holding.ring.merge([Entry(UPPER, Title(2, BERT, ANNE))]))
    assert holding.quarantine.claims == {}
    holding.adopt(holding.ring.merge([Entry(UPPER, Title(3, ANNE, BERT))]))
    assert (holding.space.blocks, holding.check()) == ((UNIVERSE,), [])


def test_a_conflict_between_others_or_one_that_we_lost_isolates_nothing() -> None:
    holding, _ = founder()
    for kept, other in ((BERT, ANNE), (BERT, CARL), (ANNE, ANNE)):
        holding.isolate(Conflict(UPPER, Title(1, kept, BERT), Title(1, other, CARL)))
    assert holding.quarantine.claims == {} and holding.take_snapshot() is None


def test_a_donation_lies_in_the_subnet_that_was_asked_for() -> None:
    holding, ring = founder()
    assert holding.donation(ring, None, LOWER)[0] == LOWER
    assert holding.donation(ring, None, LOWER.halves()[0])[0] == LOWER.halves()[0]


def test_promises_are_kept_and_fall_with_what_they_were_about() -> None:
    holding, ring = founder()
    holding.adopt(ring.merge((), Roster.of(BERT)))
    holding.take_snapshot()
    holding.hear_round(0)
    assert holding.take_snapshot() is None
    holding.hear_round(2)
    assert holding.take_snapshot() is not None
    holding.bind(3, [UPPER])
    assert holding.promises.fences[UPPER].members == {ANNE, BERT}
    snapshot = holding.take_snapshot()
    assert snapshot is not None
    again = Holding(ANNE, UNIVERSE, UNIVERSE)
    again.restore(snapshot)
    assert again.promises.round == 3
    assert again.promises.fences == holding.promises.fences
    assert holding.ring is not None
    holding.adopt(holding.ring.merge([Entry(UPPER, Title(4 << ROUND_BITS, BERT, Owner("")))]))
    assert holding.promises.fences == {} and holding.promises.round == 4, "and a round that is seen is known"


def test_a_promise_about_what_is_settled_already_falls_at_once_and_its_round_is_kept() -> None:
    holding, ring = founder()
    holding.adopt(ring.merge([Entry(UPPER, Title(2 << ROUND_BITS, BERT, Owner("")))]))
    holding.take_snapshot()
    holding.bind(2, [LOWER, UPPER])
    assert list(holding.promises.fences) == [LOWER] and holding.promises.round == 2
    holding.bind(1, [UPPER])
    assert list(holding.promises.fences) == [LOWER] and holding.promises.round == 2
    assert holding.take_snapshot() is not None


def test_what_a_fence_covers_or_touches_may_not_be_granted_and_in_use_it_may_be() -> None:
    holding, ring = founder()
    assert all(holding.may_grant(ring, block) for block in (UNIVERSE, LOWER, UPPER))
    holding.bind(1, [UPPER])
    low, high = UPPER.halves()
    assert [holding.may_grant(ring, block) for block in (UNIVERSE, UPPER, low, high)] == [False] * 4
    assert holding.may_grant(ring, LOWER) and not holding.may_grant(
        ring.grant(LOWER, giver=ANNE, taker=BERT).ring, LOWER
    )
    assert holding.claim("pod", low.start + 1)
    merged = ring.merge([Entry(UPPER, Title(1 << ROUND_BITS, ANNE, Owner("")))])
    holding.adopt(merged)
    assert holding.may_grant(merged.ring, high)


def test_votes_are_kept_told_and_told_apart_until_there_is_a_ring() -> None:
    holding = Holding(ANNE, UNIVERSE, UNIVERSE)
    digests = {holding.digest()}
    for votes in (b"some", b"more"):
        holding.keep_votes(votes)
        snapshot = holding.take_snapshot()
        assert snapshot is not None and read_votes(snapshot) == votes == holding.state()
        assert holding.take_snapshot() is None
        digests.add(holding.digest())
    assert len(digests) == 3 and b"" in digests
    holding.settle_in(RING_ID, (ANNE,))
    snapshot = holding.take_snapshot()
    assert snapshot is not None and read_votes(snapshot) is None
    assert decode_knowledge(holding.state()).ring_id == RING_ID and holding.digest() not in digests


def test_a_removal_ends_what_we_own_and_not_what_is_in_use() -> None:
    holding, ring = founder()
    holding.allocate("pod")
    holding.take_snapshot()
    holding.adopt(ring.merge((), Roster.of(removed=(ANNE,))))
    assert holding.is_removed and holding.space.blocks == () and holding.check() == []
    assert holding.space.allocations == {"pod": START + 1} and holding.allocate("next") is None
    assert holding.take_snapshot() is not None
