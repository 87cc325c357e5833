"""What a peer holds: the ring as it knows it and its own space, kept in step, and the snapshot of both.

Not a machine: the allocator decides what happens; this does it to both structures at once and remembers that it must
be kept.
"""

from collections.abc import Iterable
from random import Random

from ipam_crdt.cidr import ADDRESS_BITS, Block
from ipam_crdt.error import SnapshotForeign, UniverseMismatch
from ipam_crdt.ring import RING_ID_BYTES, Entry, Merged, Owner, Ring
from ipam_crdt.snapshot import SnapshotWriter, read_snapshot
from ipam_crdt.space import Space
from ipam_crdt.wire import DenyReason, Knowledge, digest_of, encode_knowledge, knowledge_of


class Holding:
    """Ring and space of one owner. `ring` is None until one is founded, restored or heard of."""

    def __init__(self, owner: Owner, universe: Block) -> None:
        self.owner = owner
        self.universe = universe
        self.ring: Ring | None = None
        self.space = Space(universe)
        self._must_persist = False
        self._writer = SnapshotWriter(owner)
        self._digest: tuple[Ring | None, bytes] = (None, digest_of(None))

    def found(self, rng: Random) -> Ring:
        """Make a ring of which all belongs to us."""
        self.ring = Ring.founded(rng.randbytes(RING_ID_BYTES), self.universe, self.owner)
        self.space.set_owned(self.ring.blocks_of(self.owner))
        self._must_persist = True
        return self.ring

    def restore(self, snapshot: bytes) -> None:
        """Hold what the snapshot says; raises SnapshotCorrupt, SnapshotForeign, UniverseMismatch."""
        past = read_snapshot(snapshot)
        if past.owner != self.owner:
            raise SnapshotForeign(f"it belongs to peer {past.owner}, not to {self.owner}", past.owner)
        if past.ring.universe != self.universe:
            raise UniverseMismatch(past.ring.universe.network(), self.universe.network())
        self.ring = past.ring
        blocks = past.ring.blocks_of(self.owner)
        self.space = Space.restored(self.universe, blocks, past.allocations, past.freed)

    def enter(self, ring_id: bytes) -> None:
        """Be in a ring of which nothing but its identity is known yet."""
        assert self.ring is None
        self.ring = Ring.unknown(ring_id, self.universe)
        self._must_persist = True

    def adopt(self, merged: Merged) -> None:
        """The merged ring is ours from now on, and the space follows."""
        assert self.ring is not None
        self.ring = merged.ring
        self._must_persist = True
        if any(self.owner in (change.before.owner, change.after.owner) for change in merged.changes):
            self.space.set_owned(merged.ring.blocks_of(self.owner))

    def allocate(self, ident: str) -> int | None:
        """The next free address of ours, taken; None if there is none."""
        address = self.space.allocate(ident)
        self._must_persist |= address is not None
        return address

    def claim(self, ident: str, address: int) -> bool:
        """This address, taken; False if it is not free or not ours."""
        is_taken = self.space.claim(ident, address)
        self._must_persist |= is_taken
        return is_taken

    def release(self, ident: str) -> None:
        """Take back the ident's address; nothing happens if it has none."""
        self._must_persist |= self.space.release(ident) is not None

    def donation(self, ring: Ring, address: int | None) -> tuple[Block | None, DenyReason]:
        """What to give of our ring to one who wants this address, or any; if nothing, why. Nothing changes by it."""
        if address is None:
            return self.space.donation(), DenyReason.FULL
        if not ring.universe.holds(address) or ring.entry_at(address).title.owner != self.owner:
            return None, DenyReason.NOT_MINE
        if self.space.is_reserved(address) or self.space.ident_at(address) is not None:
            return None, DenyReason.TAKEN
        return Block(address, ADDRESS_BITS), DenyReason.FULL

    def take_snapshot(self) -> bytes | None:
        """The snapshot, if anything worth keeping has changed since the last one."""
        if not self._must_persist or self.ring is None:
            return None
        self._must_persist = False
        return self._writer.write(self.ring, self.space.allocations, self.space.freed)

    def tell(self, ring: Ring, entries: Iterable[Entry]) -> Knowledge:
        """Some entries of our ring for others, with a hint of what we have free."""
        return knowledge_of(ring, entries, free=self.space.free_count)

    def state(self) -> bytes:
        """All that we know of the ring, encoded; without a ring, what we are configured for."""
        if self.ring is None:
            return encode_knowledge(Knowledge(None, self.universe, (), None))
        return encode_knowledge(self.tell(self.ring, self.ring.known()))

    def digest(self) -> bytes:
        """Equal for equal rings, whatever the space; computed once per ring."""
        if self._digest[0] is not self.ring:
            self._digest = (self.ring, digest_of(self.ring))
        return self._digest[1]

    def check(self) -> list[str]:
        """What is wrong with it, as sentences: nothing, or there is a bug in this package."""
        violations = self.space.check()
        if self.ring is not None:
            violations += self.ring.check()
            if self.space.blocks != self.ring.blocks_of(self.owner):
                violations.append("the space is not what the ring says we own")
        return violations
