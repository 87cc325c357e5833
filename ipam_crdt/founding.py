"""Until there is a ring: hear of one, or found one with others. One part of the allocator, over when it has a ring.

What is decided, and how, is election.py's. Here votes are kept, told and turned into a ring.
"""

from collections.abc import Iterable

from ipam_crdt.election import Election
from ipam_crdt.event import Announce, OwnershipChanged
from ipam_crdt.holding import Holding
from ipam_crdt.roster import Owner
from ipam_crdt.voice import Voice


class Founding:
    """The election, fed with what comes and its consequences drawn."""

    def __init__(self, voice: Voice, holding: Holding, election: Election) -> None:
        self._voice = voice
        self._holding = holding
        self._election = election
        if election.votes():
            holding.keep_votes(election.state())

    def hear(self, payload: bytes, now: float) -> None:
        """Votes from another peer; raises RemoteViolation."""
        self._election.receive(payload, now)

    def set_known(self, owners: Iterable[Owner], now: float) -> None:
        """Who is at the addresses that were given as those of initial peers, as far as has been found out."""
        self._election.set_known(owners, now)

    def set_reachable(self, owners: Iterable[Owner], now: float) -> None:
        """Who can be reached now."""
        self._election.set_reachable(owners, now)

    def advance(self, now: float) -> None:
        """Do what is due, keep and tell the votes that are new, and found the ring if it is decided."""
        self._election.tick(now)
        news = self._election.take_news()
        if news is not None:
            self._holding.keep_votes(news)
            self._voice.say(Announce(news))
        decree = self._election.decision
        if decree is not None:
            ring = self._holding.settle_in(decree.ring_id, decree.owners)
            self._voice.announce(ring.known(), ring.roster)
            self._voice.say(OwnershipChanged())

    def deadline(self) -> float | None:
        """When `advance` has something to do without news; None if never."""
        return self._election.deadline()

    def excuse(self) -> str:
        """Why there is no ring yet, as a sentence with the remedy."""
        return self._election.excuse()
