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
from itertools import combinations
from typing import assert_never
from zlib import crc32

from ipam_crdt import (
    Allocate,
    Allocated,
    Allocator,
    Announce,
    Claim,
    Clear,
    Electorate,
    Fenced,
    InitialPeers,
    Input,
    Leave,
    MessageReceived,
    Output,
    Owner,
    OwnershipChanged,
    PeersReachable,
    Persist,
    Refused,
    Release,
    Remove,
    RingReceived,
    Send,
)
from ipam_crdt.cidr import Block
from ipam_crdt.ring import ROUND_BITS, Ring
from ipam_crdt.wire import Agree, decode_message, digest_of_roster

GOSSIP_INTERVAL_S = 2.0
REACHABLE_INTERVAL_S = 1.0
"""How late a peer learns who is reachable: in between it asks the dead."""
QUIET_S = 30.0
SENDS_MAX = 12
"""Messages from one peer to another in a second without news: a few claims, their answers, and no endless dialogue."""
STEPS_MAX = 150_000
"""Several times what the busiest seeds need."""
TRACE_KEPT = 60


class LawBroken(AssertionError):
    """A law does not hold; the message shows the last events, `World.reporting` adds the seed."""


@dataclass(eq=False)
class Host:
    """One peer: what runs, what is on its disk, and what its pods were told."""

    index: int
    name: Owner
    electorate: Electorate | None
    allocator: Allocator | None = None
    disk: bytes | None = None
    life: int = 0
    tick_at: float | None = None
    ring: Ring | None = None
    """The ring at the last check; versions may not go back behind it while the peer lives."""
    owned: int = 0
    """The addresses it holds to be its own, as a bit mask; of a peer that is down, what its disk says."""
    removed: frozenset[Owner] = frozenset()
    """Whom it knows to be removed; of a peer that is down, what its disk says."""
    is_excused: bool = False
    """It lost a block that was settled before any member had heard of it: see `World._excuse`."""
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
        self.has_removals = False
        self.is_law_suspended = False
        """Somebody runs on an old disk, or there are two meshes, so that an address may well have two owners."""
        self.is_split = False
        """Two of whom neither had heard of the other have settled one estate: all find the conflict, rightly."""
        self.hosts = [
            Host(index, self.name_of(index), None if index else Electorate.addressed(0)) for index in range(host_count)
        ]
        self.settlements: dict[int, list[tuple[Ring, frozenset[Owner]]]] = {}
        """Round → each ring made by passing an estate on in it, and of whom those had heard who agreed."""
        self._heard_of: dict[tuple[int, Owner, bytes], frozenset[Owner]] = {}
        """Round, executor and digest of the roster → all of whom anybody had heard who gave that word."""
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

    def name_of(self, index: int) -> Owner:
        """The name of a host."""
        return Owner(f"host{index}")

    def at(self, when: float, action: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._heap, (when, self._order, action))

    def run(self, until: float) -> None:
        while self._heap and self._heap[0][0] <= until:
            self.now, _, action = heapq.heappop(self._heap)
            self.steps += 1
            assert self.steps < STEPS_MAX, "it never comes to rest"
            action()
        self.now = until

    def start(self, host: Host) -> None:
        assert host.allocator is None
        host.life += 1
        host.allocator = self._build(host)
        host.tick_at = None
        self._note(host, "start")
        self._check_restart(host, host.allocator)
        life = host.life
        self._join(host)
        self._perform(host, host.allocator)
        for interval, action in ((GOSSIP_INTERVAL_S, self._gossip), (REACHABLE_INTERVAL_S, self._tell_reachable)):
            self._repeat(host, life, interval, action)

    def crash(self, host: Host) -> None:
        """Gone, and with it all that was not on disk."""
        host.allocator = None
        host.life += 1
        host.waiting.clear()
        self._note(host, "crash")
        believed = self._build(host)
        host.ring, host.owned, host.removed = None, self._mask(believed, host), believed.roster.removed

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
            case RingReceived() | MessageReceived() | PeersReachable() | InitialPeers():
                pass
            case Remove() | Fenced() | Leave() | Clear():
                pass
            case _:
                assert_never(event)
        allocator.receive(event, self.now)
        self._perform(host, allocator)

    def cut(self, sender: Host, receiver: Host) -> None:
        """Nothing goes from the one to the other any more; the other way is another cut."""
        self._cuts.add((sender.index, receiver.index))

    def mend(self, one: Host, other: Host) -> None:
        """Both ways between these two are open again."""
        self._cuts -= {(one.index, other.index), (other.index, one.index)}

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
        if any(self._running(one).ring != self._running(other).ring for one, other in self._pairs()):
            # Once in some thousand worlds chance has never let two of them exchange their rings.
            self.run(self.now + 2 * QUIET_S)
        for host in self.members():
            status = self._running(host).status()
            assert status.unknown == 0 or host.removed, "an address belongs to nobody"
            assert not status.unsettled, status.unsettled
            assert host.is_excused or self.is_split or not status.findings, (
                f"{host.name} finds without a cause: {status.findings}"
            )
        for one, other in self._pairs():
            left, right = self._running(one), self._running(other)
            assert left.ring == right.ring, f"the rings of {one.name} and {other.name} differ"
            assert left.digest() == right.digest(), "unequal digests of equal rings"
        self.assert_answered()

    def removed(self) -> frozenset[Owner]:
        """Everyone of whom any peer knows, or has on its disk, that he was removed."""
        return frozenset().union(*(host.removed for host in self.hosts))

    def members(self) -> list[Host]:
        """The hosts that run and do not know of their removal."""
        return [host for host in self.hosts if host.allocator is not None and not host.allocator.is_removed]

    def _pairs(self) -> Iterator[tuple[Host, Host]]:
        """Members neither of which takes the other for removed: some may have removed each other, and then part."""
        for one, other in combinations(self.members(), 2):
            if one.name not in other.removed and other.name not in one.removed:
                yield one, other

    def _running(self, host: Host) -> Allocator:
        assert host.allocator is not None
        return host.allocator

    def exhaust(self) -> None:
        """One peer asks until it is refused; then no address is left anywhere."""
        members = self.members()
        is_one_mesh = len([*self._pairs()]) == len(members) * (len(members) - 1) // 2
        for host in members:
            status = self._running(host).status()
            if host.is_excused or status.unknown or status.quarantined:
                return
        if not members or not is_one_mesh:
            return
        host = self.rng.choice(members)
        ident = ""
        while not ident or ident in host.told:
            self._order += 1
            ident = f"all{self._order}"
            self.feed(host, Allocate(ident, self.now + QUIET_S))
            while ident in host.waiting and self._heap:
                self.run(max(self.now, self._heap[0][0]))
        in_use = sum(len(self._running(host).allocations()) for host in members)
        assert in_use == self.universe.num_addresses - 2, "addresses are stranded"

    def assert_answered(self) -> None:
        for host in self.hosts:
            assert not host.waiting, f"{host.name} never answered {host.waiting}"

    def allocators(self) -> list[Allocator]:
        return [host.allocator for host in self.hosts if host.allocator is not None]

    # -- the network -----------------------------------------------------------------------------------------------

    def _join(self, host: Host) -> None:
        """A peer that starts takes part in the network."""

    def _announce(self, host: Host, payload: bytes) -> None:
        for other in self.hosts:
            if other is not host:
                self._post(host, other, RingReceived(host.name, payload))

    def _send(self, sender: Host, receiver: Host, payload: bytes) -> None:
        self._post(sender, receiver, MessageReceived(sender.name, payload))

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
            electorate=host.electorate,
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
                self._announce(host, payload)
            case Send(destination, payload):
                self._check_dialogue(host, destination)
                self._note_agreement(host, destination, payload)
                self._send(host, self._by_name[destination], payload)
            case Allocated(ident, address):
                self._check_answer(host, ident)
                self._check_address(host, ident, address)
                host.told[ident] = address
            case Refused(ident, reason):
                self._check_answer(host, ident)
                assert "; " in reason, f"a refusal without a remedy: {reason}"
            case OwnershipChanged():
                self._ownership_changed(host)
            case _:
                assert_never(output)

    def _ownership_changed(self, host: Host) -> None:
        """What an agent does when ranges or removals have changed."""

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
            assert host.ring.merge(ring.known(), ring.roster).ring == ring, f"{host.name} went back behind {host.ring}"
        self._note_settlements(host, ring)
        self._check_losses(host, ring)
        host.ring = ring
        host.sends.clear()
        host.owned, host.removed = self._mask(allocator, host), ring.roster.removed
        removed = self.removed()
        for other in self.hosts if not self.is_law_suspended else ():
            twice = other.owned & host.owned
            if twice and other is not host:
                is_excused = self._excuse(host, other, twice) or not removed.isdisjoint((host.name, other.name))
                assert is_excused, f"{host.name} and {other.name} both own {self._first(twice)}"

    def _check_losses(self, host: Host, ring: Ring) -> None:
        """By a settlement of others nobody loses anything, unless he was removed or nobody had heard of him."""
        if host.ring is None or host.name in self.removed() or self.is_law_suspended:
            return
        for block, before in host.ring.entries_of(host.name):
            for lost, after in ring.within(block):
                if host.name in (after.owner, after.giver) or after.round == before.round:
                    continue
                settled = self.settlements[after.round]
                heard_of = [names for made, names in settled if made.entry_at(lost.start).title.round]
                assert any(host.name not in names for names in heard_of), f"{host.name} lost {lost} though known"
                host.is_excused = True

    def _note_settlements(self, host: Host, ring: Ring) -> None:
        """Whoever first knows a title of a settlement has made it."""
        before = set() if host.ring is None else set(host.ring.entries)
        settled = [entry for entry in ring.entries if not entry.title.version % 2**ROUND_BITS and entry not in before]
        for round_ in {entry.title.round for entry in settled} - {0}:
            known = self.settlements.setdefault(round_, [])
            if not any(
                entry.title.round == round_ and earlier.holds(entry) for entry in settled for earlier, _ in known
            ):
                digests = (digest_of_roster(ring.roster), b"")
                words = [self._heard_of.get((round_, host.name, digest), frozenset()) for digest in digests]
                known.append((ring, ring.roster.members.union(*words)))

    def _note_agreement(self, host: Host, executor: Owner, payload: bytes) -> None:
        if b"agree" in payload[:16] and host.ring is not None:
            message = decode_message(payload)
            if isinstance(message, Agree):
                word = (message.round, executor, message.digest)
                self._heard_of[word] = self._heard_of.get(word, frozenset()) | host.ring.roster.members

    def _excuse(self, one: Host, other: Host, twice: int) -> bool:
        """A peer that joined through removed ones, unheard of by all who agreed, counts as removed with them.

        So each address that both own was settled in favour of one of them when nobody had heard of the other.
        """
        while twice:
            address = int(self._first(twice))
            titles = {host: self._ring_of(host).entry_at(address).title for host in (one, other)}
            loser, winner = sorted(titles, key=lambda host: titles[host])
            settled = self.settlements.get(titles[winner].round, [])
            made = [(ring.entry_at(address).title, names) for ring, names in settled]
            by_it = [names for title, names in made if title == titles[winner]]
            heard_of = by_it or [names for title, names in made if title.round]  # it was granted on since
            if all(loser.name in names for names in heard_of):
                return False
            loser.is_excused = True
            self.is_split |= titles[winner].round == titles[loser].round
            twice &= twice - 1
        return True

    def _ring_of(self, host: Host) -> Ring:
        ring = host.ring if host.allocator is not None and host.ring is not None else self._build(host).ring
        assert ring is not None
        return ring

    def _check_restart(self, host: Host, allocator: Allocator) -> None:
        allocations = allocator.allocations()
        for ident, address in host.told.items():
            assert allocations.get(ident) == address, f"{host.name} forgot {address} of {ident}"
        for ident, address in allocations.items():
            self._check_address(host, ident, address)
            host.told[ident] = address

    def _check_address(self, host: Host, ident: str, address: IPv4Address) -> None:
        removed = self.removed()
        for other in self.hosts:
            is_void = (
                self.is_law_suspended
                or not removed.isdisjoint((host.name, other.name))
                or host.is_excused
                or other.is_excused
            )
            if other is not host and is_void:
                continue
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
