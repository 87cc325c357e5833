"""Arbitrary rings, ring entries and rosters for property tests: also such that no honest peer would make."""

from hypothesis import strategies as st

from ipam_crdt import Owner, Roster
from ipam_crdt.cidr import Block
from ipam_crdt.ring import Entry, Ring, Title

UNIVERSE = Block(0x0A20_0000, 28)
"""Sixteen addresses: small enough to compare with a table of them all."""
RING_ID = bytes(range(16))
OWNERS = [Owner(name) for name in "abc"]
STRANGER = Owner("d")
"""May be in a roster, though no title names it."""


@st.composite
def blocks(draw: st.DrawFn, outer: Block = UNIVERSE) -> Block:
    """Aligned parts of a block, by default of the universe."""
    length = draw(st.integers(outer.length, 32))
    size = 1 << (32 - length)
    return Block(outer.start + size * draw(st.integers(0, outer.size // size - 1)), length)


def titles() -> st.SearchStrategy[Title]:
    """Titles of few versions and owners, so that they meet."""
    return st.builds(Title, st.integers(1, 4), st.sampled_from(OWNERS), st.sampled_from([*OWNERS, Owner("")]))


def entries() -> st.SearchStrategy[Entry]:
    return st.builds(Entry, blocks(), titles())


def rosters() -> st.SearchStrategy[Roster]:
    """Any names, removed or not, whether they own something or not."""
    names = st.lists(st.sampled_from([*OWNERS, STRANGER]), max_size=3)
    return st.builds(lambda members, removed: Roster.of(*members, removed=tuple(removed)), names, names)


def rings() -> st.SearchStrategy[Ring]:
    """What a peer may come to hold after any messages."""

    def ring_after(heard: list[tuple[Entry, Roster]]) -> Ring:
        ring = Ring.unknown(RING_ID, UNIVERSE)
        for entry, roster in heard:
            ring = ring.merge([entry], roster).ring
        return ring

    return st.lists(st.tuples(entries(), st.just(Roster()) | rosters()), max_size=8).map(ring_after)
