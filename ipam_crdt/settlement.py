"""How what a removed peer left gets new owners, without any address ever having two. Pure; one part of the allocator.

Theory of operation
-------------------
A removed peer cannot be asked what it gave away last; and whoever has that may be cut off. So its estate, the blocks
that it owns in the ring, is passed on only when *every* member that is not removed has agreed. One of them, the
executor, asks: the least name among them, which all compute alike once they know the same.

    executor                                      every other member
    estate, and I am the executor:
      a round greater than all I know,
      bind myself, ask all                   ->   take in the estate and the removals; bind myself
                                                  (promise.py): of these blocks nothing is given,
      better titles are merged               <-   nothing taken from strangers; tell what I know
                                                  better of them
    an answer tells of a greater round, or
      the roster has changed:
      a new round, a second later
    all agree, with the same roster:
      each block asked for gets a title of
      the round. What is estate goes to its
      heir, to a neighbour or to myself; what
      was found to be of a living member
      stays with him                         ->   merged; the fences of these blocks fall

Why nobody else can own what is passed on. An owner that is not removed got the block from the removed peer, over
some givers. Had he been known when all agreed, he would have told of his title, or got it later and refused it, for
the first giver in the chain that is not fenced off by its own word is one that nobody knew. So he is, or has it from, a
peer that joined through the removed one and that no member had ever heard of: he counts as removed with it, loses the
block when he hears of the settlement (its round outranks all grants since), and no other member has taken anything
from him meanwhile, by the fence. docs/decisions/0006 has the argument in full, and why it is this price and no other.

Why two executors do no harm. Each is the least of the members it knows, so one of them does not know the other, or
knows that he was removed. In the first case each needs the word of the other all the same: who hears of an unknown
member begins anew, and who has done its part tells of the titles. In the second the later one has agreed to the
earlier one's round, so that its own is greater, and what the removed one may have done is outranked.

A member that is down or cut off makes the estate wait, not the mesh: all else goes on. Start it or remove it, too.

An executor may be lost half-way and leave fences behind: those of the next executor are settled like an estate, and who
has one asks the executor, now and then, with the very message by which it would be asked.
"""

from collections.abc import Iterable

from msgspec import Struct, field

from ipam_crdt.cidr import Block
from ipam_crdt.holding import Holding
from ipam_crdt.ring import NO_HEIR, ROUND_BITS, ROUND_MAX, Entry, Ring, Title
from ipam_crdt.roster import Owner, Roster
from ipam_crdt.voice import Voice
from ipam_crdt.wire import Agree, Settle, digest_of_roster, knowledge_of

ASK_AGAIN_S = 1.0
"""An answer takes a round trip over a few hops and a write to disk; the same time lies between two rounds."""
NUDGE_S = 10.0
"""How long a fence of ours stands before we remind the executor, and then again; an estate may wait for days."""
NAMED_MAX = 4
"""Peers that a reason names; the others are counted."""


class _Attempt(Struct):
    """A round of ours that is under way."""

    round: int
    blocks: tuple[Block, ...]
    roster: Roster
    digest: bytes
    ask_at: float
    agreed: set[Owner] = field(default_factory=set)


class Settlement:
    """One peer's part, as executor or as one of those who are asked."""

    def __init__(self, voice: Voice, holding: Holding, now: float) -> None:
        self._voice = voice
        self._holding = holding
        self._attempt: _Attempt | None = None
        self._begin_at = now
        self._nudge_at: float | None = None

    def advance(self, reachable: frozenset[Owner], now: float) -> None:
        """Do what is due: as executor begin, ask, pass on; else remind him. Nothing, if there is nothing to settle."""
        ring = self._holding.ring
        if ring is None or not self._open_blocks(ring):
            self._attempt = self._nudge_at = None
            return
        executor = min(ring.roster.living)
        if executor != self._holding.owner:
            self._attempt = None
            self._remind(ring, executor, reachable, now)
            return
        attempt = self._valid_attempt(ring, now)
        if attempt is None:
            return
        missing = self._missing(ring, attempt)
        if not missing:
            self._pass_on(ring, attempt)
            self.advance(reachable, now)
        elif now >= attempt.ask_at and not missing.isdisjoint(reachable):
            attempt.ask_at = now + ASK_AGAIN_S
            for peer in sorted(missing & reachable):
                self._ask(ring, peer, attempt.blocks, attempt.round)

    def wake_at(self, reachable: frozenset[Owner]) -> float | None:
        """When `advance` has something to do next without any news; None if never."""
        ring = self._holding.ring
        if ring is None or not self._open_blocks(ring):
            return None
        executor = min(ring.roster.living)
        if executor != self._holding.owner:
            return self._nudge_at if executor in reachable else None
        attempt = self._attempt
        if attempt is None or not self._is_valid(ring, attempt):
            return self._begin_at if self._holding.promises.round < ROUND_MAX else None
        return attempt.ask_at if self._missing(ring, attempt) & reachable else None

    def answer(self, source: Owner, ring: Ring, wish: Settle) -> None:
        """Agree, and say what we know better. What the wish tells has been merged."""
        better = [
            mine
            for theirs in wish.knowledge.entries
            for mine in ring.within(theirs.block)
            if mine.title != theirs.title
        ]
        self._holding.bind(wish.round, [entry.block for entry in wish.knowledge.entries])
        knowledge = knowledge_of(ring, better)
        self._voice.send(source, Agree(knowledge, self._holding.promises.round, digest_of_roster(ring.roster)))

    def hear(self, source: Owner, answer: Agree) -> None:
        """Take in an answer. What it tells has been merged."""
        self._holding.hear_round(answer.round)
        attempt = self._attempt
        if attempt and (answer.round, answer.digest) == (attempt.round, attempt.digest):
            attempt.agreed.add(source)

    def excuses(self, reachable: frozenset[Owner]) -> tuple[str, ...]:
        """Why an estate has not been passed on yet, owner by owner, each a sentence with the remedy."""
        ring = self._holding.ring
        if ring is None or self._holding.is_removed:
            return ()
        left: dict[Owner, list[Block]] = {}
        for block, title in ring.estate():
            left.setdefault(title.owner, []).append(block)
        cause = self._cause(ring, reachable) if left else ""
        return tuple(
            f"{', '.join(map(str, blocks[:NAMED_MAX]))}{' and more' if len(blocks) > NAMED_MAX else ''} of {owner}, "
            f"which was removed, cannot be handed out yet: {cause}"
            for owner, blocks in sorted(left.items())
        )

    def _cause(self, ring: Ring, reachable: frozenset[Owner]) -> str:
        executor = min(ring.roster.living)
        if executor != self._holding.owner:
            state = "is about to pass it on" if executor in reachable else "has to pass it on and is unreachable"
            return f"{executor} {state}; start that peer, or remove it too if it is gone for ever"
        missing = ring.roster.living - {executor} - (self._attempt.agreed if self._attempt else set())
        names = sorted(missing - reachable) or sorted(missing)
        rest = len(names) - NAMED_MAX
        listed = ", ".join(names[:NAMED_MAX]) + (f" and {rest} more" if rest > 0 else "")
        state = "unreachable" if missing - reachable else "asked"
        return (
            f"all other peers have to agree, and {listed} {'are' if len(names) > 1 else 'is'} {state}; "
            "start those peers, or remove them too if they are gone for ever"
        )

    def _open_blocks(self, ring: Ring) -> list[Block]:
        """What there is to settle, as far as we know: all estate, and what is behind our fences."""
        fences = self._holding.promises.fences
        estate = (entry.block for entry in ring.estate())
        return sorted((*fences, *(block for block in estate if not any(fenced.covers(block) for fenced in fences))))

    def _remind(self, ring: Ring, executor: Owner, reachable: frozenset[Owner], now: float) -> None:
        fences = tuple(self._holding.promises.fences)
        if not fences:
            self._nudge_at = None
        elif self._nudge_at is None:
            self._nudge_at = now + NUDGE_S
        elif now >= self._nudge_at and executor in reachable:
            self._nudge_at = now + NUDGE_S
            self._ask(ring, executor, fences, self._holding.promises.round)

    def _missing(self, ring: Ring, attempt: _Attempt) -> frozenset[Owner]:
        return ring.roster.living - attempt.agreed - {self._holding.owner}

    def _is_valid(self, ring: Ring, attempt: _Attempt) -> bool:
        """Whether the words given still count: nobody came, went, settled, or made us agree to another round since."""
        is_latest = all(title.round < attempt.round for block in attempt.blocks for _, title in ring.within(block))
        return is_latest and attempt.round == self._holding.promises.round and attempt.roster == ring.roster

    def _valid_attempt(self, ring: Ring, now: float) -> _Attempt | None:
        """The round under way, or else a new one, if it may begin yet."""
        if self._attempt is not None and self._is_valid(ring, self._attempt):
            return self._attempt
        self._attempt = None
        round_ = self._holding.promises.round + 1
        if now < self._begin_at or round_ > ROUND_MAX:
            return None
        self._begin_at = now + ASK_AGAIN_S
        blocks = tuple(self._open_blocks(ring))
        self._holding.bind(round_, blocks)
        self._attempt = _Attempt(round_, blocks, ring.roster, digest_of_roster(ring.roster), ask_at=now)
        return self._attempt

    def _ask(self, ring: Ring, peer: Owner, blocks: Iterable[Block], round_: int) -> None:
        entries = {entry for block in blocks for entry in ring.within(block)}
        removed = tuple(sorted({entry.title.owner for entry in entries} & ring.roster.removed))
        knowledge = knowledge_of(ring, _disjoint(entries), Roster.of(removed=removed))
        self._voice.send(peer, Settle(knowledge, round_, digest_of_roster(ring.roster)))

    def _pass_on(self, ring: Ring, attempt: _Attempt) -> None:
        """Give every block asked for a title of the round: estate a new owner, the rest the one that it has."""
        titles = [
            Entry(entry.block, settled(ring, entry, attempt.round, self._holding.owner))
            for asked in attempt.blocks
            for entry in ring.within(asked)
        ]
        self._attempt = None
        self._voice.adopt(ring.merge(titles), because=Roster.of(removed=tuple(sorted(ring.roster.removed))))


def settled(ring: Ring, entry: Entry, round_: int, executor: Owner) -> Title:
    """What becomes of a title in a settlement.

    The heir gave the block, so very likely he owns the buddy, else its owner takes it: two buddies of one owner are one
    route again.
    """
    block, title = entry
    version, living = round_ << ROUND_BITS, ring.roster.living
    if title.owner in living:
        return Title(version, title.owner, title.heir)
    buddy = ring.entry_at(block.start ^ block.size) if block.length > ring.universe.length else entry
    successors = (title.heir, buddy.title.owner, executor)
    return Title(version, next(owner for owner in successors if owner in living), NO_HEIR)


def _disjoint(entries: Iterable[Entry]) -> list[Entry]:
    """Without those that lie in others: blocks of fences may overlap."""
    kept: list[Entry] = []
    for entry in sorted(entries):
        if not (kept and kept[-1].block.covers(entry.block)):
            kept.append(entry)
    return kept
