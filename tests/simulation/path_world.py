"""A World for the path machine: hosts behind NATs of every kind, a network that loses and is cut, crashes.

A heap of (when, order, action) on a virtual clock. NATs are modelled as `tests.lab.nat` makes them for real; each host
has a model of a WireGuard device: it follows the other end's packets, needs a handshake before it carries anything, and
tries one to an endpoint at most every 5 s unless it is told to begin anew. Tunnels are asked by the real `Prober`.
"""

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address
from math import inf

from gossip import PeerName
from tests.lab.nat import NatKind
from weavemesh.overlay.path import Paths
from weavemesh.overlay.pathevent import (
    CallHeard,
    DeviceSeen,
    Knock,
    KnockAnswered,
    KnockHeard,
    PathInput,
    PathPeer,
    PathPeers,
    SeenAsChanged,
    SendCall,
    SetEndpoint,
    TunnelAnswered,
    TunnelSilent,
)
from weavemesh.overlay.probe import (
    ProbeAnswered,
    ProbeAtOnce,
    ProbeName,
    Prober,
    ProbeTargets,
    SendProbe,
    TunnelAlive,
    TunnelDead,
    TunnelsInUse,
)
from weavemesh.overlay.relay import BindAnswer, BindHeard, End, Forwarding, Relay
from weavemesh.overlay.state import Endpoint, IPAddress

PORT = 6783
RELAY_PORTS = range(26783, 26911)
MAPPING_LIVES_S = 30.0
HANDSHAKE_AGAIN_S = 5.0
DEVICE_SEEN_EVERY_S = 1.0
TRACE_KEPT = 80


@dataclass
class Nat:
    """A translator in front of one host, or none."""

    kind: NatKind
    outside: IPv4Address
    inside: IPv4Address
    rng: random.Random
    ports: dict[object, int] = field(default_factory=dict)
    used_at: dict[int, float] = field(default_factory=dict)
    spoken_to: dict[tuple[int, object], float] = field(default_factory=dict)

    def outward(self, destination: Endpoint, now: float) -> Endpoint:
        """Where the host's packet to there is seen to come from."""
        if self.kind == "none":
            return Endpoint(self.outside, PORT)
        key = destination if self.kind == "symmetric" else None
        port = self.ports.get(key)
        if port is None or (key is not None and now - self.used_at[port] > MAPPING_LIVES_S):
            self.ports[key] = port = self.rng.randint(30000, 60000) if key else 20000
        self.used_at[port] = self.spoken_to[(port, destination)] = self.spoken_to[(port, destination.address)] = now
        return Endpoint(self.outside, port)

    def inward(self, source: Endpoint, port: int, now: float) -> bool:
        """Whether a packet to this outside port gets in."""
        if self.kind == "none":
            return True
        if port not in self.used_at or now - self.used_at[port] > MAPPING_LIVES_S:
            return False
        if self.kind == "full-cone":
            return True
        since = self.spoken_to.get((port, source.address if self.kind == "address-restricted" else source))
        return since is not None and now - since <= MAPPING_LIVES_S


@dataclass
class Tunnel:
    """What a device knows of one peer."""

    endpoint: Endpoint | None = None
    has_session: bool = False
    tried_at: float = -1e9


@dataclass
class Host:
    """One machine: its device outlives its agent."""

    index: int
    name: PeerName
    nat: Nat
    forwards: bool
    is_up: bool = True
    """The machine, with all on it."""
    lives: int = 0
    paths: Paths | None = None
    prober: Prober | None = None
    relay: Relay | None = None
    forwardings: tuple[Forwarding, ...] = ()
    device: dict[PeerName, Tunnel] = field(default_factory=dict)
    next_tick: float = -1.0
    knocks: list[float] = field(default_factory=list)
    changes: dict[PeerName, list[float]] = field(default_factory=dict)

    @property
    def overlay_address(self) -> IPv4Address:
        return IPv4Address(f"10.32.{self.index}.1")


@dataclass(frozen=True)
class Packet:
    """What goes over the underlay."""

    kind: str
    sender: PeerName
    receiver: PeerName
    content: tuple[object, ...] = ()


class World:
    """All hosts and the network between them."""

    def __init__(
        self,
        *,
        seed: int,
        kinds: list[NatKind],
        delay_s: tuple[float, float] = (0.002, 0.02),
        loss: float = 0.0,
        forwards: list[bool] | None = None,
    ) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self.delay_s, self.loss = delay_s, loss
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self.cut: set[tuple[int, int]] = set()
        """Directed: packets of the first to the second are lost."""
        self.deaf: set[frozenset[int]] = set()
        """Pairs between which nothing is said over the mesh."""
        self.distance: dict[tuple[int, int], float] = {}
        self.trace: deque[str] = deque(maxlen=TRACE_KEPT)
        self.hosts: list[Host] = []
        self.steps = 0
        self.touched: Host | None = None
        """Whose machine has put something out in this step."""
        for index, kind in enumerate(kinds):
            outside = IPv4Address(f"198.51.100.{index + 1}")
            inside = outside if kind == "none" else IPv4Address(f"10.0.{index}.2")
            nat = Nat(kind, outside, inside, self.rng)
            willing = True if forwards is None else forwards[index]
            self.hosts.append(Host(index, PeerName(f"p{index:02}"), nat, willing))
        self.by_name = {host.name: host for host in self.hosts}
        self.by_address: dict[IPAddress, Host] = {host.nat.outside: host for host in self.hosts}
        for one in range(len(kinds)):
            for other in range(one):
                self.distance[one, other] = self.distance[other, one] = self.rng.uniform(*delay_s)

    # -- time -----------------------------------------------------------------------------------------

    def at(self, when: float, action: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._heap, (when, self._order, action))

    def run(self, until: float, check: Callable[["World"], None] | None = None) -> None:
        """Everything up to this time; `check` after each step."""
        while self._heap and self._heap[0][0] <= until:
            self.now, _, action = heapq.heappop(self._heap)
            self.steps += 1
            action()
            if check is not None and self.touched is not None:
                check(self)
            self.touched = None
        self.now = until

    # -- hosts ----------------------------------------------------------------------------------------

    def start(self, host: Host) -> None:
        """An agent begins to run; what the device had stays."""
        if host.paths is not None or not host.is_up:
            return
        host.lives += 1
        host.paths = Paths(name=host.name, nonce=host.lives << 40)
        host.prober = Prober(rng=self.rng)
        host.relay = Relay(willing=host.forwards)
        self._note(host, "starts")
        for other in self.hosts:
            self.at(self.now + self.rng.uniform(0.01, 0.1), partial(self.tell, other))
        self.at(self.now + 0.05, partial(self._look_at_device, host, host.lives))

    def stop(self, host: Host) -> None:
        """The agent ends; the device stays."""
        host.paths = host.prober = host.relay = None
        self._note(host, "ends")
        for other in self.hosts:
            self.at(self.now + 1.0, partial(self.tell, other))

    def die(self, host: Host) -> None:
        """The machine ends, and its device and forwardings with it."""
        self.stop(host)
        host.is_up = False
        host.device.clear()
        host.forwardings = ()

    def tell(self, host: Host) -> None:
        """What the mesh tells a host of all others now."""
        if host.paths is None or host.prober is None:
            return
        peers = {}
        for other in self.hosts:
            if other is host or other.lives == 0:
                continue
            seen = other.paths.seen.endpoints() if other.paths else ()
            endpoints = tuple(dict.fromkeys((*seen, Endpoint(other.nat.inside, PORT))))
            ports = RELAY_PORTS if other.forwards else range(0)
            peers[other.name] = PathPeer(endpoints, ports, self._can_talk(host, other))
            host.device.setdefault(other.name, Tunnel())
        self.feed(host, PathPeers(peers))
        addresses = {ProbeName(name): self.by_name[name].overlay_address for name in peers}
        host.prober.receive(ProbeTargets(addresses), self.now)
        host.prober.receive(TunnelsInUse(frozenset(addresses)), self.now)
        self._after(host)

    def feed(self, host: Host, event: PathInput) -> None:
        if host.paths is not None:
            host.paths.receive(event, self.now)
            self._after(host)

    def _look_at_device(self, host: Host, life: int) -> None:
        if host.paths is None or host.lives != life:
            return
        endpoints = {name: tunnel.endpoint for name, tunnel in host.device.items() if tunnel.endpoint}
        self.feed(host, DeviceSeen(endpoints))
        self.at(self.now + DEVICE_SEEN_EVERY_S, partial(self._look_at_device, host, life))

    def _can_talk(self, one: Host, other: Host) -> bool:
        return one.paths is not None and other.paths is not None and self._are_joined(one, other)

    def _are_joined(self, one: Host, other: Host) -> bool:
        """Control links over others lead there: all who run and do not count as deaf to each other pass words on."""
        seen, waiting = {one.index}, [one]
        while waiting:
            here = waiting.pop()
            for host in self.hosts:
                if host.index not in seen and host.paths and frozenset((here.index, host.index)) not in self.deaf:
                    seen.add(host.index)
                    waiting.append(host)
        return other.index in seen

    def _after(self, host: Host) -> None:
        assert host.paths is not None and host.prober is not None and host.relay is not None
        busy = True
        while busy:
            busy = False
            for output in host.paths.outputs():
                busy = True
                self.touched = host
                self._perform(host, output)
            for asked in host.prober.outputs():
                busy = True
                self._perform_probe(host, asked)
            for answer in host.relay.outputs():
                busy = True
                if isinstance(answer, BindAnswer):
                    content = (answer.nonce, answer.end.source, answer.both_bound, answer.other_uses, answer.refused)
                    packet = Packet("answer", host.name, answer.peer, content)
                    self._send(host, answer.end.source, packet, port=answer.end.local.port)
                else:
                    host.forwardings = host.relay.forwardings()
        sleeps_until = inf if (when := host.paths.deadline()) is None else when
        assert all(way.wake_at() >= sleeps_until for way in host.paths._ways.values()), "it would oversleep"
        due = [t for t in (host.paths.deadline(), host.prober.deadline(), host.relay.deadline()) if t is not None]
        if due and (host.next_tick <= self.now or min(due) < host.next_tick):
            host.next_tick = max(min(due), self.now)
            self.at(host.next_tick, partial(self._tick, host, host.lives, host.next_tick))

    def _tick(self, host: Host, life: int, when: float) -> None:
        if host.paths is None or host.lives != life or host.next_tick != when:
            return
        assert host.prober is not None and host.relay is not None
        host.next_tick = -1.0
        host.paths.tick(self.now)
        host.prober.tick(self.now)
        host.relay.tick(self.now)
        self._after(host)

    def _perform(self, host: Host, output: object) -> None:
        match output:
            case Knock(peer=peer, endpoint=endpoint, nonce=nonce, bind_for=bind_for, uses=uses):
                host.knocks.append(self.now)
                self._note(host, f"knocks at {peer} {endpoint.text()} for {bind_for}")
                self._send(host, endpoint, Packet("knock", host.name, peer, (nonce, bind_for, uses)))
            case SetEndpoint(peer=peer, endpoint=endpoint, greet=greet):
                self._note(host, f"sends to {peer} at {endpoint.text()} greet={greet}")
                tunnel = host.device[peer]
                tunnel.endpoint = endpoint
                if greet:
                    if not tunnel.has_session:
                        tunnel.tried_at = -1e9
                    self._send_inside(host, peer, "keepalive", 0)
                    if host.prober is not None:
                        host.prober.receive(ProbeAtOnce(ProbeName(peer)), self.now)
                    host.changes.setdefault(peer, []).append(self.now)
            case SendCall(peer=peer, call=call):
                self._note(host, f"calls {peer} {call}")
                if self._can_talk(host, self.by_name[peer]):
                    when = self.now + self.rng.uniform(*self.delay_s) * 2
                    self.at(when, partial(self.feed, self.by_name[peer], CallHeard(host.name, call)))
            case SeenAsChanged():
                for other in self.hosts:
                    self.at(self.now + self.rng.uniform(0.02, 0.2), partial(self.tell, other))
            case _:
                pass

    def _perform_probe(self, host: Host, output: object) -> None:
        match output:
            case SendProbe(address=address, nonce=nonce):
                other = next(h for h in self.hosts if h.overlay_address == address)
                self._send_inside(host, other.name, "question", nonce)
            case TunnelAlive(peer=peer, rtt_s=rtt_s):
                self.feed_later(host, TunnelAnswered(PeerName(peer), rtt_s))
            case TunnelDead(peer=peer):
                self.feed_later(host, TunnelSilent(PeerName(peer)))

    def feed_later(self, host: Host, event: PathInput) -> None:
        self.at(self.now, partial(self.feed, host, event))

    # -- packets --------------------------------------------------------------------------------------

    def _send_inside(self, host: Host, peer: PeerName, kind: str, nonce: int) -> None:
        """Something goes into the tunnel."""
        tunnel = host.device.get(peer)
        if tunnel is None or tunnel.endpoint is None:
            return
        if not tunnel.has_session:
            if self.now - tunnel.tried_at < HANDSHAKE_AGAIN_S:
                return
            tunnel.tried_at = self.now
            kind = "hello"
        self._send(host, tunnel.endpoint, Packet(kind, host.name, peer, (nonce,)))

    def _send(self, host: Host, to: Endpoint, packet: Packet, *, port: int = PORT) -> None:
        source = host.nat.outward(to, self.now)
        if port != PORT:
            source = Endpoint(host.nat.outside, port)  # a relay's port
        self._travel(host, source, to, packet)

    def _travel(self, origin: Host, source: Endpoint, to: Endpoint, packet: Packet) -> None:
        target = self.by_address.get(to.address)
        if target is None or (origin.index, target.index) in self.cut or self.rng.random() < self.loss:
            return
        delay = 0.0001 if target is origin else self.distance[origin.index, target.index]
        when = self.now + delay * self.rng.uniform(1.0, 1.1)
        self.at(when, partial(self._arrive, target, source, to, packet))

    def _arrive(self, host: Host, source: Endpoint, to: Endpoint, packet: Packet) -> None:
        if not host.is_up or not host.nat.inward(source, to.port, self.now):
            return
        if to.port in RELAY_PORTS and packet.kind not in ("knock", "answer"):
            self._forward(host, source, to, packet)
        elif packet.receiver != host.name:
            return  # its proof is for another
        elif packet.kind in ("knock", "answer"):
            self._hear_knock(host, source, to, packet)
        else:
            self._hear_tunnel(host, source, packet)

    def _forward(self, host: Host, source: Endpoint, to: Endpoint, packet: Packet) -> None:
        for pair in host.forwardings:
            for end, other in ((pair.one, pair.other), (pair.other, pair.one)):
                if end.source == source and end.local.port == to.port:
                    leaves_from = Endpoint(host.nat.outside, other.local.port)
                    self._travel(host, leaves_from, other.source, packet)
                    return

    def _hear_knock(self, host: Host, source: Endpoint, to: Endpoint, packet: Packet) -> None:
        if host.paths is None or host.relay is None:
            return
        if packet.kind == "answer":
            nonce, seen_as, *rest = packet.content
            self.feed(host, KnockAnswered(packet.sender, nonce, seen_as, *rest))  # type: ignore[arg-type]  # as sent
            return
        nonce, bind_for, uses = packet.content
        assert isinstance(nonce, int) and isinstance(uses, bool)
        if bind_for is None:
            self._send(host, source, Packet("answer", host.name, packet.sender, (nonce, source)))
            self.feed(host, KnockHeard(packet.sender, source))
            return
        end = End(source, Endpoint(host.nat.outside, to.port))
        host.relay.receive(BindHeard(packet.sender, PeerName(str(bind_for)), end, nonce, uses), self.now)
        self._after(host)

    def _hear_tunnel(self, host: Host, source: Endpoint, packet: Packet) -> None:
        tunnel = host.device.get(packet.sender)
        if tunnel is None:
            return
        (nonce,) = packet.content
        assert isinstance(nonce, int)
        if packet.kind == "hello":
            tunnel.endpoint = source
            self._send(host, source, Packet("hello back", host.name, packet.sender, (0,)))
            return
        if packet.kind == "hello back":
            tunnel.endpoint, tunnel.has_session = source, True
            self._send_inside(host, packet.sender, "keepalive", 0)
            return
        theirs = self.by_name[packet.sender].device.get(host.name)
        if theirs is None or not theirs.has_session:
            return
        tunnel.endpoint, tunnel.has_session = source, True
        if host.prober is None:
            return
        if packet.kind == "question":
            self._send_inside(host, packet.sender, "reply", nonce)
        elif packet.kind == "reply":
            address = self.by_name[packet.sender].overlay_address
            host.prober.receive(ProbeAnswered(nonce, address), self.now)
            self._after(host)

    def _note(self, host: Host, what: str) -> None:
        self.trace.append(f"{self.now:9.3f} {host.name} {what}")

    # -- questions ------------------------------------------------------------------------------------

    def via(self, one: Host, other: Host) -> str | None:
        """How `one` believes to reach the other."""
        return one.paths.via(other.name) if one.paths else None

    def passes(self, one: Host, other: Host) -> bool:
        """Whether packets would go from one to the other now, by devices, NATs and forwardings as they are."""
        tunnel, back = one.device.get(other.name), other.device.get(one.name)
        if tunnel is None or back is None or tunnel.endpoint is None or not (tunnel.has_session or back.has_session):
            return False
        source = one.nat.outward(tunnel.endpoint, self.now)
        return self._reaches(one, source, tunnel.endpoint, other)

    def _reaches(self, origin: Host, source: Endpoint, to: Endpoint, other: Host) -> bool:
        target = self.by_address.get(to.address)
        if target is None or not target.is_up or (origin.index, target.index) in self.cut:
            return False
        if not target.nat.inward(source, to.port, self.now):
            return False
        if target is other:
            return to.port not in RELAY_PORTS
        for pair in target.forwardings:
            for end, far in ((pair.one, pair.other), (pair.other, pair.one)):
                if end.source == source and end.local.port == to.port:
                    return self._reaches(target, Endpoint(target.nat.outside, far.local.port), far.source, other)
        return False
