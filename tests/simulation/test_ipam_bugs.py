"""A check that cannot fail proves nothing: for each law a bug that breaks it, and the World finds it."""

from collections.abc import Callable, Iterable

import pytest

from ipam_crdt import Allocator, Output, Owner, Persist, Roster
from ipam_crdt.cidr import Block
from ipam_crdt.hearing import Hearing
from ipam_crdt.holding import Holding
from ipam_crdt.promise import Promises
from ipam_crdt.ring import Change, Conflict, Entry, Merged, Ring, Title
from ipam_crdt.settlement import Settlement
from ipam_crdt.space import Space
from ipam_crdt.wire import Settle
from tests.simulation.chaos import run_chaos

SEEDS_TRIED = 40
"""From a seed shortly before the one that is known to find it; all are below a thousand."""

OUTPUTS = Allocator.outputs
DONATION = Space.donation
ANSWER = Settlement.answer
WITHIN = Ring.within


def promise_before_persisting(allocator: Allocator) -> list[Output]:
    outputs = [*OUTPUTS(allocator)]
    return sorted(outputs, key=lambda output: isinstance(output, Persist))


def give_without_a_new_version(ring: Ring, block: Block, *, giver: Owner, taker: Owner) -> Merged:
    return ring.merge([Entry(block, Title(ring.entry_at(block.start).title.version, taker, giver))])


def never_learn(block: Block, old: Title, new: Title, changes: list[Change], _: list[Conflict]) -> bool:
    """What was heard first of an address stays."""
    if old.version:
        return False
    changes.append(Change(block, old, new))
    return True


def give_what_is_in_use(space: Space, _: Block) -> Block | None:
    return max(space.blocks, default=None)


def keep_the_last_address(space: Space, within: Block) -> Block | None:
    block = DONATION(space, within)
    return None if block is None or block.size == 1 else block


def never_wake(_: Allocator) -> float | None:
    return None


def take_any_grant(_: Ring, __: Entry) -> bool:
    return True


def ask_nobody(*_: object) -> frozenset[Owner]:
    return frozenset()


def tell_nothing(settlement: Settlement, source: Owner, ring: Ring, wish: Settle) -> None:
    """Agree, but keep what is known better to oneself."""
    whole = Ring(ring.ring_id, ring.universe, ring.entries, ring.roster)
    told = whole.merge(wish.knowledge.entries).ring
    known = {entry.block: entry for entry in wish.knowledge.entries}

    class Blind(Ring):
        def within(self, block: Block) -> list[Entry]:
            return [known[block]] if block in known else WITHIN(self, block)

    ANSWER(settlement, source, Blind(told.ring_id, told.universe, told.entries, ring.roster), wish)


def fence_nobody(_: Promises, __: Block, ___: Owner) -> bool:
    return False


def take_whatever_comes(_: Hearing, __: Roster, merged: Merged) -> Merged:
    return merged


def forget_what_was_agreed(holding: Holding, round_: int, blocks: Iterable[Block]) -> None:
    """Bound in memory, not on disk."""
    assert holding.ring is not None
    holding.promises.bind(round_, blocks, holding.ring.roster.living)


def trust_any_roster(_: Roster) -> bytes:
    return b""


def count_words_for_another_roster(*_: object) -> bool:
    return True


@pytest.mark.parametrize(
    ("place", "bug", "first_seed"),
    [
        ("ipam_crdt.allocator.Allocator.outputs", promise_before_persisting, 0),
        ("ipam_crdt.ring.Ring.grant", give_without_a_new_version, 0),
        ("ipam_crdt.ring._is_raised", never_learn, 0),
        ("ipam_crdt.space.Space.donation", give_what_is_in_use, 0),
        ("ipam_crdt.space.Space.donation", keep_the_last_address, 0),
        ("ipam_crdt.allocator.Allocator.deadline", never_wake, 0),
        ("ipam_crdt.ring.Ring.holds", take_any_grant, 410),
        ("ipam_crdt.settlement.Settlement._missing", ask_nobody, 240),
        ("ipam_crdt.settlement.Settlement.answer", tell_nothing, 120),
        ("ipam_crdt.settlement.Settlement._is_valid", count_words_for_another_roster, 0),
        ("ipam_crdt.settlement.digest_of_roster", trust_any_roster, 200),
        ("ipam_crdt.promise.Promises.forbid", fence_nobody, 540),
        ("ipam_crdt.holding.Holding.bind", forget_what_was_agreed, 540),
        ("ipam_crdt.hearing.Hearing._give_back", take_whatever_comes, 540),
        ("ipam_crdt.settlement.ROUND_BITS", 0, 0),
    ],
)
def test_the_world_finds_a_bug_that_is_there(
    place: str, bug: Callable[..., object] | int, first_seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, bug)
    with pytest.raises(AssertionError):
        for seed in range(first_seed, first_seed + SEEDS_TRIED):
            run_chaos(seed)
