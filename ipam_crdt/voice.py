"""What the parts of the allocator say to the world, in order. Decides nothing.

Whatever changes the ring goes through `adopt`, so that no change is kept to ourselves. What is to be announced is a set
of blocks and names, not a queue: they are told as they are when the outputs are taken, all in one announcement.
"""

from collections.abc import Iterable

from ipam_crdt.cidr import Block
from ipam_crdt.event import Announce, Output, OwnershipChanged, Send
from ipam_crdt.holding import Holding
from ipam_crdt.ring import NO_ROSTER, Entry, Merged
from ipam_crdt.roster import Owner, Roster
from ipam_crdt.wire import Message, encode_knowledge, encode_message


class Voice:
    """The outputs of one allocator that have not been taken yet."""

    def __init__(self, holding: Holding) -> None:
        self._holding = holding
        self._outputs: list[Output] = []
        self._untold: set[Block] = set()
        """Blocks of which everybody is to be told."""
        self._untold_names: Roster | None = None
        """Names that go with them; None if there is nothing to tell."""
        self._untold_at = 0
        """Before which of the outputs."""

    def say(self, *outputs: Output) -> None:
        """After all that was said before."""
        self._outputs += outputs

    def send(self, destination: Owner, message: Message) -> None:
        """A message for one peer."""
        self.say(Send(destination, encode_message(message)))

    def announce(self, entries: Iterable[Entry], roster: Roster = NO_ROSTER) -> None:
        """A part of our ring, for every peer."""
        if self._untold_names is None:
            self._untold_at = len(self._outputs)
        self._untold.update(entry.block for entry in entries)
        self._untold_names = roster if self._untold_names is None else self._untold_names.join(roster)

    def adopt(self, merged: Merged, *, because: Roster = NO_ROSTER) -> None:
        """The merged ring is ours from now on, and everybody is told what is new in it, and the removals behind it.

        With a removal goes the whole roster: who is to agree to a settlement must not be found out by and by.
        """
        self._holding.adopt(merged)
        news = merged.ring.roster if merged.roster_news.removed else merged.roster_news
        self.announce(merged.news, news.join(because))
        if merged.roster_news.removed or any(change.before.owner != change.after.owner for change in merged.changes):
            self.say(OwnershipChanged())

    def take(self) -> list[Output]:
        """All of it, once; the announcement where the first of its parts was to be told."""
        outputs, self._outputs = self._outputs, []
        if self._untold_names is not None:
            outputs.insert(self._untold_at, self._announcement(self._untold_names))
            self._untold, self._untold_names = set(), None
        return outputs

    def _announcement(self, names: Roster) -> Announce:
        ring = self._holding.ring
        assert ring is not None
        entries: list[Entry] = []
        told_up_to = -1
        for block in sorted(self._untold):  # aligned blocks: one that begins inside another is a part of it
            if block.end > told_up_to:
                entries += ring.within(block)
                told_up_to = block.end
        return Announce(encode_knowledge(self._holding.tell(ring, entries, names)))
