from hypothesis import example, given
from hypothesis import strategies as st

from ipam_crdt import Owner
from ipam_crdt.cidr import Block
from ipam_crdt.ring import ENTRIES_MAX, NOBODY, VERSION_MAX, Conflict, Entry, Ring, Title, joined
from tests.property.ipam_strategies import RING_ID, UNIVERSE, entries, rings

A, B, C = Owner("a"), Owner("b"), Owner("c")
START = UNIVERSE.start


def join(one: Ring, other: Ring) -> Ring:
    return one.merge(other.known()).ring


def titles_of(ring: Ring) -> list[Title]:
    """The title of each address: what a ring is, without the way in which it is stored."""
    return [entry.title for entry in ring.entries for _ in range(entry.block.size)]


@given(rings(), rings())
def test_merge_is_commutative(one: Ring, other: Ring) -> None:
    assert join(one, other) == join(other, one)


@given(rings(), rings(), rings())
def test_merge_is_associative(one: Ring, other: Ring, third: Ring) -> None:
    assert join(join(one, other), third) == join(one, join(other, third))


@given(rings(), rings())
def test_merge_is_idempotent(one: Ring, other: Ring) -> None:
    both = join(one, other)
    assert join(both, other) == both
    assert join(one, one) is one


@given(rings(), rings())
def test_merge_takes_the_greater_title_of_each_address(one: Ring, other: Ring) -> None:
    expected = [max(pair) for pair in zip(titles_of(one), titles_of(other), strict=True)]
    assert titles_of(join(one, other)) == expected


@given(rings(), entries())
@example(Ring.unknown(RING_ID, UNIVERSE), Entry(UNIVERSE, Title(1, A, B)))
def test_a_merged_ring_is_sound_and_in_its_one_form(ring: Ring, entry: Entry) -> None:
    merged = ring.merge([entry])
    assert not merged.ring.check()
    assert tuple(joined(merged.ring.entries)) == merged.ring.entries


@given(rings(), rings())
def test_news_is_all_that_another_needs(one: Ring, other: Ring) -> None:
    merged = one.merge(other.known())
    assert one.merge(merged.news).ring == merged.ring
    assert bool(merged.news) == (merged.ring != one)


@given(rings(), rings())
def test_conflicts_are_where_titles_of_one_version_differ(one: Ring, other: Ring) -> None:
    clashes = {
        START + at
        for at, (mine, theirs) in enumerate(zip(titles_of(one), titles_of(other), strict=True))
        if mine.version == theirs.version and mine != theirs
    }
    found = one.merge(other.known()).conflicts
    assert {at for conflict in found for at in range(conflict.block.start, conflict.block.end)} == clashes


@given(st.lists(entries(), max_size=8))
def test_a_ring_knows_no_order_of_messages(heard: list[Entry]) -> None:
    unknown = Ring.unknown(RING_ID, UNIVERSE)
    assert unknown.merge(heard).ring == unknown.merge(reversed(heard)).ring
    assert hash(unknown.merge(heard).ring) == hash(unknown.merge(reversed(heard)).ring)


def test_a_grant_splits_and_giving_back_at_one_version_joins() -> None:
    founded = Ring.founded(RING_ID, UNIVERSE, A)
    lower, upper = UNIVERSE.halves()
    split = founded.grant(upper, giver=A, taker=B).ring
    assert split.entries == (Entry(lower, Title(1, A, Owner(""))), Entry(upper, Title(2, B, A)))
    whole = split.grant(lower, giver=A, taker=B).ring
    assert whole.entries == (Entry(UNIVERSE, Title(2, B, A)),)
    assert whole.blocks_of(A) == ()
    assert whole.owners() == (B,)


def test_an_old_entry_does_not_bring_back_what_was_split() -> None:
    founded = Ring.founded(RING_ID, UNIVERSE, A)
    split = founded.grant(Block(START + 4, 32), giver=A, taker=B).ring
    assert split.merge(founded.known()).ring is split


def test_ranges_of_one_owner_are_joined_whatever_their_versions() -> None:
    ring = Ring.founded(RING_ID, UNIVERSE, A)
    lower, upper = UNIVERSE.halves()
    ring = ring.grant(upper, giver=A, taker=B).ring.grant(upper, giver=B, taker=A).ring
    assert len(ring.entries) == 2
    assert ring.blocks_of(A) == (UNIVERSE,)
    assert ring.entries_of(A) == ring.entries
    assert ring.entry_at(lower.start).title.version == 1


def test_a_grant_over_several_entries_becomes_one() -> None:
    ring = Ring.founded(RING_ID, UNIVERSE, A)
    _, upper = UNIVERSE.halves()
    ring = ring.grant(upper, giver=A, taker=B).ring.grant(upper, giver=B, taker=A).ring
    assert ring.grant(UNIVERSE, giver=A, taker=C).ring.entries == (Entry(UNIVERSE, Title(4, C, A)),)


def test_only_the_owner_of_all_of_a_block_may_grant_it() -> None:
    ring = Ring.founded(RING_ID, UNIVERSE, A).grant(Block(START, 32), giver=A, taker=B).ring
    assert not ring.may_grant(UNIVERSE, A)
    assert not ring.may_grant(Block(START + 1, 32), B)
    assert ring.may_grant(Block(START, 32), B)


def test_a_version_that_cannot_rise_is_not_granted() -> None:
    ring = Ring.unknown(RING_ID, UNIVERSE).merge([Entry(UNIVERSE, Title(VERSION_MAX, A, B))]).ring
    assert not ring.may_grant(UNIVERSE, A)


def test_a_conflict_names_both_titles() -> None:
    ring = Ring.founded(RING_ID, UNIVERSE, A)
    merged = ring.merge([Entry(Block(START, 32), Title(1, B, A))])
    assert merged.conflicts == (Conflict(Block(START, 32), Title(1, B, A), Title(1, A, Owner(""))),)
    assert merged.ring.blocks_of(B) == (Block(START, 32),)


def test_a_ring_holds_an_entry_that_is_its_own_word_on_all_of_the_block() -> None:
    lower, upper = UNIVERSE.halves()
    founded = Ring.founded(RING_ID, UNIVERSE, A)
    split = founded.grant(upper, giver=A, taker=B).ring
    first = founded.entries[0].title
    assert founded.holds(Entry(UNIVERSE, first))
    assert founded.holds(Entry(upper, first))
    assert split.holds(Entry(lower, first))
    assert not split.holds(Entry(UNIVERSE, first)), "in part it is older"
    assert not founded.holds(split.entry_at(upper.start)), "it is newer"


def test_limits_hold_for_entries_and_names() -> None:
    universe = Block(0, 8)
    every_other = [Entry(Block(2 * at, 32), Title(1, A, B)) for at in range(ENTRIES_MAX)]
    assert Ring.unknown(RING_ID, universe).merge(every_other[:5_000]).ring.is_within_limits()
    assert not Ring.unknown(RING_ID, universe).merge(every_other).ring.is_within_limits()
    names = [Entry(Block(2 * at, 32), Title(1, Owner(f"o{at}"), Owner(f"h{at}"))) for at in range(5_000)]
    assert not Ring.unknown(RING_ID, universe).merge(names).ring.is_within_limits()


def test_check_names_what_is_wrong() -> None:
    lower, upper = UNIVERSE.halves()
    a_title = Title(1, A, B)
    assert Ring(RING_ID, UNIVERSE, (Entry(lower, a_title),)).check()
    assert Ring(RING_ID, UNIVERSE, (Entry(upper, a_title), Entry(lower, NOBODY))).check()
    assert Ring(RING_ID, UNIVERSE, (Entry(lower, a_title), Entry(upper, a_title))).check()
    assert Ring(RING_ID, UNIVERSE, (Entry(UNIVERSE, Title(0, A, B)),)).check()
    assert Ring(RING_ID, lower, (Entry(UNIVERSE, a_title),)).check()


def test_a_ring_can_be_read_by_a_person() -> None:
    assert repr(Ring.founded(RING_ID, UNIVERSE, A)) == "Ring(00010203: 10.32.0.0/28 a@1)"
    assert Ring.founded(RING_ID, UNIVERSE, A) != "a ring"
