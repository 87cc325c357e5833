"""The ring: who owns which block of the universe. A value that only grows; not the addresses inside a block.

Theory of operation
-------------------
What the ring *is*: a function that gives each address of the universe a title `(version, owner, heir)`. Titles are
totally ordered; an address of which nothing is known has the least title of all, `NOBODY`. The merge of two rings is
the greater title, address by address. A product of total orders under maximum is a join-semilattice, so the merge is
commutative, associative and idempotent whatever a peer sends, in any order, however often.

What the ring *stores*: that function as the fewest aligned blocks on each of which it is constant. This form is
unique, so equal rings have equal entries and equal digests. A split is therefore no event: giving away a half changes
the titles of that half and nothing else. A re-join is none either: where two buddies carry one title, they are one
entry. There is no marker for "split", nothing is ever deleted, and an old coarse entry that comes late loses at just
those addresses for which a newer title is known.

Why no address has two owners: a title of version v+1 is made only by the owner named in version v, once, and is
persisted by it before anybody hears of it. By induction each version of an address has one title. A peer that holds
`(v, itself)` as the greatest it knows has not passed the address on, so nobody can hold a greater one.
docs/decisions/0001 has the argument in full. Two titles of one version mean that this was broken (a state folder
copied or brought back from a backup); the merge still joins, and returns the `Conflict` beside the result.

The ring also carries the roster, a join of its own: who takes part, who was removed. What a removed peer owns is its
*estate*: nobody hands it out or grants it until it is settled (settlement.py), by titles of a new round.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from msgspec import Struct

from ipam_crdt.cidr import ADDRESS_BITS, Block, carve
from ipam_crdt.roster import Owner, Roster

RING_ID_BYTES = 16
ROUND_BITS = 32
"""A version is a number of a round, shifted by so much, and a count of grants since: see `Title`."""
ROUND_MAX = 2**21 - 1
VERSION_MAX = 2**53 - 1
"""The greatest count in the greatest round; never reached, and every language reads it exactly."""
ENTRIES_MAX = 16_384
"""1,000 peers need about 3,000. A ring of that many entries still fits one frame of 1 MiB (with `OWNERS_MAX`)."""
OWNERS_MAX = 16_384
"""Names in one ring, those of removed peers too, which stay: a mesh of 1,000 may replace each host fifteen times."""


class Title(NamedTuple):
    """The right to a block. Titles sort by version, then owner, then heir: that order is what a merge decides by."""

    version: int
    """How often the owner has changed: 1 is the founder's, each grant adds one. The bits above `ROUND_BITS` are the
    round of the settlement by which it fell from a removed owner to another: beyond all that the removed one granted.
    """
    owner: Owner
    """Who may hand out its addresses, and who alone may pass it on."""
    heir: Owner
    """Who gave it, and gets it if the owner is removed; empty if nobody gave it."""

    @property
    def round(self) -> int:
        """The settlement since which grants are counted; 0 if there was none."""
        return self.version >> ROUND_BITS

    @property
    def giver(self) -> Owner:
        """Who made the title, if it is a grant; empty if it is from the founding, a settlement, or was returned."""
        return self.heir if self.version % 2**ROUND_BITS else NO_HEIR

    @property
    def is_returned(self) -> bool:
        """Whether somebody refused a grant and gave the block back to who made it."""
        return not self.heir and self.version % 2**ROUND_BITS > 1


NO_ROSTER = Roster()
NO_HEIR = Owner("")
NOBODY = Title(0, Owner(""), NO_HEIR)
"""The title of an address of which nothing has been heard: less than any other."""


class Entry(NamedTuple):
    """One block under one title."""

    block: Block
    """The range."""
    title: Title
    """Its title."""


class Change(Struct, frozen=True):
    """A block whose title a merge has raised."""

    block: Block
    """The range."""
    before: Title
    """The title that it had."""
    after: Title
    """The greater one that it has."""


class Conflict(Struct, frozen=True):
    """Two titles of one version: the law that only an owner passes a block on was broken somewhere."""

    block: Block
    """Where both are claimed."""
    kept: Title
    """The greater, which every peer will keep."""
    other: Title
    """The lesser."""


class Merged(Struct, frozen=True):
    """What came of a merge."""

    ring: "Ring"
    """The join."""
    changes: tuple[Change, ...]
    """Where it differs from the ring before; empty if nothing was new."""
    conflicts: tuple[Conflict, ...]
    """Findings, not obstacles."""
    roster_news: Roster
    """Who was not in the roster before, or not removed."""

    @property
    def is_news(self) -> bool:
        """Whether the join knows more than the ring before."""
        return bool(self.changes or self.roster_news.members)

    @property
    def news(self) -> tuple[Entry, ...]:
        """The changes as entries, for those who have yet to hear them."""
        return tuple(joined(Entry(change.block, change.after) for change in self.changes))


def joined(entries: Iterable[Entry]) -> list[Entry]:
    """The same titles in the fewest blocks. The entries must be disjoint and in order of address."""
    stack: list[Entry] = []
    for entry in entries:
        whole = entry
        while stack and stack[-1].title == whole.title and stack[-1].block.is_buddy_of(whole.block):
            whole = Entry(stack.pop().block.parent(), whole.title)
        stack.append(whole)
    return stack


class Ring:
    """An immutable ring over one universe, with the identity that its founder drew."""

    __slots__ = ("_blocks_by_owner", "_estate", "entries", "ring_id", "roster", "universe")

    def __init__(self, ring_id: bytes, universe: Block, entries: tuple[Entry, ...], roster: Roster) -> None:
        self.ring_id = ring_id
        self.universe = universe
        self.entries = entries
        self.roster = roster
        self._blocks_by_owner: dict[Owner, tuple[Block, ...]] | None = None
        self._estate: tuple[Entry, ...] | None = None

    @classmethod
    def unknown(cls, ring_id: bytes, universe: Block) -> "Ring":
        """The ring of a peer that has heard its name and nothing else."""
        return cls(ring_id, universe, (Entry(universe, NOBODY),), Roster())

    @classmethod
    def founded(cls, ring_id: bytes, universe: Block, founders: Sequence[Owner]) -> "Ring":
        """The first ring, in shares that differ by a factor of two at most; the founders are given and not empty.

        A universe of fewer addresses than founders leaves the last ones without.
        """
        shares = [universe]
        while len(shares) < len(founders) and shares[0].size > 1:
            shares += shares.pop(0).halves()
        entries = [
            Entry(block, Title(1, owner, NO_HEIR)) for block, owner in zip(sorted(shares), founders, strict=False)
        ]
        return cls.unknown(ring_id, universe).merge(entries, Roster.of(*founders)).ring

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Ring):
            return NotImplemented
        mine, theirs = (self.ring_id, self.universe, self.roster), (other.ring_id, other.universe, other.roster)
        return mine == theirs and self.entries == other.entries

    def __hash__(self) -> int:
        return hash((self.ring_id, self.universe, self.roster, self.entries))

    def __repr__(self) -> str:
        parts = (f"{entry.block} {entry.title.owner}@{entry.title.version}" for entry in self.entries)
        return f"Ring({self.ring_id.hex()[:8]}: {', '.join(parts)})"

    def merge(self, entries: Iterable[Entry], roster: Roster = NO_ROSTER) -> Merged:
        """The join of this ring with what somebody else knows of the same ring; this ring itself when nothing is new.

        The entries lie inside the universe and are disjoint: the decoder has seen to both. Whoever a new title names is
        a member from then on.
        """
        mine = list(self.entries)
        changes: list[Change] = []
        conflicts: list[Conflict] = []
        for theirs in entries:
            _merge_entry(mine, theirs, changes, conflicts)
        named = frozenset(name for change in changes for name in (change.after.owner, change.after.heir) if name)
        joined_roster = self.roster.join(roster).join(Roster(named))
        if not changes and joined_roster is self.roster:
            return Merged(self, (), tuple(conflicts), NO_ROSTER)
        ring = Ring(self.ring_id, self.universe, tuple(mine), joined_roster)
        return Merged(ring, tuple(changes), tuple(conflicts), joined_roster.beyond(self.roster))

    def grant(self, block: Block, *, giver: Owner, taker: Owner) -> Merged:
        """The ring after the giver has passed on a block of its own; the giver is its heir.

        Ask `may_grant` first. One version for the whole block, beyond all in it, so that it becomes a single entry.
        """
        assert self.may_grant(block, giver) and taker and taker != giver, (block, giver, taker)
        version = 1 + max(entry.title.version for entry in self._overlapping(block))
        return self.merge([Entry(block, Title(version, taker, giver))])

    def may_grant(self, block: Block, giver: Owner) -> bool:
        """Whether the whole block belongs to the giver and the ring has room for its parts."""
        room = len(self.entries) + ADDRESS_BITS < ENTRIES_MAX and giver not in self.roster.removed
        return room and all(
            title.owner == giver and (title.version + 1) >> ROUND_BITS == title.round
            for _, title in self._overlapping(block)
        )

    def entry_at(self, address: int) -> Entry:
        """The entry that holds an address of the universe."""
        assert self.universe.holds(address), address
        return self.entries[_index_at(self.entries, address)]

    def holds(self, entry: Entry) -> bool:
        """Whether all of the entry's block has exactly its title: neither older nor newer."""
        mine = self.entry_at(entry.block.start)
        return mine.title == entry.title and mine.block.covers(entry.block)

    def within(self, block: Block) -> list[Entry]:
        """What is known of the addresses of a block of the universe: disjoint entries inside it, in order."""
        if self.entry_at(block.start).block.covers(block):
            return [Entry(block, self.entry_at(block.start).title)]
        return list(self._overlapping(block))

    def estate(self) -> tuple[Entry, ...]:
        """What removed peers own, in order: to be settled. Searched for once per ring: it is asked for all the time."""
        if self._estate is None:
            removed = self.roster.removed
            self._estate = tuple(entry for entry in self.entries if entry.title.owner in removed) if removed else ()
        return self._estate

    def known(self) -> tuple[Entry, ...]:
        """The entries of which something is known, in order: all there is to tell others."""
        return tuple(entry for entry in self.entries if entry.title.version > 0)

    def entries_of(self, owner: Owner) -> tuple[Entry, ...]:
        """The owner's entries, in order; empty if it owns nothing."""
        return tuple(entry for entry in self.entries if entry.title.owner == owner)

    def blocks_of(self, owner: Owner) -> tuple[Block, ...]:
        """The owner's ranges in the fewest blocks, whatever their versions; empty if it owns nothing or was removed."""
        return self._by_owner().get(owner, ())

    def owners(self) -> tuple[Owner, ...]:
        """Everyone who owns something and was not removed, sorted."""
        return tuple(self._by_owner())

    def owners_within(self, block: Block) -> tuple[Owner, ...]:
        """Everyone who owns a part of a block of the universe and was not removed, sorted."""
        if block == self.universe:
            return self.owners()
        owners = {entry.title.owner for entry in self._overlapping(block) if entry.title.version}
        return tuple(sorted(owners - self.roster.removed))

    def is_within_limits(self) -> bool:
        """Whether it can be held and sent: a hostile peer may try to make it endless."""
        return len(self.entries) <= ENTRIES_MAX and len(self.roster.members) <= OWNERS_MAX

    def check(self) -> list[str]:
        """What is wrong with it, as sentences: nothing, or there is a bug in this file."""
        violations = self.roster.check()
        address = self.universe.start
        for entry in self.entries:
            if entry.block.start != address:
                violations.append(f"{entry.block} does not follow what ends before {address}")
            if not entry.block.is_aligned or not self.universe.covers(entry.block):
                violations.append(f"{entry.block} is not an aligned part of {self.universe}")
            if (entry.title.version == 0) != (not entry.title.owner):
                violations.append(f"{entry.block} has a version and an owner that do not go together")
            if entry.title.owner and entry.title.owner not in self.roster.members:
                violations.append(f"{entry.block} belongs to somebody who is no member")
            address = entry.block.end
        if address != self.universe.end:
            violations.append(f"the entries end before {self.universe} does")
        if len(joined(self.entries)) != len(self.entries):
            violations.append("buddies of one title are two entries")
        return violations

    def _overlapping(self, block: Block) -> tuple[Entry, ...]:
        first = _index_at(self.entries, block.start)
        return self.entries[first : _index_at(self.entries, block.end - 1) + 1]

    def _by_owner(self) -> dict[Owner, tuple[Block, ...]]:
        if self._blocks_by_owner is None:
            gathered: dict[Owner, list[Entry]] = {}
            for block, title in self.entries:
                if title.version > 0 and title.owner not in self.roster.removed:
                    gathered.setdefault(title.owner, []).append(Entry(block, NOBODY))
            self._blocks_by_owner = {
                owner: tuple(entry.block for entry in joined(gathered[owner])) for owner in sorted(gathered)
            }
        return self._blocks_by_owner


def _index_at(entries: list[Entry] | tuple[Entry, ...], address: int) -> int:
    return bisect_right(entries, Entry(Block(address, ADDRESS_BITS + 1), NOBODY)) - 1


def _merge_entry(mine: list[Entry], theirs: Entry, changes: list[Change], conflicts: list[Conflict]) -> None:
    """Raise the titles of one block, in place. Blocks are aligned, so either one of mine covers it or some tile it."""
    block, title = theirs
    first = _index_at(mine, block.start)
    cover = mine[first]
    if cover.block.covers(block):
        if not _is_raised(block, cover.title, title, changes, conflicts):
            return
        last = first + 1
        pieces = [Entry(part, title if part == block else cover.title) for part in carve(cover.block, block)]
    else:
        last = bisect_left(mine, Entry(Block(block.end, -1), NOBODY), first)
        pieces = [
            Entry(old.block, title) if _is_raised(old.block, old.title, title, changes, conflicts) else old
            for old in mine[first:last]
        ]
    mine[first:last] = joined(pieces)
    _join_upwards(mine, first)


def _is_raised(block: Block, old: Title, new: Title, changes: list[Change], conflicts: list[Conflict]) -> bool:
    if old.version == new.version and old != new:
        conflicts.append(Conflict(block, max(old, new), min(old, new)))
    if new <= old:
        return False
    changes.append(Change(block, old, new))
    return True


def _join_upwards(mine: list[Entry], index: int) -> None:
    """Join the entry with its buddy, and the whole with its buddy, as long as they carry one title, in place."""
    while True:
        block, title = mine[index]
        is_upper = bool(block.start & block.size)
        lower = index - 1 if is_upper else index
        if lower < 0 or lower + 1 >= len(mine):
            return
        other = mine[lower if is_upper else lower + 1]
        if other.title != title or not other.block.is_buddy_of(block):
            return
        mine[lower : lower + 2] = [Entry(block.parent(), title)]
        index = lower
