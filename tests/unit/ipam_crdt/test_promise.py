"""A round that is known is never forgotten, and a fence stands until all of its block has a title of its round."""

from ipaddress import IPv4Network

import pytest

from ipam_crdt.cidr import Block
from ipam_crdt.promise import Fence, Promises
from ipam_crdt.ring import ROUND_BITS, Entry, Ring, Title
from ipam_crdt.roster import Owner, Roster

ANNE, BERT, CARL, DORA = (Owner(name) for name in ("anne", "bert", "carl", "dora"))
NOBODY = Owner("")
KNOWN = frozenset({ANNE, BERT})
UNIVERSE = Block.of(IPv4Network("10.0.0.0/24"))
LOWER, UPPER = UNIVERSE.halves()
RING = Ring.unknown(bytes(16), UNIVERSE).merge([Entry(UNIVERSE, Title(4, CARL, ANNE))], Roster.of(removed=(CARL,))).ring


def bound(round_: int = 5, *blocks: Block) -> Promises:
    promises = Promises()
    promises.bind(round_, blocks, KNOWN)
    return promises


def test_one_without_promises_knows_of_no_round_and_keeps_nobody_out() -> None:
    promises = Promises()
    assert (promises.round, promises.fences) == (0, {})
    assert not promises.forbid(UNIVERSE, CARL) and not promises.freeze(UNIVERSE)


def test_the_greatest_round_that_was_heard_of_is_kept_and_only_a_greater_one_is_news() -> None:
    promises = bound(5)
    assert not promises.hear(5) and not promises.hear(3)
    assert promises.round == 5
    assert promises.hear(7) and promises.round == 7


def test_one_may_agree_to_a_lesser_round_and_still_knows_the_greater_one() -> None:
    promises = bound(5, LOWER)
    promises.bind(3, [UPPER], KNOWN)
    assert promises.round == 5
    assert promises.fences == {LOWER: Fence(5, KNOWN), UPPER: Fence(3, KNOWN)}


@pytest.mark.parametrize("block", [UPPER, UPPER.halves()[0], UNIVERSE])
def test_a_fence_keeps_out_who_was_not_known_whatever_part_he_gives(block: Block) -> None:
    promises = bound(5, UPPER)
    assert promises.forbid(block, CARL) and promises.forbid(block, DORA)
    assert not promises.forbid(block, BERT)


@pytest.mark.parametrize("block", [UPPER, UPPER.halves()[0], UNIVERSE])
def test_what_a_fence_touches_is_not_given_away(block: Block) -> None:
    assert bound(5, UPPER).freeze(block)


def test_a_fence_is_no_matter_for_another_block() -> None:
    promises = bound(5, UPPER)
    assert not promises.forbid(LOWER, CARL) and not promises.freeze(LOWER)


def test_a_block_promised_again_stays_closed_to_all_who_were_unknown_before() -> None:
    promises = bound(5, UPPER)
    promises.bind(6, [UPPER], KNOWN | {DORA})
    assert promises.fences == {UPPER: Fence(6, KNOWN)}
    promises.bind(7, [UPPER], frozenset({ANNE, DORA}))
    assert promises.fences == {UPPER: Fence(7, frozenset({ANNE}))}
    promises.bind(2, [UPPER], KNOWN)
    assert promises.fences == {UPPER: Fence(7, frozenset({ANNE}))}, "an older settlement does not end it"


def test_a_fence_of_a_part_does_not_open_that_of_the_whole() -> None:
    promises = bound(5, UNIVERSE)
    promises.bind(6, [UPPER], KNOWN | {DORA})
    assert promises.forbid(UPPER, DORA) and promises.forbid(LOWER, DORA)


@pytest.mark.parametrize(
    "title",
    [
        Title(5 << ROUND_BITS, DORA, NOBODY),
        Title((6 << ROUND_BITS) + 3, DORA, BERT),
        Title(5 << ROUND_BITS, CARL, BERT),
    ],
    ids=["settled", "settled later and granted on", "settled, and its new owner removed since"],
)
def test_a_fence_falls_when_the_block_has_a_title_of_its_round_or_of_a_later_one(title: Title) -> None:
    promises = bound(5, UPPER)
    promises.expire(RING.merge([Entry(UPPER, title)]).ring)
    assert promises.fences == {} and promises.round == 5


@pytest.mark.parametrize(
    "title",
    [Title(4 << ROUND_BITS, DORA, NOBODY), Title(5, BERT, CARL), Title(5, DORA, CARL), Title(5, CARL, BERT)],
    ids=["an earlier round", "a member's", "a stranger's", "still estate"],
)
def test_a_fence_outlasts_all_titles_that_are_not_of_its_round(title: Title) -> None:
    promises = bound(5, UPPER)
    promises.expire(RING.merge([Entry(UPPER, title)]).ring)
    assert promises.fences == {UPPER: Fence(5, KNOWN)}


def test_a_fence_stands_until_every_part_of_the_block_has_such_a_title() -> None:
    promises = bound(5, UPPER)
    low, high = UPPER.halves()
    half = RING.merge([Entry(low, Title(5 << ROUND_BITS, ANNE, NOBODY))]).ring
    promises.expire(half)
    assert promises.forbid(low, DORA) and promises.freeze(high)
    promises.expire(half.merge([Entry(high, Title(6 << ROUND_BITS, BERT, NOBODY))]).ring)
    assert promises.fences == {}


def test_of_several_fences_only_those_fall_that_are_over() -> None:
    promises = bound(5, LOWER, UPPER)
    promises.expire(RING.merge([Entry(LOWER, Title(5 << ROUND_BITS, ANNE, NOBODY))]).ring)
    assert list(promises.fences) == [UPPER]
