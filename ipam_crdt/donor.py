"""Whom to ask for space: one donor at a time, those who may have some first, those who refused later. Sends nothing.

Theory of operation
-------------------
One request is out at a time, and its number tells its answer from one to an earlier request: else each answer that
comes late would let us ask once more, and such dialogues would never end. A donor that does not answer within
`ANSWER_S` is silent: it is asked again only when all others have been tried in this round. One that denies rests for
`DENIED_REST_S`, twice as long after each further denial up to `DENIED_REST_MAX_S`, because space may come free at any
time and a waiting request must find it. Among candidates the choice is random, weighted by the free addresses that
each last told of, or by what it owns if it never told.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address
from random import Random

from msgspec import Struct

from ipam_crdt.cidr import Block
from ipam_crdt.ring import OWNERS_MAX, Ring
from ipam_crdt.roster import Owner

ANSWER_S = 1.0
"""An answer takes a round trip over a few hops and two writes to disk."""
DENIED_REST_S = 1.0
DENIED_REST_MAX_S = 4.0
"""Shorter than any caller's patience, so that each owner is asked more than once."""
NAMED_MAX = 4
"""Owners that a reason names; the others are counted."""


class _Denial(Struct, frozen=True):
    count: int
    until: float
    outlasts_news: bool


class DonorSearch:
    """What is known of the others as donors, and which of them has been asked."""

    def __init__(self, owner: Owner, subnet: Block, rng: Random) -> None:
        """`subnet` is that part of the universe of which space is looked for."""
        self._owner = owner
        self._subnet = subnet
        self._rng = rng
        self._reachable: frozenset[Owner] = frozenset()
        self._free: dict[Owner, int] = {}
        self._denials: dict[Owner, _Denial] = {}
        self._silent: set[Owner] = set()
        self._asked: Owner | None = None
        self._answer_by = 0.0
        self.request_number = rng.getrandbits(40)
        """The number of the latest request."""

    def set_reachable(self, owners: Iterable[Owner]) -> None:
        """Exactly these can be asked. A request to one who went away is given up at once; newcomers start afresh."""
        before = self._reachable
        self._reachable = frozenset(owners)
        for newcomer in sorted(self._reachable - before):
            self._denials.pop(newcomer, None)
            self._silent.discard(newcomer)
        if self._asked not in self._reachable:
            self._asked = None

    @property
    def reachable(self) -> frozenset[Owner]:
        """Who can be sent a message now."""
        return self._reachable

    def is_reachable(self, owner: Owner) -> bool:
        """Whether the peer can be asked now."""
        return owner in self._reachable

    def free_at(self, owner: Owner) -> int | None:
        """How many free addresses the peer last told of; None if it never did."""
        return self._free.get(owner)

    def hear(self, owner: Owner, free: int | None) -> None:
        """The peer tells how much it has free."""
        if free is None or (owner not in self._free and len(self._free) >= OWNERS_MAX):
            return
        self._free[owner] = free
        denial = self._denials.get(owner)
        if free and denial is not None and not denial.outlasts_news:
            del self._denials[owner]

    def is_awaited(self, number: int) -> bool:
        """Whether an answer with this number is the first to the latest request: one answer lets us ask once more."""
        is_awaited = number == self.request_number
        self.request_number += is_awaited
        return is_awaited

    def note_answer(self, owner: Owner) -> None:
        """The peer answered: whoever waits may ask on."""
        self._silent.discard(owner)
        if self._asked == owner:
            self._asked = None

    def note_denial(self, owner: Owner, now: float, *, outlasts_news: bool = False) -> None:
        """The peer has nothing to give; or nothing that is of use to us, and no news of free space changes that."""
        self.note_answer(owner)
        past = self._denials.get(owner)
        count = 1 if past is None else past.count + 1
        rest = min(DENIED_REST_MAX_S, DENIED_REST_S * 2.0 ** min(count - 1, 8))
        self._denials[owner] = _Denial(count, now + rest, outlasts_news)

    def rest(self) -> None:
        """Nobody needs space any more; the next search begins afresh."""
        self._asked = None
        self._silent.clear()
        self._denials.clear()

    def next_donor(self, ring: Ring, now: float) -> Owner | None:
        """Whom to ask now; None while an answer is awaited or nobody is left. The one returned counts as asked."""
        if self._asked is not None:
            if now < self._answer_by:
                return None
            self._silent.add(self._asked)
            self._asked = None
        candidates = [owner for owner in self._others(ring) if self._may_be_asked(owner, now)]
        fresh = [owner for owner in candidates if owner not in self._silent]
        if candidates and not fresh:
            self._silent.clear()
            fresh = candidates
        if not fresh:
            return None
        weights = [max(1, self._weight(owner, ring)) for owner in fresh]
        self._asked = self._rng.choices(fresh, weights)[0]
        self._answer_by = now + ANSWER_S
        self.request_number += 1
        return self._asked

    def wake_at(self, ring: Ring) -> float | None:
        """When `next_donor` may have another answer without any news; None if never."""
        if self._asked is not None:
            return self._answer_by
        resting = [
            self._denials[owner].until
            for owner in self._others(ring)
            if owner in self._reachable and owner in self._denials
        ]
        return min(resting, default=None)

    def excuse(self, ring: Ring) -> str:
        """Why a request for any address has not been served yet, owner by owner, with the remedy."""
        others = self._others(ring)
        named = ", ".join(f"{owner} ({self._state_of(owner)})" for owner in others[:NAMED_MAX])
        rest = len(others) - NAMED_MAX
        states = (f"{named} and {rest} more" if rest > 0 else named) or "no other peer owns any"
        return (
            f"this peer has no free address and no peer that owns free space answered: {states}; "
            "start those peers, or remove the dead ones or some pods"
        )

    def excuse_claim(self, ring: Ring, address: int) -> str:
        """Why a claim of an address that is not ours has not been served yet, with the remedy."""
        owner, name = ring.entry_at(address).title.owner, IPv4Address(address)
        if owner in ring.roster.removed:
            return f"{name} belongs to {owner}, which was removed, and is not passed on yet; claim another address"
        if not owner:
            return f"nobody is known to own {name} yet; wait for gossip or claim another address"
        state = "has not answered" if owner in self._reachable else "is unreachable"
        return f"{name} belongs to {owner}, which {state}; start that peer or claim another address"

    def _others(self, ring: Ring) -> list[Owner]:
        return [owner for owner in ring.owners_within(self._subnet) if owner != self._owner]

    def _may_be_asked(self, owner: Owner, now: float) -> bool:
        denial = self._denials.get(owner)
        return owner in self._reachable and (denial is None or denial.until <= now)

    def _weight(self, owner: Owner, ring: Ring) -> int:
        free = self._free.get(owner)
        return sum(block.size for block in ring.blocks_of(owner)) if free is None else free

    def _state_of(self, owner: Owner) -> str:
        if owner not in self._reachable:
            return "unreachable"
        if owner in self._denials:
            return "has no free address"
        return "has not answered"
