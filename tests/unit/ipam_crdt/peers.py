"""A few allocators and a hand that carries their messages: for tests that look at single steps."""

import random
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network

from ipam_crdt import (
    Allocated,
    Allocator,
    Announce,
    Founding,
    Input,
    MessageReceived,
    Output,
    Owner,
    PeersReachable,
    Persist,
    Refused,
    RingReceived,
    Send,
)

A, B, C = Owner("a"), Owner("b"), Owner("c")
UNIVERSE = IPv4Network("10.32.0.0/24")


def peer(
    owner: Owner,
    founding: Founding = Founding.JOIN,
    *,
    snapshot: bytes | None = None,
    universe: IPv4Network = UNIVERSE,
) -> Allocator:
    """An allocator with a seed made of its name."""
    rng = random.Random(owner)
    return Allocator(owner=owner, universe=universe, founding=founding, snapshot=snapshot, rng=rng, now=0.0)


def address(last: int) -> IPv4Address:
    return UNIVERSE[last]


def feed(allocator: Allocator, event: Input, now: float = 0.0) -> list[Output]:
    allocator.receive(event, now)
    return allocator.outputs()


def names(outputs: Sequence[Output]) -> list[str]:
    """The outputs as a transcript."""
    return [type(output).__name__ for output in outputs]


def answers(outputs: Sequence[Output]) -> list[Allocated | Refused]:
    return [output for output in outputs if isinstance(output, Allocated | Refused)]


def snapshot_in(outputs: Sequence[Output]) -> bytes:
    """The one snapshot among the outputs, which is the first of them."""
    assert isinstance(outputs[0], Persist)
    assert names(outputs).count("Persist") == 1
    return outputs[0].snapshot


class Carrier:
    """Carries messages at once and in order between peers that all reach each other; what is in `lost` gets nothing."""

    def __init__(self, *allocators: tuple[Owner, Allocator]) -> None:
        self.peers = dict(allocators)
        self.lost: set[Owner] = set()
        self.sent = 0
        self.answers: list[Allocated | Refused] = []
        for owner in self.peers:
            self.feed(owner, PeersReachable(tuple(other for other in self.peers if other != owner)))

    def feed(self, owner: Owner, event: Input, now: float = 0.0) -> None:
        self.peers[owner].receive(event, now)
        self.carry(now)

    def tick(self, now: float) -> None:
        for allocator in self.peers.values():
            allocator.tick(now)
        self.carry(now)

    def carry(self, now: float = 0.0) -> None:
        """Until nobody has anything more to say."""
        while True:
            batches = [(owner, allocator.outputs()) for owner, allocator in self.peers.items()]
            if not any(outputs for _, outputs in batches):
                return
            for owner, outputs in batches:
                for output in outputs:
                    self._perform(owner, output, now)

    def _perform(self, owner: Owner, output: Output, now: float) -> None:
        if isinstance(output, Allocated | Refused):
            self.answers.append(output)
        elif isinstance(output, Send):
            self.sent += 1
            if output.destination not in self.lost:
                self.peers[output.destination].receive(MessageReceived(owner, output.payload), now)
        elif isinstance(output, Announce):
            for other, allocator in self.peers.items():
                if other != owner and other not in self.lost:
                    allocator.receive(RingReceived(owner, output.payload), now)
