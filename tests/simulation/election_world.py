"""The World of elections: peers on one virtual clock, joined by a network that loses, doubles, reorders and cuts.

A heap of (when, order, action); nothing else makes time pass. News goes to everybody, and now and then each peer tells
somebody all that it knows; a peer hears too late who is reachable. A crash strikes before news is on disk or after, and
a restart goes on from the disk. The laws are checked whenever a peer was touched.
"""

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from zlib import crc32

from ipam_crdt.election import Election
from ipam_crdt.electorate import voters
from ipam_crdt.roster import Owner
from ipam_crdt.vote import Ballot, Decree, Electorate, Vote

GOSSIP_INTERVAL_S = 1.0
REACHABLE_INTERVAL_S = 0.5
PATIENCE_S = 100.0
"""Three of the longest pauses between attempts: by then a healed mesh has decided."""
TRACE_KEPT = 60


class LawBroken(AssertionError):
    """A law does not hold; the message shows the last events and the seed."""


@dataclass(eq=False)
class Host:
    """One peer: its command line, what runs, what is on its disk, and what others may have heard of it."""

    index: int
    name: Owner
    electorate: Electorate | None
    targets: tuple[int, ...] = ()
    """The hosts whose addresses it was given."""
    election: Election | None = None
    disk: bytes | None = None
    life: int = 0
    tick_at: float | None = None
    told: Vote | None = None
    """The last version of its vote that it may have told."""


@dataclass(frozen=True)
class Network:
    """How bad it is."""

    loss: float = 0.0
    delay_s: tuple[float, float] = (0.001, 0.01)
    crash_rate: float = 0.0
    """How often news ends in a crash."""


class World:
    """Peers, network and clock; all that is random comes from the seed."""

    def __init__(self, *, seed: int, network: Network) -> None:
        self.rng = random.Random(seed)
        self.seed = seed
        self.now = 0.0
        self.steps = 0
        self.trace_checksum = 0
        self.network = network
        self.hosts: list[Host] = []
        self.decrees: list[Decree] = []
        """All that anybody has ever held to be decided."""
        self._cuts: set[tuple[int, int]] = set()
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self._trace: deque[str] = deque(maxlen=TRACE_KEPT)

    # -- what tests do ---------------------------------------------------------------------------------------------

    def add(self, electorate: Electorate | None, targets: tuple[int, ...] = ()) -> Host:
        host = Host(len(self.hosts), Owner(f"host{len(self.hosts)}"), electorate, targets)
        self.hosts.append(host)
        return host

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

    def run(self, until: float, *, stop: Callable[[], bool] = lambda: False) -> None:
        while self._heap and self._heap[0][0] <= until and not stop():
            self.now, _, action = heapq.heappop(self._heap)
            self.steps += 1
            action()
        self.now = self.now if stop() else until

    def start(self, host: Host) -> None:
        """Start it, unless it is up."""
        if host.election is not None:
            return
        host.life += 1
        life = host.life
        host.tick_at = None
        host.election = Election(
            host.name,
            electorate=host.electorate,
            snapshot=host.disk,
            rng=random.Random(self.rng.getrandbits(64)),
            now=self.now,
        )
        self._note(host, "start")
        self._perform(host)
        for interval, action in ((GOSSIP_INTERVAL_S, self._gossip), (REACHABLE_INTERVAL_S, self._look_around)):
            self._repeat(host, life, interval, action)

    def crash(self, host: Host) -> None:
        """Gone, and with it all that was not on disk."""
        host.election = None
        host.life += 1
        self._note(host, "crash")

    def feed(self, host: Host, payload: bytes) -> None:
        """A payload for a peer that is up; nothing happens to one that is down."""
        if host.election is not None:
            self._note(host, f"hears {crc32(payload):08x}")
            host.election.receive(payload, self.now)
            self._perform(host)

    def cut(self, sender: Host, receiver: Host) -> None:
        """Nothing goes from the one to the other any more; the other way is another cut."""
        self._cuts.add((sender.index, receiver.index))

    def heal(self) -> None:
        self._cuts.clear()

    def is_linked(self, one: Host, other: Host) -> bool:
        ways = {(one.index, other.index), (other.index, one.index)}
        return one.election is not None and other.election is not None and not ways & self._cuts

    def undecided(self) -> list[Host]:
        return [host for host in self.hosts if host.election is not None and host.election.decision is None]

    # -- the network -----------------------------------------------------------------------------------------------

    def _post(self, sender: Host, receiver: Host, payload: bytes) -> None:
        loss = self.network.loss
        for _ in range(2 if self.rng.random() < loss / 2 else 1):
            if self.rng.random() < loss or (sender.index, receiver.index) in self._cuts:
                continue
            delay_s = self.rng.uniform(*self.network.delay_s)
            if self.rng.random() < loss / 4:
                delay_s += self.rng.uniform(0, 10)
            self.at(self.now + delay_s, lambda: self.feed(receiver, payload))

    def _gossip(self, host: Host) -> None:
        assert host.election is not None
        receiver = self.rng.choice(self.hosts)
        if receiver is not host:
            self._tell(host, [receiver], host.election.state())

    def _look_around(self, host: Host) -> None:
        assert host.election is not None
        linked = [other for other in self.hosts if other is not host and self.is_linked(host, other)]
        host.election.set_known([other.name for other in linked if other.index in host.targets], self.now)
        host.election.set_reachable([other.name for other in linked], self.now)
        self._perform(host)

    def _repeat(self, host: Host, life: int, interval: float, action: Callable[[Host], None]) -> None:
        def act() -> None:
            if host.life == life:
                action(host)
                self._repeat(host, life, interval, action)

        self.at(self.now + interval * self.rng.uniform(0.5, 1.5), act)

    # -- one peer --------------------------------------------------------------------------------------------------

    def _perform(self, host: Host) -> None:
        """Persist news, tell it, act upon the decision, re-arm the timer; a crash may come in between."""
        election = host.election
        assert election is not None
        self._check(host, election)
        news = election.take_news()
        if news is not None:
            if self.rng.random() < self.network.crash_rate:
                self.crash(host)
                return
            host.disk = news
            if self.rng.random() < self.network.crash_rate:
                self.crash(host)
                return
            self._tell(host, [other for other in self.hosts if other is not host], news)
        decision = election.decision
        if decision is not None and decision not in self.decrees:
            self.decrees.append(decision)
            self._note(host, f"decides {decision}")
        self._arm(host, election)

    def _tell(self, host: Host, receivers: list[Host], payload: bytes) -> None:
        assert host.election is not None
        host.told = host.election.vote()
        for receiver in receivers:
            self._post(host, receiver, payload)

    def _arm(self, host: Host, election: Election) -> None:
        deadline = election.deadline()
        if deadline is None or deadline == host.tick_at:
            return
        host.tick_at = deadline
        life = host.life

        def tick() -> None:
            if host.life == life and host.election is not None and host.tick_at == deadline:
                host.tick_at = None
                host.election.tick(self.now)
                self._perform(host)

        self.at(max(deadline, self.now), tick)

    def _check(self, host: Host, election: Election) -> None:
        """The laws of safety for one peer."""
        assert election.check() == []
        vote = election.vote()
        if host.electorate is None:
            assert vote is None and election.decision is None and election.deadline() is None, "an observer votes"
        elif host.told is not None:
            assert vote is not None and host.told.promised <= vote.promised, f"{host.name} broke its promise"
            assert host.told.accepted_ballot <= vote.accepted_ballot, f"{host.name} forgot what it accepted"
            assert {*host.told.known} <= {*vote.known}, f"{host.name} forgot a name"
        self._check_votes(election)
        if election.decision is not None:
            assert self.decrees in ([], [election.decision]), f"a second decree at {host.name}: {election.decision}"
            assert election.excuse() == ""
        else:
            assert election.excuse(), "no decision and no reason"

    def _check_votes(self, election: Election) -> None:
        """In one ballot is one decree, and where a majority has accepted one it is what was decided."""
        decrees: dict[Ballot, Decree] = {}
        own, votes = election.vote(), election.votes()
        for vote in votes:
            if vote.accepted is not None:
                decree = decrees.setdefault(vote.accepted.ballot, vote.accepted.decree)
                assert decree == vote.accepted.decree, "two decrees in one ballot"
        if own is None:
            return
        accepted = [vote.accepted for vote in voters(own, votes) if vote.accepted is not None]
        for one in accepted:
            if accepted.count(one) >= own.electorate.quorum:
                assert one.decree == election.decision, f"a majority has accepted {one}, but decided {self.decrees}"

    def _note(self, host: Host, event: str) -> None:
        line = f"{self.now:.3f} {host.name} {event}"
        self.trace_checksum = crc32(line.encode(), self.trace_checksum)
        self._trace.append(line)
