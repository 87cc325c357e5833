"""Blocks: CIDR-aligned ranges of IPv4 addresses as two integers, and the arithmetic of buddies.

Not `ipaddress`: the ring compares and splits thousands of blocks in a millisecond. `Block.network` leads back to it.
"""

from functools import lru_cache
from ipaddress import IPv4Network
from typing import NamedTuple, Self

ADDRESS_BITS = 32
NETWORKS_KEPT = 4096
"""Networks remembered, 200 bytes each: who plans asks for all of them at each change of one."""


@lru_cache(maxsize=NETWORKS_KEPT)
def _network(start: int, length: int) -> IPv4Network:
    return IPv4Network((start, length))


class Block(NamedTuple):
    """An aligned range: its first address and its prefix length. Blocks sort by first address, then larger first."""

    start: int
    """The first address, as an integer; a multiple of the block's size."""
    length: int
    """The prefix length, 0 to 32."""

    @classmethod
    def of(cls, network: IPv4Network) -> Self:
        """The block of a network."""
        return cls(int(network.network_address), network.prefixlen)

    @property
    def size(self) -> int:
        """How many addresses it has."""
        return 1 << (ADDRESS_BITS - self.length)

    @property
    def end(self) -> int:
        """The address after its last one."""
        return self.start + self.size

    @property
    def is_aligned(self) -> bool:
        """Whether the numbers name a CIDR range at all: a prefix length and a start without host bits."""
        return 0 <= self.length <= ADDRESS_BITS and self.start >= 0 and self.start % self.size == 0

    def covers(self, other: "Block") -> bool:
        """Whether every address of the other block is in this one."""
        return self.length <= other.length and self.start <= other.start < self.end

    def holds(self, address: int) -> bool:
        """Whether the address is in this block."""
        return self.start <= address < self.end

    def halves(self) -> "tuple[Block, Block]":
        """The lower and the upper half, which are each other's buddies. A single address has none: do not ask."""
        assert self.length < ADDRESS_BITS, self
        length = self.length + 1
        return Block(self.start, length), Block(self.start + (self.size >> 1), length)

    def is_buddy_of(self, other: "Block") -> bool:
        """Whether the two are the halves of one block."""
        return self.length == other.length and self.start ^ other.start == self.size

    def parent(self) -> "Block":
        """The block of which this is a half."""
        assert self.length > 0, self
        return Block(self.start & ~self.size, self.length - 1)

    def network(self) -> IPv4Network:
        """The same range for the rest of the world."""
        return _network(self.start, self.length)

    def __str__(self) -> str:
        return str(self.network())


def carve(outer: Block, inner: Block) -> list[Block]:
    """The outer block as the fewest blocks of which one is the inner, in order of address."""
    lower: list[Block] = []
    upper: list[Block] = []
    rest = outer
    while rest.length < inner.length:
        low, high = rest.halves()
        if inner.start >= high.start:
            lower.append(low)
            rest = high
        else:
            upper.append(high)
            rest = low
    return [*lower, inner, *reversed(upper)]
