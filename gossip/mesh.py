"""The Mesh: one peer's part in the gossip, as a machine without I/O. The only door of this package.

Theory of operation. The shell feeds inputs (`receive`), calls `tick` at `deadline()`, and performs `outputs()` after
each of the two. Time comes in as `now`, monotonic seconds; randomness as `rng`. The parts:

    neighbourhood        links: how they come, live and go (its own Theory of operation tells a link's life)
    suspicion, health    which silent neighbours are dead
    dialler              targets and discovery: whom to dial and when
    trimmer              which links are too many
    author               writes our record when our summary or our neighbours change
    store                the newest record of each origin
    exchange             pushes news and repairs what pushing missed, for records and for channels
    router               who is reachable, over which neighbour; unicasts
    talk                 what a frame of another peer brings about
    portrait, clone      what is shown of peers, and of a machine that has our identity, too

What comes from other peers is refused, counted, and at worst costs them the link (`RemoteViolation`); it never raises
here. Not here: who may join (the shell authenticates), what summaries mean, address ranges.
"""

from __future__ import annotations

import random
from typing import assert_never

from msgspec.structs import replace

from gossip import wire
from gossip.author import Author
from gossip.clone import CloneWatch
from gossip.dialler import Dialler
from gossip.event import (
    ConnectTargets,
    DialFailed,
    FencePeers,
    ForgetTargets,
    FrameReceived,
    GossipNews,
    Input,
    LinkBlocked,
    LinkClosed,
    LinkFree,
    LinkOpened,
    Output,
    PublishSummary,
    ReportPaths,
    SendUnicast,
)
from gossip.exchange import Exchange, Gossiper
from gossip.health import LATE_S, LocalHealth
from gossip.link import LINKS_MAX, LinkTable
from gossip.name import PeerName
from gossip.neighbourhood import PING_SLACK_S, Neighbourhood
from gossip.option import MeshOptions
from gossip.outbox import Outbox
from gossip.portrait import Portrait
from gossip.record import Signer, Verify, is_authentic
from gossip.router import Router
from gossip.snapshot import decode_snapshot, encode_snapshot
from gossip.store import Merged, RecordStore
from gossip.suspicion import Suspicion
from gossip.talk import Talk
from gossip.trimmer import Trimmer
from gossip.view import CloneView, Counters, LinkView, PeerView, TargetView

REPAIR_INTERVAL_S = 3.0
"""Between two glances at a random neighbour, ± REPAIR_JITTER. Pushing does the work; this mends what it missed."""

REPAIR_JITTER = 0.2
"""So that the mesh does not breathe in step."""

Report = LinkOpened | LinkClosed | LinkBlocked | LinkFree | DialFailed
"""Inputs that tell what the network did, beside frames."""

Order = PublishSummary | ConnectTargets | ForgetTargets | GossipNews | SendUnicast | FencePeers | ReportPaths
"""Inputs that tell what this host wants."""


class Mesh:
    """One peer's view of the mesh and its part in it."""

    def __init__(
        self,
        *,
        signer: Signer,
        verify: Verify,
        epoch: int,
        options: MeshOptions,
        rng: random.Random,
        snapshot: bytes | None,
        now: float,
    ) -> None:
        """Begin a life; there may be outputs at once. SnapshotCorrupt if `snapshot` cannot be read.

        `epoch` counts the lives of this identity: it must exceed those of all lives before, durably.
        """
        self._me = signer.name
        self._rng = rng
        self._now = now
        self._repair_at = now
        self._deadline: float | None = None
        self._counters = Counters()
        self._outbox = Outbox()
        self._links = LinkTable()
        self._clones = CloneWatch()
        self._health = LocalHealth(now)
        self._author = Author(signer, epoch)
        self._store = RecordStore(is_authentic=lambda record: is_authentic(record, verify), counters=self._counters)
        self._exchange = Exchange(
            store=self._store, links=self._links, outbox=self._outbox, counters=self._counters, health=self._health
        )
        self._router = Router(
            signer=signer,
            verify=verify,
            store=self._store,
            links=self._links,
            exchange=self._exchange,
            outbox=self._outbox,
            counters=self._counters,
            now=now,
        )
        self._dialler = Dialler(
            me=self._me,
            options=options,
            rng=rng,
            store=self._store,
            links=self._links,
            outbox=self._outbox,
            now=now,
        )
        self._join(trims=options.discovery)
        if snapshot is not None:
            self._restore(snapshot, now)
        self._settle(now)

    def _join(self, *, trims: bool) -> None:
        """Make the parts that join the others."""
        self._suspicion = Suspicion(
            store=self._store, links=self._links, router=self._router, rng=self._rng, health=self._health
        )
        trimmer = Trimmer(
            store=self._store,
            links=self._links,
            router=self._router,
            targets=self._dialler.targets,
            is_enabled=trims,
            now=self._now,
        )
        self._neighbourhood = Neighbourhood(
            me=self._me,
            store=self._store,
            links=self._links,
            author=self._author,
            dialler=self._dialler,
            exchange=self._exchange,
            router=self._router,
            suspicion=self._suspicion,
            trimmer=trimmer,
            clones=self._clones,
            outbox=self._outbox,
        )
        self._talk = Talk(
            me=self._me,
            store=self._store,
            links=self._links,
            author=self._author,
            dialler=self._dialler,
            exchange=self._exchange,
            router=self._router,
            suspicion=self._suspicion,
            neighbourhood=self._neighbourhood,
            clones=self._clones,
            outbox=self._outbox,
            counters=self._counters,
        )
        self._portrait = Portrait(
            me=self._me,
            store=self._store,
            links=self._links,
            router=self._router,
            discovery=self._dialler.discovery,
        )

    def register(self, channel: str, gossiper: Gossiper) -> None:
        """Listen to `channel` and keep it repaired; before the first link, and once (else LocalMisuse)."""
        self._exchange.register(channel, gossiper)

    # -- the verbs -----------------------------------------------------------------------------------------------------

    def receive(self, event: Input, now: float) -> None:
        """Take in one input. LocalMisuse if the caller broke the door's contract, never for what other peers did."""
        now = self._enter(now)
        match event:
            case FrameReceived(ident, frame):
                is_due = self._deadline is not None and now >= self._deadline
                is_beat = not self._talk.frame_received(ident, frame, now)
                if self._neighbourhood.is_nearly_due(now):
                    self._beat(now)  # As we are awake: it spares a waking of its own.
                elif is_beat and not is_due:
                    return  # Most of what a mesh at rest hears: it only puts off what is due.
            case LinkOpened() | LinkClosed() | LinkBlocked() | LinkFree() | DialFailed():
                self._report(event, now)
            case _:
                self._order(event, now)
        self._settle(now)

    def tick(self, now: float) -> None:
        """Do what is due at `now`; again at the same `now` does nothing."""
        now = self._enter(now)
        beat_at = self._neighbourhood.deadline()
        if (beat_at is not None and now >= beat_at) or now >= self._repair_at:
            self._beat(now)
        unreachable_count = self._router.unreachable_count()
        self._dialler.dial_discovered(self._router.is_reachable, unreachable_count=unreachable_count, now=now)
        self._settle(now)

    def deadline(self) -> float | None:
        """Return when `tick` is due (monotonic seconds); None if nothing will be without an input."""
        return self._deadline

    def outputs(self) -> list[Output]:
        """Return what is to be done, in order, and forget it."""
        return self._outbox.take()

    # -- queries -------------------------------------------------------------------------------------------------------

    def peers(self) -> tuple[PeerView, ...]:
        """Return all peers known or linked: ourselves first, then by name."""
        return self._portrait.peers(self._now)

    def peer(self, name: PeerName) -> PeerView | None:
        """Return one peer; None if it is neither known nor linked."""
        return self._portrait.peer(name, self._now)

    def reachable(self) -> tuple[PeerName, ...]:
        """Return all other peers to whom a way leads, nearest first; much cheaper than looking at `peers`."""
        return self._router.reachable()

    def links(self) -> tuple[LinkView, ...]:
        """Return all links, oldest first."""
        return tuple(link.view() for link in self._links)

    def targets(self) -> tuple[TargetView, ...]:
        """Return all targets, in the order in which they were given."""
        return self._dialler.targets.views()

    def clone(self) -> CloneView | None:
        """Return what is known of another machine that lives under our identity; None if there is none."""
        return self._clones.view(self._now)

    def counters(self) -> Counters:
        """Return a copy of what went wrong so far."""
        return replace(self._counters)

    def fingerprint(self) -> bytes:
        """Return a hash of all records known: two peers whose fingerprints are equal agree about the whole mesh."""
        return self._store.fingerprint()

    def snapshot(self) -> bytes:
        """Return what to hand to the Mesh of our next life."""
        records = tuple(known.record for origin in self._store if (known := self._store.get(origin)) is not None)
        return encode_snapshot(records, self._dialler.targets.names())

    def check(self) -> list[str]:
        """Return which laws of this machine do not hold, as sentences; none, unless we have a bug."""
        neighbours = self._links.neighbours()
        laws = {
            "our own record is known": self._store.get(self._me) is not None,
            "links are bounded": len(self._links) <= 2 * LINKS_MAX,
            "records are bounded": len(self._store) <= wire.RECORDS_MAX,
            "a neighbour has a link that stands": all(
                (link := self._links.current(peer)) is not None and self._links.get(link.ident) is link
                for peer in neighbours
            ),
            "each next hop is a neighbour": self._router.check(),
            "we are not our own neighbour": self._me not in neighbours,
            "no fenced peer is known or linked": not any(
                self._store.is_fenced(peer) for peer in (*self._store, *neighbours)
            ),
        }
        return [law for law, holds in laws.items() if not holds]

    # -- inputs --------------------------------------------------------------------------------------------------------

    def _report(self, event: Report, now: float) -> None:
        """Take in what the network did."""
        match event:
            case LinkOpened():
                self._neighbourhood.opened(event, now)
            case LinkClosed(ident, reason):
                if (link := self._links.get(ident)) is not None:
                    self._neighbourhood.gone(link, reason, now)
                else:
                    self._neighbourhood.mirror_heard(ident, None, now)
            case DialFailed(target, reason):
                self._dialler.failed(target, reason, now)
            case LinkBlocked(ident):
                if (link := self._links.get(ident)) is not None:
                    self._exchange.block(link)
            case LinkFree(ident):
                if (link := self._links.get(ident)) is not None:
                    self._exchange.unblock(link)
            case _:
                assert_never(event)

    def _order(self, event: Order, now: float) -> None:
        """Take in what this host wants."""
        match event:
            case PublishSummary(summary):
                self._author.describe(summary)
            case ConnectTargets(targets, replace=is_whole):
                if self._dialler.targets.connect(targets, replace=is_whole, now=now):
                    self._outbox.persist()
            case ForgetTargets(targets):
                if self._dialler.targets.forget(targets):
                    self._outbox.persist()
            case GossipNews(channel, payload):
                self._exchange.spread(channel, payload)
            case SendUnicast():
                self._router.send(event, self._author.epoch)
            case FencePeers(peers):
                for peer in peers:
                    self._fence(peer, now)
            case ReportPaths(reports):
                self._author.report(reports)
            case _:
                assert_never(event)

    def _fence(self, peer: PeerName, now: float) -> None:
        if peer == self._me or not self._store.fence(peer):
            return
        self._neighbourhood.fence(peer, now)
        self._router.forget(peer)
        self._dialler.discovery.forget(peer)
        self._outbox.changed(peer)
        self._outbox.persist()

    # -- what follows from every input ---------------------------------------------------------------------------------

    def _enter(self, now: float) -> float:
        """Return `now`, never before an earlier one; if we were stalled, excuse all links for that time."""
        now = max(now, self._now)
        late_s = -1.0 if self._deadline is None else now - self._deadline
        self._health.called(late_s=late_s, now=now)
        if late_s > LATE_S:
            self._neighbourhood.excuse(late_s)
        self._now = now
        return now

    def _beat(self, now: float) -> None:
        """See to the links, and show a neighbour what we know: whichever is nearly due."""
        if self._neighbourhood.is_nearly_due(now):
            self._neighbourhood.beat(now)
        if now + PING_SLACK_S >= self._repair_at:
            self._repair_at = now + REPAIR_INTERVAL_S * self._rng.uniform(1 - REPAIR_JITTER, 1 + REPAIR_JITTER)
            neighbours = [link for link in self._links.currents() if not link.is_blocked]
            if neighbours:
                self._exchange.glance(self._rng.choice(neighbours))

    def _settle(self, now: float) -> None:
        """Write our record, search the ways, dial the targets, push: whichever is due. Then set the deadline."""
        record = self._author.write(now)
        merged = Merged.NOTHING if record is None else self._store.merge(record, None)
        if merged is not Merged.NOTHING:
            self._exchange.push({self._me: None}, brought_by=None, now=now)
            self._outbox.changed(self._me)
        if merged is Merged.CHANGED:
            # The epoch may be beyond the one we were given: the next life must begin above it.
            self._outbox.persist()
        if lost := self._router.search(now):
            self._dialler.targets.lost(lost, now, mesh_size=len(self._store))
        self._suspicion.ask(epoch=self._author.epoch)
        self._dialler.dial_targets(self._router.is_reachable, now)
        self._exchange.flush(now)
        due = (
            self._author.deadline(),
            self._router.deadline(),
            self._dialler.deadline(self._router.unreachable_count()),
            self._neighbourhood.deadline(),
            self._exchange.deadline(),
            self._repair_at if self._links.currents() else None,
        )
        soonest = min([when for when in due if when is not None], default=None)
        # What was put off until something happened may have been due long ago: that is no stall.
        self._deadline = None if soonest is None else max(now, soonest)

    def _restore(self, encoded: bytes, now: float) -> None:
        snapshot = decode_snapshot(encoded)
        for record in sorted(snapshot.records, key=lambda record: record.origin != self._me):
            merged = self._store.merge(record, None)
            if merged in (Merged.CHANGED, Merged.RENEWED):
                self._talk.learned(record, merged, now)
        self._dialler.targets.connect(snapshot.targets, replace=False, now=now)
