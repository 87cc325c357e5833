"""The Mesh: one peer's part in the gossip, as a machine without I/O. The only door of this package.

Theory of operation. The shell feeds inputs (`receive`), calls `tick` at `deadline()`, and performs `outputs()` after
each of the two. Time comes in as `now`, monotonic seconds; randomness as `rng`. The parts:

    neighbourhood        links: how they come, live and go (its own Theory of operation tells a link's life)
    dialler              targets and discovery: whom to dial and when
    author               writes our record when our summary or our neighbours change
    store                the newest record of each origin
    exchange             pushes news and repairs what pushing missed, for records and for channels
    router               who is reachable, over which neighbour; unicasts

What comes from other peers is refused, counted, and at worst costs them the link (`RemoteViolation`); it never raises
here. Not here: who may join (the shell authenticates), what summaries mean, address ranges.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import assert_never

from gossip import wire
from gossip.author import Author
from gossip.dialler import Dialler
from gossip.error import RemoteViolation
from gossip.event import (
    ConnectTargets,
    DialFailed,
    FencePeers,
    ForgetTargets,
    FrameReceived,
    GossipNews,
    Input,
    LinkClosed,
    LinkOpened,
    Output,
    PublishSummary,
    SendUnicast,
)
from gossip.exchange import Exchange, Gossiper
from gossip.link import HEARTBEAT_INTERVAL_S, LINKS_MAX, Link, LinkTable
from gossip.name import PeerName
from gossip.neighbourhood import Neighbourhood
from gossip.option import MeshOptions
from gossip.outbox import Outbox
from gossip.record import Signer, Verify, is_authentic
from gossip.router import Router
from gossip.snapshot import decode_snapshot, encode_snapshot
from gossip.store import Merged, RecordStore
from gossip.view import Counters, LinkView, PeerView, TargetView

REPAIR_INTERVAL_S = 3.0
"""Between two glances at a random neighbour, ± REPAIR_JITTER. Pushing does the work; this mends what it missed."""

REPAIR_JITTER = 0.2
"""So that the mesh does not breathe in step."""

STALL_S = HEARTBEAT_INTERVAL_S
"""Called this much later than asked, it is we who were stalled: no link is blamed for a silence that was ours."""


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
        self._counters = Counters()
        self._outbox = Outbox()
        self._links = LinkTable()
        self._author = Author(signer, epoch)
        self._store = RecordStore(is_authentic=lambda record: is_authentic(record, verify), counters=self._counters)
        self._exchange = Exchange(store=self._store, links=self._links, outbox=self._outbox, counters=self._counters)
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
        self._neighbourhood = Neighbourhood(
            me=self._me,
            store=self._store,
            links=self._links,
            author=self._author,
            dialler=self._dialler,
            exchange=self._exchange,
            router=self._router,
            outbox=self._outbox,
        )
        self._repair_at = now
        self._deadline: float | None = None
        if snapshot is not None:
            self._restore(snapshot, now)
        self._settle(now)

    def register(self, channel: str, gossiper: Gossiper) -> None:
        """Listen to `channel` and keep it repaired; before the first link, and once (else LocalMisuse)."""
        self._exchange.register(channel, gossiper)

    # -- the verbs -----------------------------------------------------------------------------------------------------

    def receive(self, event: Input, now: float) -> None:
        """Take in one input. LocalMisuse if the caller broke the door's contract, never for what other peers did."""
        now = self._enter(now)
        match event:
            case LinkOpened() | LinkClosed() | DialFailed() | FrameReceived():
                self._report(event, now)
            case _:
                self._order(event, now)
        self._settle(now)

    def tick(self, now: float) -> None:
        """Do what is due at `now`; again at the same `now` does nothing."""
        now = self._enter(now)
        self._neighbourhood.beat(now)
        if now >= self._repair_at:
            self._repair_at = now + REPAIR_INTERVAL_S * self._rng.uniform(1 - REPAIR_JITTER, 1 + REPAIR_JITTER)
            if neighbours := self._links.currents():
                self._exchange.glance(self._rng.choice(neighbours))
        self._dialler.dial_discovered(self._router.is_reachable, now)
        self._settle(now)

    def deadline(self) -> float | None:
        """Return when `tick` is due (monotonic seconds); None if nothing will be without an input."""
        return self._deadline

    def outputs(self) -> list[Output]:
        """Return what is to be done, in order, and forget it."""
        self._exchange.flush()
        return self._outbox.take()

    # -- queries -------------------------------------------------------------------------------------------------------

    def peers(self) -> tuple[PeerView, ...]:
        """Return all peers known or linked: ourselves first, then by name."""
        others = dict.fromkeys((*self._store, *self._links.neighbours()))
        others.pop(self._me, None)
        return tuple(self._peer_view(peer) for peer in (self._me, *sorted(others)))

    def peer(self, name: PeerName) -> PeerView | None:
        """Return one peer; None if it is neither known nor linked."""
        is_known = name in self._store or self._links.current(name) is not None
        return self._peer_view(name) if is_known else None

    def links(self) -> tuple[LinkView, ...]:
        """Return all links, oldest first."""
        return tuple(link.view() for link in self._links)

    def targets(self) -> tuple[TargetView, ...]:
        """Return all targets, in the order in which they were given."""
        return self._dialler.targets.views()

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
            "links are bounded": len(self._links) <= LINKS_MAX,
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

    def _report(self, event: LinkOpened | LinkClosed | DialFailed | FrameReceived, now: float) -> None:
        """Take in what the network did."""
        match event:
            case LinkOpened():
                self._neighbourhood.opened(event, now)
            case LinkClosed(ident, reason):
                if (link := self._links.get(ident)) is not None:
                    self._neighbourhood.gone(link, reason, now)
            case DialFailed(target, reason):
                self._dialler.failed(target, reason, now)
            case FrameReceived(ident, frame):
                if (link := self._links.get(ident)) is not None:
                    self._frame_received(link, frame, now)
            case _:
                assert_never(event)

    def _order(
        self,
        event: PublishSummary | ConnectTargets | ForgetTargets | GossipNews | SendUnicast | FencePeers,
        now: float,
    ) -> None:
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

    # -- frames --------------------------------------------------------------------------------------------------------

    def _frame_received(self, link: Link, encoded: bytes, now: float) -> None:
        link.heard_at = now
        try:
            frame = wire.decode(encoded)
            if isinstance(frame, wire.Hello):
                self._neighbourhood.hello_received(link, frame, now)
            elif isinstance(frame, wire.Bye):
                self._neighbourhood.bye_received(link, frame, now)
            elif not link.is_established:
                raise RemoteViolation("frame before hello", type(frame).__name__)
            else:
                self._neighbourhood.confirm(link, now)
                if self._links.get(link.ident) is link:
                    self._talk(link, frame, now)
        except RemoteViolation as violation:
            self._counters.violations += 1
            self._neighbourhood.close(link, str(violation), now)

    def _talk(self, link: Link, frame: wire.Talk, now: float) -> None:
        match frame:
            case wire.Ping():
                self._neighbourhood.ping_received(link, frame)
            case wire.Pong(number):
                link.pong(number, now)
            case wire.Glance():
                self._exchange.glance_received(link, frame, now)
            case wire.Digest():
                self._exchange.digest_received(link, frame, now)
            case wire.Request():
                self._exchange.request_received(link, frame, now)
            case wire.Records():
                self._records_received(link, frame, now)
            case wire.State():
                self._exchange.state_received(link, frame, now)
            case wire.News():
                self._exchange.news_received(link, frame)
            case wire.Unicast():
                self._router.unicast_received(frame)
            case _:
                assert_never(frame)

    def _records_received(self, link: Link, frame: wire.Records, now: float) -> None:
        for record, merged in self._exchange.records_received(link, frame, now):
            if record.origin == self._me:
                self._counters.overtaken += 1
                self._author.overtaken(record, now)
            else:
                self._learned(record.origin, merged, now)

    def _learned(self, origin: PeerName, merged: Merged, now: float) -> None:
        known = self._store.get(origin)
        assert known is not None
        self._router.name_links(origin, known.body.links)
        self._dialler.discovery.meet(origin, now)
        self._outbox.changed(origin)
        if merged is Merged.CHANGED:
            self._dialler.discovery.renewed(origin, now)
            self._outbox.persist()

    # -- what follows from every input ---------------------------------------------------------------------------------

    def _enter(self, now: float) -> float:
        """Return `now`, never before an earlier one; if we were stalled, excuse all links for that time."""
        now = max(now, self._now)
        if self._deadline is not None and now - self._deadline > STALL_S:
            self._neighbourhood.excuse(now - self._deadline)
        self._now = now
        return now

    def _settle(self, now: float) -> None:
        """Write our record, search the ways, dial the targets: whichever is due. Then set the deadline."""
        record = self._author.write(now)
        merged = Merged.NOTHING if record is None else self._store.merge(record, now)
        if merged is not Merged.NOTHING:
            self._exchange.push(self._me, brought_by=None)
            self._outbox.changed(self._me)
        if merged is Merged.CHANGED:
            # The epoch may be beyond the one we were given: the next life must begin above it.
            self._outbox.persist()
        self._router.search(now)
        self._dialler.dial_targets(now)
        due = (
            self._author.deadline(),
            self._router.deadline(),
            self._dialler.deadline(self._router.unreachable_count()),
            self._neighbourhood.deadline(),
            self._repair_at if self._links.currents() else None,
        )
        soonest = min((when for when in due if when is not None), default=None)
        # What was put off until something happened may have been due long ago: that is no stall.
        self._deadline = None if soonest is None else max(now, soonest)

    def _restore(self, encoded: bytes, now: float) -> None:
        snapshot = decode_snapshot(encoded)
        for record in sorted(snapshot.records, key=lambda record: record.origin != self._me):
            merged = self._store.merge(record, None)
            if merged is Merged.NOTHING:
                continue
            if record.origin == self._me:
                self._author.overtaken(record, now)
            else:
                self._learned(record.origin, merged, now)
        self._dialler.targets.connect(snapshot.targets, replace=False, now=now)

    def _peer_view(self, peer: PeerName) -> PeerView:
        known = self._store.get(peer)
        route = self._router.route(peer)
        link = self._links.current(peer)
        heard = (known.heard_at if known else None, link.heard_at if link else None, self._router.reachable_until(peer))
        is_me = peer == self._me
        return PeerView(
            name=peer,
            summary=known.body.summary if known else None,
            epoch=known.record.epoch if known else 0,
            version=known.record.version if known else 0,
            reachable=is_me or route is not None,
            hops=route.hops if route else None,
            next_hop=route.next_hop if route else None,
            linked=link.view() if link else None,
            last_heard=self._now if is_me else max((when for when in heard if when is not None), default=None),
            links=tuple(sorted(known.body.links)) if known else (),
        )
