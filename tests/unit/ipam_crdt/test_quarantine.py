"""What is isolated is handed out no more, until it changes hands or a person clears it."""

from ipaddress import IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from ipam_crdt.cidr import Block
from ipam_crdt.quarantine import Claim, Quarantine
from ipam_crdt.ring import Conflict, Title
from ipam_crdt.roster import Owner
from tests.property.ipam_strategies import UNIVERSE, blocks

ANNE, BERT = Owner("anne"), Owner("bert")
LOWER, UPPER = UNIVERSE.halves()
QUARTER = LOWER.halves()[0]


def conflict(block: Block) -> Conflict:
    return Conflict(block, Title(3, BERT, ANNE), Title(3, ANNE, BERT))


def isolating(*some: Block) -> Quarantine:
    quarantine = Quarantine()
    for block in some:
        quarantine.add(conflict(block))
    return quarantine


def addresses(some: tuple[Block, ...]) -> set[int]:
    return {address for block in some for address in range(block.start, block.end)}


def test_a_conflict_isolates_its_block_and_says_who_else_claims_it() -> None:
    quarantine = Quarantine()
    assert quarantine.add(conflict(LOWER))
    assert quarantine.claims == {LOWER: Claim(ANNE, 3)}
    assert quarantine.holds(LOWER.start) and not quarantine.holds(UPPER.start)


def test_what_is_isolated_already_is_no_news() -> None:
    quarantine = isolating(LOWER)
    assert not quarantine.add(conflict(LOWER)) and not quarantine.add(conflict(QUARTER))
    assert quarantine.add(conflict(UNIVERSE)), "more than before"
    assert quarantine.holds(UPPER.start)


def test_clearing_a_range_clears_what_touches_it_and_nothing_else() -> None:
    quarantine = isolating(QUARTER, UPPER)
    assert quarantine.clear(LOWER) and list(quarantine.claims) == [UPPER]
    assert not quarantine.clear(LOWER)
    assert quarantine.clear(UPPER.halves()[0]) and quarantine.claims == {}, "a part of it clears it all"


def test_what_has_changed_hands_even_in_part_is_forgotten() -> None:
    quarantine = isolating(QUARTER, UPPER)
    quarantine.keep_only([LOWER, UPPER.halves()[0]])
    assert list(quarantine.claims) == [QUARTER]


@given(st.lists(blocks(), max_size=4), st.sets(st.sampled_from([*LOWER.halves(), *UPPER.halves()])))
def test_beside_is_what_is_owned_without_what_is_isolated(isolated: list[Block], owned: set[Block]) -> None:
    quarantine = isolating(*isolated)
    usable = quarantine.beside(sorted(owned))
    assert addresses(usable) == {at for at in addresses(tuple(owned)) if not quarantine.holds(at)}
    assert sum(block.size for block in usable) == len(addresses(usable)), "no address twice"
    assert list(usable) == sorted(usable) and all(block.is_aligned for block in usable)


def test_without_anything_isolated_what_is_owned_stays_whole() -> None:
    assert Quarantine().beside([UNIVERSE]) == (UNIVERSE,)
    assert Quarantine({IP: Claim(ANNE, 1)}).beside([UNIVERSE]) == (UNIVERSE,)


IP = Block.of(IPv4Network("192.0.2.0/24"))
