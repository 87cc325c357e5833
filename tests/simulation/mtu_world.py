"""A World for the machine that finds MTUs: hosts with probers, and paths that lose, narrow, widen and are cut.

A heap of (when, order, action) on a virtual clock. Each direction of a path carries packets of so many octets, as
WireGuard fills them up, and loses the larger ones without a word.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address, IPv4Network

from weavemesh.overlay.mtu import MtuChanged, PathChanged, PathMtus, QuestionSent, SendSized
from weavemesh.overlay.plan import unproven_mtu
from weavemesh.overlay.probe import ProbeAnswered, ProbeName, Prober, ProbeTargets, SendProbe, TunnelsInUse
from weavemesh.overlay.sizing import FILL_OCTETS

SHORT_OCTETS = 41


@dataclass
class Host:
    """One agent, and what it has sent."""

    index: int
    most: int
    """Its device's MTU."""
    is_old: bool = False
    """It does not answer long questions, as a release that does not know them."""
    prober: Prober | None = None
    mtus: PathMtus | None = None
    used: frozenset[int] = frozenset()
    life: int = 0
    next_tick: float = -1.0
    sent: list[float] = field(default_factory=list)
    """When questions and answers went out."""
    changes: list[tuple[float, ProbeName, int]] = field(default_factory=list)
    """When the MTU to whom became how much."""

    @property
    def name(self) -> ProbeName:
        return ProbeName(f"p{self.index:03}")

    @property
    def address(self) -> IPv4Address:
        return IPv4Address(f"10.{32 + self.index // 256}.{self.index % 256}.1")

    @property
    def network(self) -> IPv4Network:
        return IPv4Network((self.address, 24), strict=False)


@dataclass
class Path:
    """One direction between two hosts."""

    capacity: int
    """Octets of the largest packet inside the tunnel, filled up, that passes."""
    delay_s: float
    loss: float = 0.0
    cut_until: float = 0.0
    """Nothing passes before."""


class World:
    """All hosts and the paths between them."""

    def __init__(self, *, seed: int, hosts: int, most: int = 1420, capacity: int = 1440, delay_s: float = 0.01) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self.hosts = [Host(index, most) for index in range(hosts)]
        self.paths = {
            (one, other): Path(capacity, delay_s) for one in range(hosts) for other in range(hosts) if one != other
        }
        self._by_address = {host.address: host for host in self.hosts}

    # -- time -----------------------------------------------------------------------------------------

    def at(self, when: float, action: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._heap, (when, self._order, action))

    def run(self, until: float, check: Callable[["World"], None] | None = None) -> None:
        """Everything up to this time; `check` after each step."""
        while self._heap and self._heap[0][0] <= until:
            self.now, _, action = heapq.heappop(self._heap)
            action()
            if check is not None:
                check(self)
        self.now = until

    # -- hosts ----------------------------------------------------------------------------------------

    def start(self, host: Host) -> None:
        """An agent begins to run, and adopts what the routes of a former life hold."""
        adopted = {}
        if host.mtus is not None:
            adopted = {other.network: host.mtus.mtu(other.name) for other in self.hosts if other is not host}
        host.life += 1
        host.next_tick = -1.0
        host.prober = Prober(rng=self.rng)
        host.mtus = PathMtus(most=host.most, unproven=unproven_mtu(host.most), adopted=adopted, rng=self.rng)
        targets = ProbeTargets({other.name: other.address for other in self.hosts if other is not host})
        host.mtus.receive(targets, self.now)
        host.prober.receive(targets, self.now)
        self.use(host, host.used)

    def use(self, host: Host, others: frozenset[int]) -> None:
        """These tunnels of a host that runs are in use from now on."""
        host.used = others
        assert host.prober is not None and host.mtus is not None
        used = TunnelsInUse(frozenset(self.hosts[other].name for other in others))
        host.mtus.receive(used, self.now)
        host.prober.receive(used, self.now)
        self._after(host)

    def change_path(self, host: Host, other: Host) -> None:
        """The host learns that packets go another way."""
        assert host.mtus is not None
        host.mtus.receive(PathChanged(other.name), self.now)
        self._after(host)

    def _after(self, host: Host) -> None:
        assert host.prober is not None and host.mtus is not None
        for output in host.prober.outputs():
            if isinstance(output, SendProbe):
                # As `weavemesh.probing` does.
                octets = 0 if output.is_short else host.mtus.question_octets(output.peer)
                host.mtus.receive(QuestionSent(output.peer, output.nonce, octets), self.now)
                self._ask(host, output.address, output.nonce, octets)
        for sized in host.mtus.outputs():
            match sized:
                case SendSized(address=address, nonce=nonce, octets=octets):
                    self._ask(host, address, nonce, octets)
                case MtuChanged(peer=peer, octets=octets):
                    host.changes.append((self.now, peer, octets))
        due = [when for when in (host.prober.deadline(), host.mtus.deadline()) if when is not None]
        if due and (host.next_tick <= self.now or min(due) < host.next_tick):
            host.next_tick = max(min(due), self.now)
            self.at(host.next_tick, partial(self._tick, host, host.life, host.next_tick))

    def _tick(self, host: Host, life: int, when: float) -> None:
        if host.life != life or host.next_tick != when:
            return
        assert host.prober is not None and host.mtus is not None
        host.next_tick = -1.0
        host.prober.tick(self.now)
        host.mtus.tick(self.now)
        self._after(host)

    # -- packets --------------------------------------------------------------------------------------

    def _ask(self, host: Host, address: IPv4Address, nonce: int, octets: int) -> None:
        other = self._by_address[address]
        host.sent.append(self.now)
        self._travel(host, other, octets, partial(self._asked, host, other, nonce, octets))

    def _travel(self, host: Host, other: Host, octets: int, arrive: Callable[[], None]) -> None:
        path = self.paths[host.index, other.index]
        filled = -(-max(octets, SHORT_OCTETS) // FILL_OCTETS) * FILL_OCTETS
        if self.now < path.cut_until or min(filled, host.most) > path.capacity or self.rng.random() < path.loss:
            return
        self.at(self.now + path.delay_s, arrive)

    def _asked(self, host: Host, other: Host, nonce: int, octets: int) -> None:
        if other.prober is None or (other.is_old and octets > 0):
            return
        other.sent.append(self.now)
        self._travel(other, host, SHORT_OCTETS, partial(self._answered, host, other, nonce))

    def _answered(self, host: Host, other: Host, nonce: int) -> None:
        assert host.prober is not None and host.mtus is not None
        answer = ProbeAnswered(nonce, other.address)
        host.mtus.receive(answer, self.now)
        host.prober.receive(answer, self.now)
        self._after(host)

    # -- questions ------------------------------------------------------------------------------------

    def mtu(self, one: Host, other: Host) -> int:
        """What `one` takes to pass to the other."""
        assert one.mtus is not None
        return one.mtus.mtu(other.name)

    def best(self, one: Host, other: Host) -> int:
        """What does pass."""
        capacity = self.paths[one.index, other.index].capacity
        return one.most if capacity >= one.most else capacity // FILL_OCTETS * FILL_OCTETS
