"""What this peer has bound itself to for the settlement of estates. Durable, like all that is promised; sends nothing.

Its counterpart is settlement.py, which says why these promises are enough. Two kinds:

* a round: a settlement of ours, later, has a greater one, so that its titles outrank what may have come of this;
* fences: of a block that was to be settled we take nothing from a giver whom we did not know when we agreed (he may
  have it from the removed peer, of which the executor knows nothing), and give nothing away of what of it is ours,
  until we see what became of the block: it has a title of that round, or of a later one.
"""

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from ipam_crdt.cidr import Block
from ipam_crdt.ring import Ring
from ipam_crdt.roster import Owner


class Fence(Struct, frozen=True):
    """What we agreed to for one block."""

    round: int
    """The greatest round that would settle it."""
    members: frozenset[Owner]
    """Those who may give us a part of it: who was known, and not removed, at each agreement."""


class Promises:
    """The round that we are bound to and the fences that stand."""

    def __init__(self, round_: int = 0, fences: Mapping[Block, Fence] | None = None) -> None:
        self.round = round_
        """The greatest round of any settlement that we know of, agreed to or done."""
        self._fences = dict(fences or {})

    @property
    def fences(self) -> Mapping[Block, Fence]:
        """The fences that stand. Look, do not keep: it is the living dict."""
        return self._fences

    def bind(self, round_: int, blocks: Iterable[Block], members: frozenset[Owner]) -> None:
        """Agree. A block under an older fence goes on under both."""
        self.hear(round_)
        for block in blocks:
            older = self._fences.get(block, Fence(round_, members))
            self._fences[block] = Fence(max(round_, older.round), members & older.members)

    def hear(self, round_: int) -> bool:
        """Note that there is a settlement of this round; whether that is news."""
        is_news = round_ > self.round
        self.round = max(self.round, round_)
        return is_news

    def forbid(self, block: Block, giver: Owner) -> bool:
        """Whether a fence keeps us from taking this block from this giver."""
        return any(giver not in self._fences[fenced].members for fenced in self._around(block))

    def freeze(self, block: Block) -> bool:
        """Whether a fence keeps us from giving this block away."""
        return any(self._around(block))

    def expire(self, ring: Ring) -> None:
        """Take down the fences of blocks of which the ring now tells what became."""
        over = [
            block
            for block, fence in self._fences.items()
            if all(title.round >= fence.round for _, title in ring.within(block))
        ]
        for block in over:
            del self._fences[block]

    def _around(self, block: Block) -> Iterator[Block]:
        return (fenced for fenced in self._fences if fenced.covers(block) or block.covers(fenced))
