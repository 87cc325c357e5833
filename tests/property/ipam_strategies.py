"""Arbitrary rings and ring entries for property tests: also such that no honest peer would make."""

from hypothesis import strategies as st

from ipam_crdt import Owner
from ipam_crdt.cidr import Block
from ipam_crdt.ring import Entry, Ring, Title

UNIVERSE = Block(0x0A20_0000, 28)
"""Sixteen addresses: small enough to compare with a table of them all."""
RING_ID = bytes(range(16))
OWNERS = [Owner(name) for name in "abc"]


def blocks() -> st.SearchStrategy[Block]:
    """Aligned parts of the universe."""
    return st.builds(
        lambda length, number: Block(UNIVERSE.start + (number % (1 << (length - 28))) * (1 << (32 - length)), length),
        st.integers(28, 32),
        st.integers(0, 15),
    )


def titles() -> st.SearchStrategy[Title]:
    """Titles of few versions and owners, so that they meet."""
    return st.builds(Title, st.integers(1, 4), st.sampled_from(OWNERS), st.sampled_from([*OWNERS, Owner("")]))


def entries() -> st.SearchStrategy[Entry]:
    return st.builds(Entry, blocks(), titles())


def rings() -> st.SearchStrategy[Ring]:
    """What a peer may come to hold after any messages."""
    return st.lists(entries(), max_size=8).map(lambda heard: Ring.unknown(RING_ID, UNIVERSE).merge(heard).ring)
