"""What the parts of the allocator say to the world, in order. Decides nothing.

Whatever changes the ring goes through `adopt`, so that no change is kept to ourselves.
"""

from collections.abc import Iterable

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

    def say(self, *outputs: Output) -> None:
        """After all that was said before."""
        self._outputs += outputs

    def send(self, destination: Owner, message: Message) -> None:
        """A message for one peer."""
        self.say(Send(destination, encode_message(message)))

    def announce(self, entries: Iterable[Entry], roster: Roster = NO_ROSTER) -> None:
        """A part of our ring, for every peer."""
        assert self._holding.ring is not None
        self.say(Announce(encode_knowledge(self._holding.tell(self._holding.ring, entries, roster))))

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
        """All of it, once."""
        outputs, self._outputs = self._outputs, []
        return outputs
