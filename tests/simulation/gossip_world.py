"""The World: many Meshes on one virtual clock, joined by a network that delays, cuts and breaks.

A heap of (when, order, action); nothing else makes time pass. Links keep the order of their frames, as TCP does: a cut
holds frames back rather than losing them, and each end gives the link up by its own heartbeat. A crash drops the Mesh;
a restart builds another from what was last persisted, with the epoch one higher. After each action the laws of safety
are checked for the peer it touched.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from gossip import (
    CloseLink,
    ConnectTargets,
    Delivered,
    Dial,
    DialFailed,
    FencedBy,
    FrameReceived,
    GossipNews,
    Input,
    LinkBlocked,
    LinkClosed,
    LinkFree,
    LinkId,
    LinkOpened,
    Mesh,
    MeshOptions,
    PeerChanged,
    PeerName,
    Persist,
    PublishSummary,
    SendFrame,
    SendUnicast,
    Target,
)
from gossip.record import Verify
from tests.unit.gossip.fake_signer import FakeSigner, fake_verify

CHANNEL = "words"
DIAL_TIMEOUT_S = 3.0
TICKS_AT_ONE_TIME_MAX = 100
"""A machine whose deadline never passes would be called for ever."""

TRACE_KEPT = 60
CHECKED_AT_EACH_STEP_MAX = 12
"""Up to so many hosts all laws are checked after each step, and what is to be kept is written at once; beyond, as this
is O(hosts), now and then, and before it is needed.
"""


CHECKED_RECORDS_EVERY = 50
"""Where there are more hosts than that, so many steps pass between two looks at a record."""


class LawBroken(AssertionError):
    """A law does not hold; the message shows the last events, `World.reporting` adds the seed."""


class Words:
    """A channel's state: a growing set of words, each said by one peer. Spreads what is new to it."""

    def __init__(self) -> None:
        self.words: dict[bytes, None] = {}

    def digest(self) -> bytes:
        return hashlib.sha256(self.state()).digest()

    def state(self) -> bytes:
        return b"\n".join(sorted(self.words))

    def learn(self, payload: bytes) -> bytes:
        """Take in words; return those that were new."""
        new = [word for word in payload.split(b"\n") if word and word not in self.words]
        self.words.update(dict.fromkeys(new))
        return b"\n".join(new)


@dataclass(eq=False)
class Pipe:
    """One direction of a link: frames arrive in order, each at its time or later."""

    ident: LinkId
    """The number by which the receiver knows the link."""
    receiver: Host
    life: int
    """The receiver's life for which it was made: after a restart nothing arrives any more."""
    arrives_at: float = 0.0
    held: list[Callable[[], None]] = field(default_factory=list)


@dataclass(eq=False)
class Host:
    """One peer: what lasts (disk) and what does not (the Mesh)."""

    index: int
    signer: FakeSigner
    target: Target
    epoch: int = 0
    life: int = 0
    mesh: Mesh | None = None
    words: Words = field(default_factory=Words)
    disk: bytes | None = None
    said: dict[bytes, None] = field(default_factory=dict)
    """Every summary it ever published."""
    tick_at: float | None = None
    has_lost_count: bool = False
    """A backup was restored, so that it may live under an epoch that it had before: its unicasts may be taken for
    replays.
    """
    ticked_at: float = -1.0
    ticks_now: int = 0
    pipes: dict[LinkId, Pipe] = field(default_factory=dict)
    """Link number here → the pipe that leads to the other end."""
    seen: dict[PeerName, tuple[int, int]] = field(default_factory=dict)
    """Newest (epoch, version) seen of each origin in this life."""
    unicasts: list[tuple[PeerName, bytes]] = field(default_factory=list)
    fenced_by: dict[PeerName, None] = field(default_factory=dict)
    frozen_until: float = 0.0
    """Its process gets no processor until then: what comes is kept, time goes on without it."""
    links_opened: int = 0
    frames_sent: int = 0
    bytes_sent: int = 0

    is_disk_due: bool = False
    """What the Mesh wanted to be kept will be written before it is needed."""

    def __post_init__(self) -> None:
        self.name: PeerName = self.signer.name


class World:
    """Hosts, their network, and time."""

    def __init__(
        self,
        *,
        seed: int,
        host_count: int,
        delay_s: tuple[float, float] = (0.001, 0.1),
        discovery: bool = True,
        verify: Verify = fake_verify,
    ) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.now = 0.0
        self.steps = 0
        self.hosts = [
            Host(index, FakeSigner(f"host{index}"), Target(f"host{index}:6783")) for index in range(host_count)
        ]
        self.observe: Callable[[Host, PeerName], None] | None = None
        """Told of each PeerChanged, for measurements."""
        self.overhear: Callable[[Host, Input | None], None] | None = None
        """Told of each input of a host, and by None of each tick, for measurements."""
        self._delay_s = delay_s
        self._check_every = 1 if host_count <= CHECKED_AT_EACH_STEP_MAX else host_count
        self._discovery = discovery
        self._verify = verify
        self._by_target = {host.target: host for host in self.hosts}
        self._by_name = {host.name: host for host in self.hosts}
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self._link_count = 0
        self._cuts: dict[tuple[int, int], None] = {}
        self._trace = 0
        self._recent: deque[tuple[float, Host, str]] = deque(maxlen=TRACE_KEPT)

    # -- what a test does ----------------------------------------------------------------------------------------------

    def start(self, host: Host, *targets: Target) -> None:
        """Start a host, or start it again with what it had persisted."""
        assert host.mesh is None
        host.epoch += 1
        host.life += 1
        host.seen = {}
        host.words = self.words(host)
        host.mesh = Mesh(
            signer=host.signer,
            verify=self._verify,
            epoch=host.epoch,
            options=MeshOptions(dial_addresses=_address_in_summary, discovery=self._discovery),
            rng=random.Random(self.rng.getrandbits(64)),
            snapshot=host.disk,
            now=self.now,
        )
        host.mesh.register(CHANNEL, host.words)
        self._note("start", host)
        self.describe(host, b"life %d" % host.life)
        if targets:
            self.feed(host, ConnectTargets(targets, replace=False))

    def words(self, _: Host) -> Words:
        """Return the channel's state of a host that starts."""
        return Words()

    def crash(self, host: Host, *, is_silent: bool) -> None:
        """Stop a host at once. Silent: the machine is gone, the others get no word; else their links are reset."""
        self._note("crash", host)
        if host.is_disk_due and host.mesh is not None:
            self._persist(host, host.mesh)
        host.mesh = None
        host.tick_at = None
        for pipe in host.pipes.values():
            if not is_silent:
                self._send(host, pipe, LinkClosed(pipe.ident, "connection reset"))
        host.pipes = {}

    def freeze(self, host: Host, seconds: float) -> None:
        """Give a host no processor for a while."""
        host.frozen_until = max(host.frozen_until, self.now + seconds)

    def clog(self, host: Host, *, is_clogged: bool) -> None:
        """Tell a host of all its links that the other ends do not keep up, or that they do again."""
        for link in host.pipes:
            self.feed(host, LinkBlocked(link) if is_clogged else LinkFree(link))

    def cut(self, one: Host, other: Host) -> None:
        """Hold back everything between two hosts, both ways."""
        self._cuts[_pair(one, other)] = None

    def mend(self, one: Host, other: Host) -> None:
        """Let everything between two hosts through again; what was held back arrives now."""
        self._cuts.pop(_pair(one, other), None)
        for pipe in (*one.pipes.values(), *other.pipes.values()):
            self._release(pipe)

    def part(self, one_side: list[Host], other_side: list[Host]) -> None:
        """Hold back everything between two groups of hosts."""
        for one in one_side:
            for other in other_side:
                self.cut(one, other)

    def heal(self) -> None:
        """Let everything through again; what was held back arrives now."""
        self._cuts.clear()
        for host in self.hosts:
            for pipe in host.pipes.values():
                self._release(pipe)

    def _release(self, pipe: Pipe) -> None:
        held, pipe.held = pipe.held, []
        for action in held:
            self._at(self._arrival(pipe), action)

    def describe(self, host: Host, text: bytes) -> None:
        """Let a host publish its address and a text."""
        summary = host.target.encode() + b" " + text
        host.said[summary] = None
        self.feed(host, PublishSummary(summary))

    def say(self, host: Host, word: bytes) -> None:
        """Let a host spread a word."""
        self.feed(host, GossipNews(CHANNEL, host.words.learn(word)))

    def unicast(self, host: Host, destination: Host, payload: bytes) -> None:
        """Let a host send a unicast."""
        self.feed(host, SendUnicast(CHANNEL, destination.name, payload))

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Do something later."""
        self._at(when, action)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self._heap and self._heap[0][0] <= end:
            when, _, action = heapq.heappop(self._heap)
            assert when >= self.now
            self.now = when
            self.steps += 1
            action()
        self.now = end

    def run_until(self, holds: Callable[[], bool], *, at_most_s: float, step_s: float = 0.5) -> float:
        """Let time pass until `holds()`; return how long that took. LawBroken if it takes longer than `at_most_s`."""
        begin = self.now
        while not holds():
            if self.now - begin >= at_most_s:
                self.fail(f"not within {at_most_s} s: {holds}")
            self.run(step_s)
        return self.now - begin

    def feed(self, host: Host, event: Input) -> None:
        """Hand one input to a host, as its shell would."""
        assert host.mesh is not None
        if self.overhear is not None:
            self.overhear(host, event)
        host.mesh.receive(event, self.now)
        self._after(host)

    # -- what holds ----------------------------------------------------------------------------------------------------

    def alive(self) -> list[Host]:
        """Return the hosts that run."""
        return [host for host in self.hosts if host.mesh is not None]

    def all_reach_all(self) -> bool:
        """Tell whether each host runs and knows a way to each other one."""
        return all(host.mesh is not None and len(host.mesh.reachable()) == len(self.hosts) - 1 for host in self.hosts)

    def agrees(self) -> bool:
        """Tell whether all who run hold the same records and words, and each reaches exactly those who run."""
        meshes = self._meshes()
        names = {host.name for host, _ in meshes}
        return (
            len({mesh.fingerprint() for _, mesh in meshes}) == 1
            and len({host.words.digest() for host, _ in meshes}) == 1
            and all({*mesh.reachable(), host.name} == names for host, mesh in meshes)
        )

    def topologies(self) -> list[tuple[tuple[PeerName, int, int, bytes | None, tuple[PeerName, ...]], ...]]:
        """Return what each host that runs knows of the mesh, without what differs by place."""
        return [
            tuple(sorted((v.name, v.epoch, v.version, v.summary, v.links) for v in mesh.peers()))
            for _, mesh in self._meshes()
        ]

    def links_opened(self) -> int:
        """Return how many ends of links were ever opened."""
        return sum(host.links_opened for host in self.hosts)

    def trace_hash(self) -> str:
        """Return a hash of all that happened: equal for equal seeds."""
        return f"{self._trace:x}"

    def fail(self, law: str) -> None:
        """Raise LawBroken, with all that is needed to repeat it."""
        recent = "\n".join(f"{when:.6f} {host.signer.nickname} {what}" for when, host, what in self._recent)
        raise LawBroken(f"{law}\n{recent}")

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Name the seed if anything inside fails."""
        try:
            yield
        except BaseException as error:
            error.add_note(f"WEAVEMESH_SEED={self.seed}, at {self.now:.3f} s, step {self.steps}")
            raise

    def _meshes(self) -> list[tuple[Host, Mesh]]:
        return [(host, host.mesh) for host in self.hosts if host.mesh is not None]

    # -- the network ---------------------------------------------------------------------------------------------------

    def _perform(self, host: Host, mesh: Mesh) -> None:
        for output in mesh.outputs():
            match output:
                case SendFrame(link, frame):
                    host.frames_sent += 1
                    host.bytes_sent += len(frame)
                    if (pipe := host.pipes.get(link)) is not None:
                        self._send(host, pipe, FrameReceived(pipe.ident, frame))
                case Dial(target):
                    self._dial(host, target)
                case CloseLink(link, reason):
                    self._note(f"close {link} {reason}", host)
                    if (pipe := host.pipes.pop(link, None)) is not None:
                        self._send(host, pipe, LinkClosed(pipe.ident, "connection closed"))
                case Delivered(_, source, payload, unicast):
                    self._delivered(host, source, payload, is_unicast=unicast)
                case PeerChanged(peer):
                    self._peer_changed(host, mesh, peer)
                case Persist() if self._check_every == 1:
                    self._persist(host, mesh)
                case Persist():
                    host.is_disk_due = True
                case FencedBy(peer):
                    self._fenced(host, peer)

    @staticmethod
    def _persist(host: Host, mesh: Mesh) -> None:
        host.disk = mesh.snapshot()
        host.is_disk_due = False

    def _peer_changed(self, host: Host, mesh: Mesh, peer: PeerName) -> None:
        if self._check_every == 1 or self.steps % CHECKED_RECORDS_EVERY == 0:
            self._check_record(host, mesh, peer)
        if self.observe is not None:
            self.observe(host, peer)

    def _delivered(self, host: Host, source: PeerName, payload: bytes, *, is_unicast: bool) -> None:
        if is_unicast:
            if (source, payload) in host.unicasts:
                self.fail(f"{host.signer.nickname} got a unicast twice")
            host.unicasts.append((source, payload))
        elif new := host.words.learn(payload):
            self._at(self.now, lambda: self._later(host, host.life, GossipNews(CHANNEL, new)))

    def _fenced(self, host: Host, by: PeerName) -> None:
        host.fenced_by[by] = None

    def _dial(self, host: Host, target: Target) -> None:
        life, callee = host.life, self._by_target.get(target)
        if callee is None or callee.mesh is None:
            failure = DialFailed(target, "connection refused")
            self._at(self.now + self._delay(), lambda: self._later(host, life, failure))
        elif _pair(host, callee) in self._cuts:
            failure = DialFailed(target, "timed out")
            self._at(self.now + DIAL_TIMEOUT_S, lambda: self._later(host, life, failure))
        else:
            self._at(self.now + self._delay(), lambda: self._connect(host, life, callee, target))

    def _connect(self, caller: Host, life: int, callee: Host, target: Target) -> None:
        if caller.mesh is None or caller.life != life:
            return
        if callee.mesh is None:
            self.feed(caller, DialFailed(target, "connection refused"))
            return
        caller_life, callee_life = caller.life, callee.life
        here, there = LinkId(self._link_count + 1), LinkId(self._link_count + 2)
        self._link_count += 2
        outward = Pipe(there, callee, callee.life)
        inward = Pipe(here, caller, caller.life)
        caller.pipes[here] = outward
        callee.pipes[there] = inward
        caller.links_opened += 1
        callee.links_opened += 1
        self._note(f"connect {here} {there} to {callee.signer.nickname}", caller)
        # Both ends have shaken hands: that each learns of it no cut can prevent any more.
        opened_here = LinkOpened(here, callee.name, "a:1", outbound=True, target=target)
        opened_there = LinkOpened(there, caller.name, "b:2", outbound=False, target=None)
        self._at(self._arrival(inward), lambda: self._later(caller, caller_life, opened_here))
        self._at(self._arrival(outward), lambda: self._later(callee, callee_life, opened_there))

    def _send(self, sender: Host, pipe: Pipe, event: Input) -> None:
        def arrive() -> None:
            if pipe.receiver.life == pipe.life and isinstance(event, LinkClosed):
                pipe.receiver.pipes.pop(pipe.ident, None)
            self._later(pipe.receiver, pipe.life, event)

        if _pair(sender, pipe.receiver) in self._cuts or pipe.held:
            pipe.held.append(arrive)
        else:
            self._at(self._arrival(pipe), arrive)

    def _arrival(self, pipe: Pipe) -> float:
        pipe.arrives_at = max(pipe.arrives_at, self.now + self._delay())
        return pipe.arrives_at

    def _delay(self) -> float:
        return self.rng.uniform(*self._delay_s)

    # -- time ----------------------------------------------------------------------------------------------------------

    def _at(self, when: float, action: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._heap, (when, self._order, action))

    def _later(self, host: Host, life: int, event: Input) -> None:
        if host.frozen_until > self.now:
            self._at(host.frozen_until, lambda: self._later(host, life, event))
        elif host.mesh is not None and host.life == life:
            self._note(event.__class__.__name__, host)
            self.feed(host, event)

    def _after(self, host: Host) -> None:
        assert host.mesh is not None
        self._perform(host, host.mesh)
        if self.steps % self._check_every == 0:
            for law in host.mesh.check():
                self.fail(f"{host.signer.nickname}: {law}")
        deadline = host.mesh.deadline()
        if deadline is not None and (host.tick_at is None or deadline < host.tick_at):
            host.tick_at = deadline
            life = host.life
            self._at(max(deadline, self.now), lambda: self._tick(host, life, deadline))

    def _tick(self, host: Host, life: int, when: float) -> None:
        if host.mesh is None or host.life != life or host.tick_at != when:
            return
        if host.frozen_until > self.now:
            self._at(host.frozen_until, lambda: self._tick(host, life, when))
            return
        host.tick_at = None
        host.ticks_now = host.ticks_now + 1 if host.ticked_at == self.now else 0
        host.ticked_at = self.now
        if host.ticks_now > TICKS_AT_ONE_TIME_MAX:
            self.fail(f"time stands still for {host.signer.nickname}")
        deadline = host.mesh.deadline()
        if deadline is not None and deadline <= self.now:
            self._note("tick", host)
            if self.overhear is not None:
                self.overhear(host, None)
            host.mesh.tick(self.now)
        self._after(host)

    # -- safety --------------------------------------------------------------------------------------------------------

    def _check_record(self, host: Host, mesh: Mesh, peer: PeerName) -> None:
        view = mesh.peer(peer)
        if view is None or view.summary is None:
            return
        before = host.seen.get(peer, (-1, -1))
        if (view.epoch, view.version) < before:
            self.fail(f"{host.signer.nickname} went back from {before} of {peer}")
        host.seen[peer] = (view.epoch, view.version)
        owner = self._by_name[peer]
        if view.summary and view.summary not in owner.said:
            self.fail(f"{host.signer.nickname} believes what {peer} never said")

    def _note(self, what: str, host: Host) -> None:
        # The hash of numbers, unlike that of text, is the same in every process.
        self._trace = hash((self._trace, self.now, host.index, host.bytes_sent, len(what)))
        self._recent.append((self.now, host, what))


def _address_in_summary(_: PeerName, summary: bytes) -> tuple[Target, ...]:
    return (Target(summary.split(b" ")[0].decode()),) if summary else ()


def _pair(one: Host, other: Host) -> tuple[int, int]:
    return (min(one.index, other.index), max(one.index, other.index))
