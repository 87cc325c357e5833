"""The requests of our own pods: answered from our space, or kept until they can be. Asks nobody; the allocator does.

Theory of operation
-------------------
A request is refused at once if it can never be served, served at once if our space can, and else kept. `settle` goes
through those that are kept: served, refused for a reason that has come up since, refused because the deadline has
come, or kept on. Each request leaves by exactly one answer.
"""

from collections.abc import Callable
from ipaddress import IPv4Address

from msgspec import Struct

from ipam_crdt.cidr import Block
from ipam_crdt.event import Allocated, Refused
from ipam_crdt.holding import Holding

WAITING_MAX = 1_024
"""Requests that wait at a time: several times the pods of a host."""
IDENT_LENGTH_MAX = 512
"""Network, container id and interface name have at most about 300 characters together."""

Answer = Allocated | Refused


class Waiting(Struct):
    """A request that has no answer yet."""

    ident: str
    address: int | None
    """The address it claims; None if any will do."""
    deadline: float
    """When it is refused at the latest."""
    ask_at: float
    """When the owner of a claimed address may be asked (again)."""

    def claims_in(self, block: Block) -> bool:
        """Whether it claims an address of the block."""
        return self.address is not None and block.holds(self.address)


class WaitingList:
    """The requests without an answer, in the order in which they came."""

    def __init__(self, holding: Holding) -> None:
        self._holding = holding
        self._requests: dict[str, Waiting] = {}

    def __len__(self) -> int:
        return len(self._requests)

    def all(self) -> tuple[Waiting, ...]:
        """Those that wait."""
        return tuple(self._requests.values())

    def claims(self) -> list[Waiting]:
        """Those that wait for one very address."""
        return [waiting for waiting in self._requests.values() if waiting.address is not None]

    def add(self, waiting: Waiting) -> list[Answer]:
        """The answer, if there is one at once; else it waits now, in the place of an earlier one of this ident."""
        reason = self._why_never(waiting)
        answer = self._served(waiting) if reason is None else Refused(waiting.ident, reason)
        if answer is None:
            self._requests[waiting.ident] = waiting
            return []
        self._requests.pop(waiting.ident, None)
        return [answer]

    def cancel(self, ident: str) -> list[Refused]:
        """The answer to the ident's request, if one was waiting."""
        if self._requests.pop(ident, None) is None:
            return []
        return [Refused(ident, "it was released while it waited; ask again if it is needed")]

    def refuse_claims(self, address: int, reason: str) -> list[Refused]:
        """The answers to all that wait for this address."""
        claims = [waiting for waiting in self.claims() if waiting.address == address]
        for claim in claims:
            del self._requests[claim.ident]
        return [Refused(claim.ident, reason) for claim in claims]

    def refuse_all(self, reason: str) -> list[Refused]:
        """The answers to all that wait."""
        refused = [Refused(ident, reason) for ident in self._requests]
        self._requests.clear()
        return refused

    def settle(self, now: float, excuse: Callable[[Waiting], str]) -> list[Answer]:
        """The answers that are possible or due now; `excuse` says why a request could not be served by its deadline."""
        answers: list[Answer] = []
        for waiting in self.all():
            answer: Answer | None = self._served(waiting)
            if answer is None:
                reason = self._why_never(waiting)
                if reason is None and waiting.deadline <= now:
                    reason = excuse(waiting)
                answer = None if reason is None else Refused(waiting.ident, reason)
            if answer is not None:
                del self._requests[waiting.ident]
                answers.append(answer)
        return answers

    def _served(self, waiting: Waiting) -> Allocated | None:
        ident = waiting.ident
        address = self._holding.space.allocations.get(ident)
        if address is None and waiting.address is None:
            address = self._holding.allocate(ident)
        elif address is None and waiting.address is not None and self._holding.claim(ident, waiting.address):
            address = waiting.address
        return None if address is None else Allocated(ident, IPv4Address(address))

    def _why_never(self, waiting: Waiting) -> str | None:
        """Why this request has no hope, as a sentence; None if it has."""
        ident, wanted = waiting.ident, waiting.address
        universe, space = self._holding.universe, self._holding.space
        if not 0 < len(ident) <= IDENT_LENGTH_MAX:
            return f"an ident has 1 to {IDENT_LENGTH_MAX} characters; give it another"
        if ident not in self._requests and len(self._requests) >= WAITING_MAX:
            return f"{WAITING_MAX} requests wait already; try again when they are answered"
        if wanted is None:
            return None
        address = IPv4Address(wanted)
        if not universe.holds(wanted):
            return f"{address} is not in {universe}; claim an address in that range"
        if space.is_reserved(wanted):
            return f"{address} is kept out of use, as network, broadcast or gateway; claim another address"
        held = space.allocations.get(ident, wanted)
        if held != wanted:
            return f"{ident} already has {IPv4Address(held)}; release that first"
        holder = space.ident_at(wanted) or ident
        if holder != ident:
            return f"{address} is in use here by {holder}; claim another address or release it"
        return None
