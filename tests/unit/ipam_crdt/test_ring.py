"""Single steps of the ring; that its merge is a join is proven in tests/property."""

from ipam_crdt import Owner, Roster
from ipam_crdt.cidr import Block
from ipam_crdt.ring import ENTRIES_MAX, NOBODY, ROUND_BITS, VERSION_MAX, Conflict, Entry, Ring, Title
from tests.property.ipam_strategies import RING_ID, UNIVERSE

A, B, C = Owner("a"), Owner("b"), Owner("c")
START = UNIVERSE.start


def test_a_grant_splits_and_giving_back_at_one_version_joins() -> None:
    founded = Ring.founded(RING_ID, UNIVERSE, (A,))
    lower, upper = UNIVERSE.halves()
    split = founded.grant(upper, giver=A, taker=B).ring
    assert split.entries == (Entry(lower, Title(1, A, Owner(""))), Entry(upper, Title(2, B, A)))
    whole = split.grant(lower, giver=A, taker=B).ring
    assert whole.entries == (Entry(UNIVERSE, Title(2, B, A)),)
    assert whole.blocks_of(A) == ()
    assert whole.owners() == (B,)


def test_an_old_entry_does_not_bring_back_what_was_split() -> None:
    founded = Ring.founded(RING_ID, UNIVERSE, (A,))
    split = founded.grant(Block(START + 4, 32), giver=A, taker=B).ring
    assert split.merge(founded.known()).ring is split


def test_ranges_of_one_owner_are_joined_whatever_their_versions() -> None:
    ring = Ring.founded(RING_ID, UNIVERSE, (A,))
    lower, upper = UNIVERSE.halves()
    ring = ring.grant(upper, giver=A, taker=B).ring.grant(upper, giver=B, taker=A).ring
    assert len(ring.entries) == 2
    assert ring.blocks_of(A) == (UNIVERSE,)
    assert ring.entries_of(A) == ring.entries
    assert ring.entry_at(lower.start).title.version == 1


def test_a_grant_over_several_entries_becomes_one() -> None:
    ring = Ring.founded(RING_ID, UNIVERSE, (A,))
    _, upper = UNIVERSE.halves()
    ring = ring.grant(upper, giver=A, taker=B).ring.grant(upper, giver=B, taker=A).ring
    assert ring.grant(UNIVERSE, giver=A, taker=C).ring.entries == (Entry(UNIVERSE, Title(4, C, A)),)


def test_only_the_owner_of_all_of_a_block_may_grant_it() -> None:
    ring = Ring.founded(RING_ID, UNIVERSE, (A,)).grant(Block(START, 32), giver=A, taker=B).ring
    assert not ring.may_grant(UNIVERSE, A)
    assert not ring.may_grant(Block(START + 1, 32), B)
    assert ring.may_grant(Block(START, 32), B)


def test_a_version_that_cannot_rise_is_not_granted() -> None:
    ring = Ring.unknown(RING_ID, UNIVERSE).merge([Entry(UNIVERSE, Title(VERSION_MAX, A, B))]).ring
    assert not ring.may_grant(UNIVERSE, A)


def test_a_conflict_names_both_titles() -> None:
    ring = Ring.founded(RING_ID, UNIVERSE, (A,))
    merged = ring.merge([Entry(Block(START, 32), Title(1, B, A))])
    assert merged.conflicts == (Conflict(Block(START, 32), Title(1, B, A), Title(1, A, Owner(""))),)
    assert merged.ring.blocks_of(B) == (Block(START, 32),)


def test_a_ring_holds_an_entry_that_is_its_own_word_on_all_of_the_block() -> None:
    lower, upper = UNIVERSE.halves()
    founded = Ring.founded(RING_ID, UNIVERSE, (A,))
    split = founded.grant(upper, giver=A, taker=B).ring
    first = founded.entries[0].title
    assert founded.holds(Entry(UNIVERSE, first))
    assert founded.holds(Entry(upper, first))
    assert split.holds(Entry(lower, first))
    assert not split.holds(Entry(UNIVERSE, first)), "in part it is older"
    assert not founded.holds(split.entry_at(upper.start)), "it is newer"


def test_founders_share_the_universe_in_order_none_more_than_twice_another() -> None:
    for count in range(1, 2 * UNIVERSE.size):
        founders = tuple(Owner(f"p{number:02}") for number in range(count))
        ring = Ring.founded(RING_ID, UNIVERSE, founders)
        assert ring.check() == [] and ring.roster == Roster.of(*founders)
        assert [entry.title.owner for entry in ring.entries] == [*founders[: UNIVERSE.size]]
        sizes = {entry.block.size for entry in ring.entries}
        assert max(sizes) <= 2 * min(sizes)


def test_what_a_removed_peer_owns_is_the_estate_and_nobodys() -> None:
    lower, upper = UNIVERSE.halves()
    ring = Ring.founded(RING_ID, UNIVERSE, (A,)).grant(upper, giver=A, taker=B).ring
    assert ring.estate() == ()
    after = ring.merge((), Roster.of(removed=(B,))).ring
    assert after.estate() == (Entry(upper, Title(2, B, A)),)
    assert after.owners() == (A,) and after.blocks_of(B) == () and after.entries_of(B) == after.estate()
    assert not after.may_grant(upper, B) and after.may_grant(lower, A)
    assert after.entries == ring.entries, "its titles stand until they are settled"


def test_one_who_is_named_by_a_new_title_is_a_member_from_then_on() -> None:
    merged = Ring.founded(RING_ID, UNIVERSE, (A,)).merge([Entry(UNIVERSE, Title(3, B, C))])
    assert merged.ring.roster == Roster.of(A, B, C) and merged.roster_news == Roster.of(B, C)


def test_a_roster_alone_is_news_and_heard_again_is_none() -> None:
    ring = Ring.founded(RING_ID, UNIVERSE, (A,))
    merged = ring.merge((), Roster.of(B))
    assert merged.is_news and merged.changes == () and merged.roster_news == Roster.of(B)
    again = merged.ring.merge((), Roster.of(B))
    assert not again.is_news and again.ring is merged.ring


def test_within_is_what_is_known_of_a_block_and_no_more() -> None:
    lower, upper = UNIVERSE.halves()
    ring = Ring.founded(RING_ID, UNIVERSE, (A,)).grant(upper, giver=A, taker=B).ring
    part = upper.halves()[0]
    assert ring.within(part) == [Entry(part, Title(2, B, A))]
    assert ring.within(UNIVERSE) == list(ring.entries)
    assert ring.within(lower) == [Entry(lower, Title(1, A, Owner("")))]


def test_owners_within_a_block_are_those_of_a_part_of_it_who_live() -> None:
    lower, upper = UNIVERSE.halves()
    ring = Ring.founded(RING_ID, UNIVERSE, (A,)).grant(upper, giver=A, taker=B).ring
    ring = ring.grant(upper.halves()[0], giver=B, taker=C).ring
    assert ring.owners_within(UNIVERSE) == (A, B, C)
    assert ring.owners_within(upper) == (B, C) and ring.owners_within(lower) == (A,)
    assert ring.owners_within(Block(upper.start, 32)) == (C,)
    assert ring.merge((), Roster.of(removed=(C,))).ring.owners_within(upper) == (B,)
    assert Ring.unknown(RING_ID, UNIVERSE).owners_within(lower) == ()


def test_a_title_of_a_round_outranks_all_grants_before_it_and_none_reaches_the_next_round() -> None:
    settled = Title(1 << ROUND_BITS, A, Owner(""))
    assert (settled.round, Title(2**ROUND_BITS - 1, B, C).round) == (1, 0)
    ring = Ring.unknown(RING_ID, UNIVERSE).merge([Entry(UNIVERSE, Title(2**ROUND_BITS - 1, B, C))]).ring
    assert not ring.may_grant(UNIVERSE, B)
    ring = ring.merge([Entry(UNIVERSE, settled)]).ring
    assert ring.may_grant(UNIVERSE, A)
    assert ring.grant(UNIVERSE, giver=A, taker=B).ring.entries[0].title == Title((1 << ROUND_BITS) + 1, B, A)


def test_limits_hold_for_entries_and_names() -> None:
    universe = Block(0, 8)
    every_other = [Entry(Block(2 * at, 32), Title(1, A, B)) for at in range(ENTRIES_MAX)]
    assert Ring.unknown(RING_ID, universe).merge(every_other[:5_000]).ring.is_within_limits()
    assert not Ring.unknown(RING_ID, universe).merge(every_other).ring.is_within_limits()
    names = [Entry(Block(at, 32), Title(1, Owner(f"o{at}"), Owner(f"h{at}"))) for at in range(9_000)]
    assert not Ring.unknown(RING_ID, Block(0, 0)).merge(names).ring.is_within_limits()


def test_check_names_what_is_wrong() -> None:
    lower, upper = UNIVERSE.halves()
    a_title = Title(1, A, B)
    both = Roster.of(A, B)
    for universe, entries, roster, violation in (
        (UNIVERSE, (Entry(lower, a_title),), both, "end before"),
        (UNIVERSE, (Entry(upper, a_title), Entry(lower, NOBODY)), both, "does not follow"),
        (UNIVERSE, (Entry(lower, a_title), Entry(upper, a_title)), both, "are two entries"),
        (UNIVERSE, (Entry(UNIVERSE, Title(0, A, B)),), both, "do not go together"),
        (lower, (Entry(UNIVERSE, a_title),), both, "is not an aligned part"),
        (UNIVERSE, (Entry(UNIVERSE, a_title),), Roster.of(B), "is no member"),
        (UNIVERSE, (Entry(UNIVERSE, a_title),), Roster(frozenset({A}), frozenset({B})), "removed who is no member"),
    ):
        violations = Ring(RING_ID, universe, entries, roster).check()
        assert any(violation in sentence for sentence in violations), violations


def test_a_ring_can_be_read_by_a_person() -> None:
    assert repr(Ring.founded(RING_ID, UNIVERSE, (A,))) == "Ring(00010203: 10.32.0.0/28 a@1)"
    assert Ring.founded(RING_ID, UNIVERSE, (A,)) != "a ring"


def test_a_grant_has_a_giver_and_what_was_founded_or_settled_has_none_though_it_may_have_an_heir() -> None:
    founded = Ring.founded(RING_ID, UNIVERSE, (A,))
    assert founded.entries[0].title.giver == ""
    assert founded.grant(UNIVERSE, giver=A, taker=B).ring.entries[0].title.giver == A
    settled = Title(3 << ROUND_BITS, B, C)
    assert (settled.giver, settled.heir) == ("", C)
    ring = founded.merge([Entry(UNIVERSE, settled)]).ring
    assert ring.grant(UNIVERSE, giver=B, taker=A).ring.entries[0].title.giver == B
