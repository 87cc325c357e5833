"""The World: many Allocators on one virtual clock, joined by a network that loses, doubles, reorders and cuts.

A heap of (when, order, action); nothing else makes time pass. Every message has a random delay, so that they overtake
each other. A crash drops the Allocator in the middle of its outputs; a restart builds another from what was last
persisted. After each action the laws of safety are checked for the peer that it touched; `settle` heals the world and
`exhaust` then takes every address that is left.
"""

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import assert_never
from zlib import crc32

from ipam_crdt import (
    Allocate,
    Allocated,
    Allocator,
    Announce,
    Claim,
    Founding,
    Input,
    MessageReceived,
    Output,
    Owner,
    OwnershipChanged,
    PeersReachable,
    Persist,
    Refused,
    Release,
    RingReceived,
    Send,
)
from ipam_crdt.cidr import Block
from ipam_crdt.ring import Ring

GOSSIP_INTERVAL_S = 2.0
REACHABLE_INTERVAL_S = 1.0
"""How late a peer learns who is reachable: in between it asks the dead."""
QUIET_S = 30.0
SENDS_MAX = 12
"""Messages from one peer to another in a second without news: a few claims, their answers, and no endless dialogue."""
TRACE_KEPT = 60


class LawBroken(AssertionError):
    """A law does not hold; the message shows the last events, `World.reporting` adds the seed."""


@dataclass(eq=False)
class Host:
    """One peer: what runs, what is on its disk, and what its pods were told."""

    index: int
    name: Owner
    founding: Founding
    allocator: Allocator | None = None
    disk: bytes | None = None
    life: int = 0
    tick_at: float | None = None
    ring: Ring | None = None
    """The ring at the last check; versions may not go back behind it while the peer lives."""
    owned: int = 0
    """The addresses it holds to be its own, as a bit mask; of a peer that is down, what its disk says."""
    waiting: dict[str, float] = field(default_factory=dict)
    """Requests without an answer, with their deadlines."""
    sends: dict[Owner, list[float]] = field(default_factory=dict)
    """When it sent to whom, since it last learned anything."""
    told: dict[str, IPv4Address] = field(default_factory=dict)
    """Addresses answered and not released since: never to be forgotten."""


class World:
    """Peers, network and clock; all that is random comes from the seed."""

    def __init__(self, *, seed: int, host_count: int, universe: str, loss: float, delay_s: tuple[float, float]) -> None:
        self.rng = random.Random(seed)
        self.seed = seed
        self.now = 0.0
        self.steps = 0
        self.trace_checksum = 0
        self.universe = IPv4Network(universe)
        self.crash_rate = 0.0
        self.hosts = [
            Host(index, Owner(f"host{index}"), Founding.JOIN if index else Founding.FOUND)
            for index in range(host_count)
        ]
        self._by_name = {host.name: host for host in self.hosts}
        self._loss = loss
        self._delay_s = delay_s
        self._cuts: set[tuple[int, int]] = set()
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self._trace: deque[str] = deque(maxlen=TRACE_KEPT)

    # -- what tests do ---------------------------------------------------------------------------------------------

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Add the seed and the last events to any failure inside."""
        try:
            yield
        except AssertionError as error:
            events = "\n  ".join(self._trace)
            raise LawBroken(
                f"WEAVEMESH_SEED={self.seed}, step {self.steps}, t={self.now:.3f}: {error}\n  {events}"
            ) from error

    def at(self, when: float, action: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._heap, (when, self._order, action))

    def run(self, until: float) -> None:
        while self._heap and self._heap[0][0] <= until:
            self.now, _, action = heapq.heappop(self._heap)
            self.steps += 1
            action()
        self.now = until

    def start(self, host: Host) -> None:
        assert host.allocator is None
        host.life += 1
        host.allocator = self._build(host)
        host.tick_at = None
        self._note(host, "start")
        self._check_restart(host, host.allocator)
        self._perform(host, host.allocator)
        for interval, action in ((GOSSIP_INTERVAL_S, self._gossip), (REACHABLE_INTERVAL_S, self._tell_reachable)):
            self._repeat(host, host.life, interval, action)

    def crash(self, host: Host) -> None:
        """Gone, and with it all that was not on disk."""
        host.allocator = None
        host.life += 1
        host.waiting.clear()
        self._note(host, "crash")
        believed = self._build(host)
        host.ring, host.owned = None, self._mask(believed, host)

    def feed(self, host: Host, event: Input) -> None:
        """One input to a peer that is up; nothing happens to one that is down."""
        allocator = host.allocator
        if allocator is None:
            return
        self._note(host, repr(event))
        match event:
            case Allocate(ident, deadline) | Claim(ident, _, deadline):
                host.waiting[ident] = deadline
            case Release(ident):
                host.told.pop(ident, None)
            case RingReceived() | MessageReceived() | PeersReachable():
                pass
            case _:
                assert_never(event)
        allocator.receive(event, self.now)
        self._perform(host, allocator)

    def cut(self, sender: Host, receiver: Host) -> None:
        """Nothing goes from the one to the other any more; the other way is another cut."""
        self._cuts.add((sender.index, receiver.index))

    def heal(self) -> None:
        self._cuts.clear()

    def settle(self) -> None:
        """Heal all, start all, wait: rings are equal, nobody waits, no address is lost."""
        self.heal()
        self._loss = self.crash_rate = 0.0
        for host in self.hosts:
            if host.allocator is None:
                self.start(host)
        self.run(self.now + QUIET_S)
        allocators = self.allocators()
        assert len({allocator.digest() for allocator in allocators}) == 1, "the rings differ"
        assert len({allocator.ring for allocator in allocators}) == 1, "equal digests of rings that differ"
        assert all(allocator.status().unknown == 0 for allocator in allocators), "an address belongs to nobody"
        assert not any(allocator.status().findings for allocator in allocators), "something is wrong without a cause"
        self.assert_answered()

    def exhaust(self) -> None:
        """One peer asks until it is refused; then no address is left anywhere."""
        host = self.rng.choice(self.hosts)
        ident = ""
        while not ident or ident in host.told:
            self._order += 1
            ident = f"all{self._order}"
            self.feed(host, Allocate(ident, self.now + QUIET_S))
            while ident in host.waiting and self._heap:
                self.run(max(self.now, self._heap[0][0]))
        in_use = sum(len(allocator.allocations()) for allocator in self.allocators())
        assert in_use == self.universe.num_addresses - 2, "addresses are stranded"

    def assert_answered(self) -> None:
        for host in self.hosts:
            assert not host.waiting, f"{host.name} never answered {host.waiting}"

    def allocators(self) -> list[Allocator]:
        return [host.allocator for host in self.hosts if host.allocator is not None]

    # -- the network -----------------------------------------------------------------------------------------------

    def _post(self, sender: Host, receiver: Host, event: Input) -> None:
        for _ in range(2 if self.rng.random() < self._loss / 2 else 1):
            if self.rng.random() < self._loss or (sender.index, receiver.index) in self._cuts:
                continue
            delay_s = self.rng.uniform(*self._delay_s)
            if self.rng.random() < self._loss / 4:
                delay_s += self.rng.uniform(0, 10)
            self.at(self.now + delay_s, lambda: self.feed(receiver, event))

    def _gossip(self, host: Host, allocator: Allocator) -> None:
        """Anti-entropy: our state to one peer, and its state back if the digests differ."""
        other = self.rng.choice(self.hosts)
        if other.allocator is not None and other is not host and other.allocator.digest() != allocator.digest():
            self._post(host, other, RingReceived(host.name, allocator.state()))
            self._post(other, host, RingReceived(other.name, other.allocator.state()))

    def _tell_reachable(self, host: Host, _: Allocator) -> None:
        up = [
            other
            for other in self.hosts
            if other is not host
            and other.allocator is not None
            and {(host.index, other.index), (other.index, host.index)}.isdisjoint(self._cuts)
        ]
        self.feed(host, PeersReachable(tuple(other.name for other in up)))

    # -- one peer --------------------------------------------------------------------------------------------------

    def _build(self, host: Host) -> Allocator:
        rng = random.Random(self.seed * 1_000_003 + host.index * 1_009 + host.life)
        return Allocator(
            owner=host.name,
            universe=self.universe,
            founding=host.founding,
            snapshot=host.disk,
            rng=rng,
            now=self.now,
        )

    def _repeat(self, host: Host, life: int, interval: float, action: Callable[[Host, Allocator], None]) -> None:
        if host.allocator is None or host.life != life:
            return
        action(host, host.allocator)
        when = self.now + interval * self.rng.uniform(0.5, 1.5)
        self.at(when, lambda: self._repeat(host, life, interval, action))

    def _perform(self, host: Host, allocator: Allocator) -> None:
        self._check_step(host, allocator)
        for output in allocator.outputs():
            if self.rng.random() < self.crash_rate:
                self.crash(host)
                return
            self._perform_one(host, output)
        self._arm(host, allocator)

    def _perform_one(self, host: Host, output: Output) -> None:
        match output:
            case Persist(snapshot):
                host.disk = snapshot
            case Announce(payload):
                for other in self.hosts:
                    if other is not host:
                        self._post(host, other, RingReceived(host.name, payload))
            case Send(destination, payload):
                self._check_dialogue(host, destination)
                self._post(host, self._by_name[destination], MessageReceived(host.name, payload))
            case Allocated(ident, address):
                self._check_answer(host, ident)
                self._check_address(host, ident, address)
                host.told[ident] = address
            case Refused(ident, reason):
                self._check_answer(host, ident)
                assert "; " in reason, f"a refusal without a remedy: {reason}"
            case OwnershipChanged():
                pass
            case _:
                assert_never(output)

    def _arm(self, host: Host, allocator: Allocator) -> None:
        deadline = allocator.deadline()
        if deadline is None or (host.tick_at is not None and host.tick_at <= deadline):
            return
        assert deadline > self.now, "time stands still"
        host.tick_at = deadline
        life = host.life
        self.at(deadline, lambda: self._tick(host, life, deadline))

    def _tick(self, host: Host, life: int, when: float) -> None:
        if host.allocator is None or host.life != life or host.tick_at != when:
            return
        host.tick_at = None
        self._note(host, "tick")
        host.allocator.tick(self.now)
        self._perform(host, host.allocator)

    # -- the laws --------------------------------------------------------------------------------------------------

    def _check_step(self, host: Host, allocator: Allocator) -> None:
        """The structures are sound, versions go up only, and nobody else holds to own what this peer does."""
        ring = allocator.ring
        if ring is host.ring or ring is None:
            return
        violations = allocator.check()
        assert not violations, violations
        if host.ring is not None and host.ring.ring_id == ring.ring_id:
            assert host.ring.merge(ring.known()).ring == ring, f"{host.name} went back behind {host.ring}"
        host.ring = ring
        host.sends.clear()
        host.owned = self._mask(allocator, host)
        for other in self.hosts:
            if other is not host:
                twice = other.owned & host.owned
                assert not twice, f"{host.name} and {other.name} both own {self._first(twice)}"

    def _check_restart(self, host: Host, allocator: Allocator) -> None:
        allocations = allocator.allocations()
        for ident, address in host.told.items():
            assert allocations.get(ident) == address, f"{host.name} forgot {address} of {ident}"
        for ident, address in allocations.items():
            self._check_address(host, ident, address)
            host.told[ident] = address

    def _check_address(self, host: Host, ident: str, address: IPv4Address) -> None:
        for other in self.hosts:
            for holder, held in other.told.items():
                same = other is host and holder == ident
                assert same or held != address, f"{address}: {holder} at {other.name}, {ident} at {host.name}"
        ends = (self.universe.network_address, self.universe.broadcast_address)
        assert address in self.universe and address not in ends, f"{address} is reserved"

    def _check_answer(self, host: Host, ident: str) -> None:
        deadline = host.waiting.pop(ident, None)
        assert deadline is not None, f"{host.name} answered {ident} unasked"
        assert self.now <= deadline, f"{host.name} answered {ident} {self.now - deadline} s late"

    def _check_dialogue(self, host: Host, destination: Owner) -> None:
        times = [when for when in host.sends.get(destination, []) if when > self.now - 1.0] + [self.now]
        host.sends[destination] = times
        assert len(times) <= SENDS_MAX, f"{host.name} and {destination} talk without end"

    def _mask(self, allocator: Allocator, host: Host) -> int:
        base = int(self.universe.network_address)
        blocks = [Block.of(network) for network in allocator.owned(host.name)]
        return sum(((1 << block.size) - 1) << (block.start - base) for block in blocks)

    def _first(self, mask: int) -> IPv4Address:
        return self.universe[(mask & -mask).bit_length() - 1]

    def _note(self, host: Host, what: str) -> None:
        event = f"{self.now:.3f} {host.name} {what}"
        self.trace_checksum = crc32(event.encode(), self.trace_checksum)
        self._trace.append(event)
