"""What a peer holds: the ring as it knows it, its own space and its promises, kept in step, and the snapshot of all.

Not a machine: the allocator and its parts decide what happens; this does it to all structures at once and remembers
that it must be kept.
"""

from collections.abc import Iterable

from ipam_crdt.cidr import ADDRESS_BITS, Block
from ipam_crdt.error import SnapshotForeign, UniverseMismatch
from ipam_crdt.promise import Promises
from ipam_crdt.quarantine import Quarantine
from ipam_crdt.ring import NO_HEIR, NO_ROSTER, Conflict, Entry, Merged, Ring, Title
from ipam_crdt.roster import Owner, Roster
from ipam_crdt.snapshot import Snapshot, SnapshotWriter, read_snapshot, write_votes
from ipam_crdt.space import Space
from ipam_crdt.wire import DenyReason, Knowledge, digest_of, digest_of_bytes, encode_knowledge, knowledge_of


class Holding:
    """Ring and space of one owner. `ring` is None until one is founded, restored or heard of."""

    def __init__(self, owner: Owner, universe: Block, subnet: Block) -> None:
        """`subnet` is that part of the universe from which addresses are handed out unasked; it may be all of it."""
        self.owner = owner
        self.universe = universe
        self.subnet = subnet
        self.ring: Ring | None = None
        self.space = Space(universe, subnet)
        self.promises = Promises()
        self.quarantine = Quarantine()
        self.is_fenced = False
        """Whether a member told us, who have no ring yet, that we were removed; it will again after a restart."""
        self._votes = b""
        self._must_persist = False
        self._writer = SnapshotWriter()
        self._digest: tuple[Ring | None, bytes] = (None, digest_of(None))

    def keep_votes(self, votes: bytes) -> None:
        """All that is known of an election, while there is no ring."""
        self._votes = votes
        self._must_persist = True

    def settle_in(self, ring_id: bytes, founders: tuple[Owner, ...]) -> Ring:
        """Be in a ring that has just been founded by these."""
        assert self.ring is None
        self.ring = Ring.founded(ring_id, self.universe, founders)
        self._follow()
        return self.ring

    def restore(self, snapshot: bytes) -> None:
        """Hold what the snapshot says; raises SnapshotCorrupt, SnapshotForeign, UniverseMismatch."""
        past = read_snapshot(snapshot)
        if past.owner != self.owner:
            raise SnapshotForeign(f"it belongs to peer {past.owner}, not to {self.owner}", past.owner)
        if past.ring.universe != self.universe:
            raise UniverseMismatch(past.ring.universe.network(), self.universe.network())
        self.ring = past.ring
        self.promises = past.promises
        self.quarantine = past.quarantine
        blocks = self._usable_blocks()
        self.space = Space.restored(self.universe, self.subnet, blocks, past.allocations, past.freed)

    def enter(self, ring_id: bytes) -> None:
        """Be in a ring of which nothing but its identity is known yet."""
        assert self.ring is None
        self.ring = Ring.unknown(ring_id, self.universe)
        self._must_persist = True

    def adopt(self, merged: Merged) -> None:
        """The merged ring is ours from now on; the space and the promises follow."""
        assert self.ring is not None
        self.ring = merged.ring
        self._must_persist = True
        self.promises.hear(max((change.after.round for change in merged.changes), default=0))
        self.promises.expire(merged.ring)
        is_ours = any(self.owner in (change.before.owner, change.after.owner) for change in merged.changes)
        if is_ours or merged.roster_news.removed:
            self._follow()

    def bind(self, round_: int, blocks: Iterable[Block]) -> None:
        """Promise this for a settlement, under the roster of now."""
        assert self.ring is not None
        self.promises.bind(round_, blocks, self.ring.roster.living)
        self.promises.expire(self.ring)
        self._must_persist = True

    def hear_round(self, round_: int) -> None:
        """There is a settlement of this round."""
        self._must_persist |= self.promises.hear(round_)

    def isolate(self, conflict: Conflict) -> None:
        """Hand out no address of a block of ours that somebody else holds to be his."""
        if conflict.kept.owner == self.owner != conflict.other.owner and self.quarantine.add(conflict):
            self._follow()

    def conflicts(self) -> list[Conflict]:
        """Why blocks of ours are isolated, as it was found, also before a restart."""
        assert self.ring is not None
        return [
            Conflict(block, self.ring.entry_at(block.start).title, Title(claim.version, claim.by, NO_HEIR))
            for block, claim in self.quarantine.claims.items()
        ]

    def clear(self, block: Block) -> None:
        """The block, or what of it was isolated, is ours alone after all."""
        if self.quarantine.clear(block):
            self._follow()

    @property
    def is_removed(self) -> bool:
        """Whether we were removed from the ring, which is for ever; without a ring, whether we were told so."""
        return self.is_fenced if self.ring is None else self.owner in self.ring.roster.removed

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

    def donation(self, ring: Ring, address: int | None, subnet: Block) -> tuple[Block | None, DenyReason]:
        """What to give of our ring to one who wants this address, or any of a subnet; if nothing, why.

        Nothing changes by it.
        """
        if address is None:
            return self.space.donation(subnet), DenyReason.FULL
        if not ring.universe.holds(address) or ring.entry_at(address).title.owner != self.owner:
            return None, DenyReason.NOT_MINE
        is_in_use = self.space.is_reserved(address) or self.space.ident_at(address) is not None
        if is_in_use or self.quarantine.holds(address):
            return None, DenyReason.TAKEN
        return Block(address, ADDRESS_BITS), DenyReason.FULL

    def may_grant(self, ring: Ring, block: Block) -> bool:
        """Whether nothing that we promised forbids to give a block of ours away."""
        return ring.may_grant(block, self.owner) and not self.promises.freeze(block)

    def take_snapshot(self) -> bytes | None:
        """The snapshot, if anything worth keeping has changed since the last one."""
        if not self._must_persist:
            return None
        self._must_persist = False
        if self.ring is None:
            return write_votes(self._votes)
        space = self.space
        return self._writer.write(
            Snapshot(self.owner, self.ring, space.allocations, [*space.freed], self.promises, self.quarantine)
        )

    def tell(self, ring: Ring, entries: Iterable[Entry], roster: Roster = NO_ROSTER) -> Knowledge:
        """Some entries and names of our ring for others, with a hint of what we have free."""
        return knowledge_of(ring, entries, roster, free=self.space.free_count)

    def state(self) -> bytes:
        """All that we know of the ring, encoded; without a ring, the votes, or else what we are configured for."""
        if self.ring is None:
            return self._votes or encode_knowledge(Knowledge(None, self.universe, (), NO_ROSTER, None))
        return encode_knowledge(self.tell(self.ring, self.ring.known(), self.ring.roster))

    def digest(self) -> bytes:
        """Equal for equal rings, whatever the space, and for equal votes; computed once per ring."""
        if self.ring is None:
            return digest_of_bytes(self._votes)
        if self._digest[0] is not self.ring:
            self._digest = (self.ring, digest_of(self.ring))
        return self._digest[1]

    def check(self) -> list[str]:
        """What is wrong with it, as sentences: nothing, or there is a bug in this package."""
        violations = self.space.check()
        if self.ring is not None:
            violations += self.ring.check()
            if self.space.blocks != self._usable_blocks():
                violations.append("the space is not what the ring says we own")
        return violations

    def _follow(self) -> None:
        """After a change of what we own."""
        assert self.ring is not None
        self.quarantine.keep_only(self.ring.blocks_of(self.owner))
        self.space.set_owned(self._usable_blocks())
        self._must_persist = True

    def _usable_blocks(self) -> tuple[Block, ...]:
        """What we own but for what is isolated."""
        assert self.ring is not None
        return self.quarantine.beside(self.ring.blocks_of(self.owner))
