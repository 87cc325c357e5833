"""Ring and space in step, and a snapshot for every change worth keeping and for no other."""

from ipaddress import IPv4Network
from random import Random

import pytest

from ipam_crdt.cidr import Block
from ipam_crdt.error import SnapshotCorrupt, SnapshotForeign, UniverseMismatch
from ipam_crdt.holding import Holding
from ipam_crdt.ring import Entry, Owner, Ring, Title
from ipam_crdt.wire import DenyReason, decode_knowledge

ANNE, BERT = Owner("anne"), Owner("bert")
UNIVERSE = Block.of(IPv4Network("10.0.0.0/28"))
LOWER, UPPER = UNIVERSE.halves()
START = UNIVERSE.start


def founder() -> tuple[Holding, Ring]:
    holding = Holding(ANNE, UNIVERSE)
    ring = holding.found(Random(1))
    assert holding.take_snapshot() is not None
    return holding, ring


def test_who_holds_nothing_has_nothing_to_keep() -> None:
    holding = Holding(ANNE, UNIVERSE)
    assert (holding.ring, holding.take_snapshot(), holding.digest(), holding.check()) == (None, None, b"", [])
    assert decode_knowledge(holding.state()).ring_id is None
    assert decode_knowledge(holding.state()).universe == UNIVERSE


def test_a_founder_owns_all_of_it_under_a_name_that_was_drawn() -> None:
    holding, ring = founder()
    assert holding.space.blocks == (UNIVERSE,)
    assert holding.check() == []
    assert ring.ring_id == Random(1).randbytes(16) != Holding(ANNE, UNIVERSE).found(Random(2)).ring_id


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
    again = Holding(ANNE, UNIVERSE)
    again.restore(snapshot)
    assert (again.ring, again.space.allocations) == (holding.ring, holding.space.allocations)
    assert list(again.space.freed) == list(holding.space.freed)
    assert (again.state(), again.digest(), again.check()) == (holding.state(), holding.digest(), [])
    assert again.take_snapshot() is None


def test_a_snapshot_of_another_peer_range_or_form_is_not_obeyed() -> None:
    holding = Holding(ANNE, UNIVERSE)
    holding.found(Random(1))
    snapshot = holding.take_snapshot()
    assert snapshot is not None
    with pytest.raises(SnapshotForeign) as foreign:
        Holding(BERT, UNIVERSE).restore(snapshot)
    assert foreign.value.belongs_to == ANNE
    with pytest.raises(UniverseMismatch) as mismatch:
        Holding(ANNE, LOWER).restore(snapshot)
    assert (mismatch.value.persisted, mismatch.value.configured) == (UNIVERSE.network(), LOWER.network())
    with pytest.raises(SnapshotCorrupt):
        Holding(ANNE, UNIVERSE).restore(snapshot[:-1])


def test_a_donation_of_one_address_is_that_address_or_the_reason_why_not() -> None:
    holding, ring = founder()
    holding.claim("pod", START + 5)
    merged = ring.grant(UPPER, giver=ANNE, taker=BERT)
    holding.adopt(merged)
    assert holding.donation(merged.ring, START + 3)[0] == Block(START + 3, 32)
    assert holding.donation(merged.ring, START + 5) == (None, DenyReason.TAKEN)
    assert holding.donation(merged.ring, START) == (None, DenyReason.TAKEN)
    assert holding.donation(merged.ring, UPPER.start) == (None, DenyReason.NOT_MINE)
    assert holding.donation(merged.ring, START - 1) == (None, DenyReason.NOT_MINE)


def test_who_has_nothing_free_denies_for_being_full() -> None:
    holding, ring = founder()
    while holding.allocate(f"pod{len(holding.space.allocations)}") is not None:
        pass
    assert holding.donation(ring, None) == (None, DenyReason.FULL)


def test_equal_rings_have_equal_digests_whatever_is_in_use() -> None:
    holding, ring = founder()
    other = Holding(BERT, UNIVERSE)
    other.enter(ring.ring_id)
    assert other.digest() != holding.digest()
    assert other.ring is not None
    other.adopt(other.ring.merge(decode_knowledge(holding.state()).entries))
    holding.allocate("pod")
    assert other.digest() == holding.digest()
    holding.adopt(ring.grant(UPPER, giver=ANNE, taker=BERT))
    assert other.digest() != holding.digest()


def test_who_enters_a_ring_owns_nothing_and_keeps_its_name() -> None:
    holding = Holding(ANNE, UNIVERSE)
    holding.enter(bytes(range(16)))
    snapshot = holding.take_snapshot()
    assert snapshot is not None
    again = Holding(ANNE, UNIVERSE)
    again.restore(snapshot)
    assert again.ring == Ring.unknown(bytes(range(16)), UNIVERSE)
    assert (again.space.free_count, again.check()) == (0, [])
