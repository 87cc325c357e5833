"""Our own space: which addresses of the blocks that we own are handed out, and which comes next. No messages, no ring.

Theory of operation
-------------------
An address of ours is in one of four places: `taken` (an ident has it), `freed` (the last `FREED_MAX` that were given
back, in order), `fresh` (all others), or it is reserved: the first and last address of the universe are never handed
out. Where a part of the universe is used as a subnet, its first (the network), its last (broadcast) and the one after
the first (by custom the gateway) are reserved too.

*Which address comes next*: the lowest fresh one of the subnet; only when there is none, the one of it that was freed
longest ago. An address given back goes to the end of `freed`; the one that falls out at the front is fresh again. So an
address is not reused before `FREED_MAX` others were given back after it, or nothing else is left. And as the low end is
used first, the upper half of our space stays whole, to be given away in one piece. Fresh space is a few intervals,
whatever its size.

*What is given away*: the largest aligned block in which nothing is taken, the highest of them; its upper half only,
when the whole would be more than two thirds of all our free addresses. A donor with little in use in its lower half
gives its upper half and both have one block each; one that owns a single free address gives that: nothing is stranded.
"""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

from ipam_crdt.cidr import Block
from ipam_crdt.interval import IntervalSet

FREED_MAX = 1_024
"""Nine times the 110 pods that Kubernetes runs on a host: all are replaced nine times before an address returns."""


class Space:
    """The addresses of our own blocks. Every method but `set_owned` and `donation` takes microseconds."""

    def __init__(self, universe: Block, subnet: Block) -> None:
        gateway = () if subnet == universe else (subnet.start, subnet.start + 1, subnet.end - 1)
        self._reserved = tuple(sorted({universe.start, universe.end - 1, *gateway}))
        self._subnet = subnet
        self._owned = IntervalSet()
        self._blocks: tuple[Block, ...] = ()
        self._fresh = IntervalSet()
        self._freed: OrderedDict[int, None] = OrderedDict()
        self._taken: dict[int, str] = {}
        self._allocations: dict[str, int] = {}

    @classmethod
    def restored(
        cls,
        universe: Block,
        subnet: Block,
        blocks: Sequence[Block],
        allocations: Mapping[str, int],
        freed: Iterable[int],
    ) -> "Space":
        """The space as a snapshot describes it. The allocations must not share addresses."""
        space = cls(universe, subnet)
        space._allocations = dict(allocations)
        space._taken = {address: ident for ident, address in allocations.items()}
        assert len(space._taken) == len(space._allocations)
        space.set_owned(blocks)
        for address in freed:
            if address in space._fresh:
                space._fresh.discard(address, address + 1)
                space._freed[address] = None
        return space

    @property
    def free_count(self) -> int:
        """How many addresses could be handed out now."""
        return self._fresh.total + len(self._freed)

    @property
    def allocations(self) -> Mapping[str, int]:
        """The address of each ident. Look, do not keep: it is the living dict."""
        return self._allocations

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks of which this is the space."""
        return self._blocks

    @property
    def freed(self) -> Iterable[int]:
        """The addresses given back lately, longest ago first."""
        return self._freed

    def ident_at(self, address: int) -> str | None:
        """Who has the address; None if nobody here."""
        return self._taken.get(address)

    def is_reserved(self, address: int) -> bool:
        """Whether the address is never handed out."""
        return address in self._reserved

    def strays(self) -> list[int]:
        """Addresses handed out here that we may not, or no longer, hand out: empty unless a conflict took them away."""
        return [address for address in sorted(self._taken) if address not in self._owned]

    def allocate(self, ident: str) -> int | None:
        """Hand out the next address of the subnet to an ident that has none; None if all are in use."""
        assert ident not in self._allocations, ident
        address = self._fresh.lowest_from(self._subnet.start)
        if address is not None and self._subnet.holds(address):
            self._fresh.discard(address, address + 1)
        else:
            address = next((freed for freed in self._freed if self._subnet.holds(freed)), None)
            if address is None:
                return None
            del self._freed[address]
        self._taken[address] = ident
        self._allocations[ident] = address
        return address

    def claim(self, ident: str, address: int) -> bool:
        """Hand out this very address to an ident that has none; False if it is not ours, reserved or taken."""
        assert ident not in self._allocations, ident
        if address in self._freed:
            del self._freed[address]
        elif address in self._fresh:
            self._fresh.discard(address, address + 1)
        else:
            return False
        self._taken[address] = ident
        self._allocations[ident] = address
        return True

    def release(self, ident: str) -> int | None:
        """Take the ident's address back and return it; None if it has none."""
        address = self._allocations.pop(ident, None)
        if address is None:
            return None
        del self._taken[address]
        if address in self._owned and not self.is_reserved(address):
            self._freed[address] = None
            if len(self._freed) > FREED_MAX:
                oldest, _ = self._freed.popitem(last=False)
                self._fresh.add(oldest, oldest + 1)
        return address

    def set_owned(self, blocks: Sequence[Block]) -> None:
        """Our blocks are these from now on: what is gained becomes fresh, what is lost is handed out no more."""
        owned = IntervalSet((block.start, block.end) for block in blocks)
        for start, end in self._owned.minus(owned):
            self._fresh.discard(start, end)
            for address in [address for address in self._freed if start <= address < end]:
                del self._freed[address]
        for start, end in owned.minus(self._owned):
            self._fresh.add(start, end)
            for address in (*self._reserved, *self._taken):
                if start <= address < end:
                    self._fresh.discard(address, address + 1)
        self._owned = owned
        self._blocks = tuple(blocks)

    def donation(self, within: Block) -> Block | None:
        """The block to give to a peer that asks for space in a range; None if no address of it is free.

        Nothing changes: the ring decides.
        """
        block = self._largest_free_block(within)
        if block is None:
            return None
        if block.size == 1 or 3 * self._usable(block) <= 2 * self.free_count:
            return block
        lower, upper = block.halves()
        return upper if self._usable(upper) else lower

    def check(self) -> list[str]:
        """What is wrong with it, as sentences: nothing, or there is a bug in this file."""
        violations = self._fresh.check() + self._owned.check()
        if {ident: address for address, ident in self._taken.items()} != self._allocations:
            violations.append("taken addresses and allocations differ")
        held = {*self._freed, *(address for address in self._taken if address in self._owned)}
        if any(address in self._fresh for address in (*held, *self._reserved)):
            violations.append("an address is fresh that is taken, freed or reserved")
        if any(address in self._taken or address not in self._owned for address in self._freed):
            violations.append("an address is freed that is taken or not ours")
        reserved = sum(1 for address in self._reserved if address in self._owned and address not in self._taken)
        if self._fresh.total + len(held) + reserved != self._owned.total:
            violations.append("addresses are neither taken, freed, fresh nor reserved")
        return violations

    def _usable(self, block: Block) -> int:
        return block.size - sum(1 for address in self._reserved if block.holds(address))

    def _largest_free_block(self, within: Block) -> Block | None:
        """The largest block of a range in which nothing is taken and something is usable; of equals the highest."""
        taken = sorted(self._taken)
        best: Block | None = None
        ours = [within if block.covers(within) else block for block in self._blocks]
        stack = [(block, 0, len(taken)) for block in ours if within.covers(block)]
        while stack:
            block, low, high = stack.pop()
            if best is not None and block.size <= best.size:
                continue
            low = bisect_left(taken, block.start, low, high)
            high = bisect_left(taken, block.end, low, high)
            if low == high:
                best = block if self._usable(block) else best
            elif block.size > 1:
                stack.extend((half, low, high) for half in block.halves())
        return best
