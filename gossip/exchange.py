"""The exchange: how what one peer knows becomes known to all.

Theory of operation. News is *pushed*: a record that is new here goes at once to all neighbours but the one who brought
it and its origin; who knows it already says nothing. What pushing missed is *repaired*: on each new link, and every few
seconds on a random one, one end sends a Glance (one hash over all records, one digest per channel). Where it differs:

    Glance ->                                   (hash differs)
           <- Digest                            (all ranks)
    Records (they lack), Request (we lack) ->
           <- Records

    Glance ->                                   (a channel's digest differs)
           <- State, answer wanted
    State  ->

A push that is not yet written is a set of origins per link (`Link.pending`), not a queue: the newest record of each is
sent, to all links in one turn. While a link is blocked (the other end does not keep up), news of a channel is likewise
merged into one debt, its whole state. News of a channel that nobody registered here is passed on once to all other
neighbours, who may know it; its state is repaired among those who do. Not here: what the channels make of a state; they
get it as `Delivered`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from math import inf
from typing import Protocol

from gossip.error import LocalMisuse
from gossip.event import Delivered
from gossip.health import LocalHealth
from gossip.link import Link, LinkTable
from gossip.name import LinkId, PeerName
from gossip.outbox import Outbox
from gossip.record import Record
from gossip.store import Merged, RecordStore
from gossip.view import Counters
from gossip.wire import (
    CHANNELS_MAX,
    MESH_CHANNEL,
    PAYLOAD_BYTES_MAX,
    ChannelDigest,
    Digest,
    Glance,
    News,
    Records,
    Request,
    State,
    encode,
)

RECORDS_FRAME_BYTES = 256 * 1024
"""Records go in frames of about this size: heartbeats get in between, and no frame comes near FRAME_BYTES_MAX."""

FRESH_S = 1.0
"""A glance that differs so soon after our last news is left to the pushing, which is probably still under way: a digest
of a thousand records is 40 KiB.
"""

PUSH_INTERVAL_S = 0.05
"""If it has been quiet our news goes at once, then in batches at most so often: one frame of fifty records costs little
more than one of one. Twice as long after each batch that followed upon the last one without a pause.
"""

PUSH_RECORD_S = 0.005
"""So much longer for each record in the last batch: a mesh that forms, or two halves that meet, have thousands to tell,
and much of it is outdated, or told by another neighbour, a moment later.
"""

PUSH_INTERVAL_MAX_S = 0.25
"""The longest of these: with the four links from one end of a mesh to the other it comes to a second."""

HOLD_S = 0.02
"""What others told us is held so long before it goes on: neighbours that have it from elsewhere show that meanwhile."""

HOLD_STARVED_S = 0.1
"""The same on a host that is called late (`gossip.health`), times the factor by which it is."""

GLANCES_PASSED_MAX = 2
"""So many of them in a row; then the digest is sent even in a mesh that is never quiet."""

PASSED_ON_MAX = 1024
"""Digests remembered of news that was passed on for channels unknown here: more than are under way at a time."""

FORGED_MAX = 16
"""An honest neighbour passes on no forged record; one that brought so many is not listened to any more."""

RECORD_OVERHEAD_BYTES = 64
"""Name, numbers and MessagePack lengths of one record, rounded up."""


class Gossiper(Protocol):
    """One channel's state, for its repair. Handed in by whoever keeps that state."""

    def digest(self) -> bytes:
        """Return at most 64 bytes, equal for two peers iff their states are."""
        ...

    def state(self) -> bytes:
        """Return the whole state, encoded, at most PAYLOAD_BYTES_MAX bytes."""
        ...


class Exchange:
    """Push and repair, of records and of channels."""

    def __init__(
        self, *, store: RecordStore, links: LinkTable, outbox: Outbox, counters: Counters, health: LocalHealth
    ) -> None:
        self._store = store
        self._health = health
        self._links = links
        self._outbox = outbox
        self._counters = counters
        self._channels: dict[str, Gossiper] = {}
        self._passed_on: dict[bytes, None] = {}
        self._news_at = -inf
        self._owing: dict[LinkId, Link] = {}
        """Links over which records are owed."""
        self._push_at: float | None = None
        """When these are told."""
        self._rests_until = -inf
        """Nothing is told before, as there has just been a batch."""
        self._interval_s = PUSH_INTERVAL_S
        """From that batch to the next."""

    def register(self, channel: str, gossiper: Gossiper) -> None:
        """Take in a channel; LocalMisuse if it is registered already or there are too many."""
        is_well_named = 1 <= len(channel) <= 32 and channel != MESH_CHANNEL
        if not is_well_named or channel in self._channels or len(self._channels) >= CHANNELS_MAX:
            raise LocalMisuse(f"channel {channel!r} cannot be registered: taken, badly named, or one too many")
        self._channels[channel] = gossiper

    def is_registered(self, channel: str) -> bool:
        """Tell whether somebody here listens to `channel`."""
        return channel in self._channels

    def introduce(self, link: Link, me: PeerName, now: float) -> None:
        """Owe the other end our own record, changed or not: without it our unicasts mean nothing there.

        It is about to change, as it will name this link: until then it is held like all news.
        """
        self._owe(link, {me: None})
        self._push_by(now + HOLD_S)

    def glance(self, link: Link) -> None:
        """Show in a few bytes all that we know."""
        digests = tuple(ChannelDigest(channel, gossiper.digest()) for channel, gossiper in self._channels.items())
        self._outbox.send(link.ident, Glance(self._store.fingerprint(), digests))

    def glance_received(self, link: Link, frame: Glance, now: float) -> None:
        """Answer what differs."""
        if frame.fingerprint == self._store.fingerprint() or link.is_blocked:
            link.glances_passed = 0
        elif now - self._news_at < FRESH_S and 0 <= link.glances_passed < GLANCES_PASSED_MAX:
            link.glances_passed += 1
        elif link.may_answer("glance", now):
            link.glances_passed = 0
            self._outbox.send(link.ident, Digest(self._store.digest()))
        for theirs in frame.channels:
            gossiper = self._channels.get(theirs.channel)
            if gossiper is not None and gossiper.digest() != theirs.digest:
                self._send_state(link, theirs.channel, gossiper, answer=True, now=now)

    def digest_received(self, link: Link, frame: Digest, now: float) -> None:
        """Send the records that they lack and ask for those that we lack."""
        if link.is_blocked or not link.may_answer("digest", now):
            return
        self._send_records(link, self._store.newer_than(frame.entries))
        lacking = self._store.older_than(frame.entries)
        if lacking:
            self._outbox.send(link.ident, Request(lacking))

    def request_received(self, link: Link, frame: Request, now: float) -> None:
        """Send the records asked for, as far as we have them."""
        if not link.is_blocked and link.may_answer("request", now):
            self._send_records(link, dict.fromkeys(frame.origins))

    def records_received(self, link: Link, frame: Records, now: float) -> list[tuple[Record, Merged]]:
        """Merge records, push on those that were news, and return these."""
        news: list[tuple[Record, Merged]] = []
        for record in frame.records:
            merged = self._store.merge(record, now)
            if merged is Merged.KNOWN:
                # They have just shown that they know it: no need to tell them.
                link.pending.pop(record.origin, None)
            elif merged is Merged.FORGED:
                link.forged += 1
                if link.forged >= FORGED_MAX:
                    break
            elif merged is not Merged.NOTHING:
                news.append((record, merged))
        if news:
            self._news_at = now
            self.push({record.origin: None for record, _ in news}, brought_by=link.peer, now=now)
        return news

    def state_received(self, link: Link, frame: State, now: float) -> None:
        """Hand their state to the channel; send ours if they want it."""
        gossiper = self._channels.get(frame.channel)
        if gossiper is None:
            self._counters.unregistered += 1
            return
        self._outbox.deliver(Delivered(frame.channel, link.peer, frame.payload, unicast=False))
        if frame.answer:
            self._send_state(link, frame.channel, gossiper, answer=False, now=now)

    def news_received(self, link: Link, frame: News) -> None:
        """Hand a delta to its channel, which says whether it goes on; pass it on if nobody here knows the channel."""
        if frame.channel in self._channels:
            self._outbox.deliver(Delivered(frame.channel, link.peer, frame.payload, unicast=False))
            return
        self._counters.unregistered += 1
        encoded = encode(frame)
        mark = hashlib.blake2b(encoded, digest_size=16).digest()
        if mark in self._passed_on:
            return
        self._passed_on[mark] = None
        if len(self._passed_on) > PASSED_ON_MAX:
            del self._passed_on[next(iter(self._passed_on))]
        for neighbour in self._links.currents():
            if neighbour is not link and neighbour.peer != link.peer and not neighbour.is_blocked:
                self._outbox.send_encoded(neighbour.ident, encoded)

    def spread(self, channel: str, payload: bytes) -> None:
        """Push a delta of a channel to all neighbours; to those who do not keep up the state is owed instead."""
        if channel not in self._channels or len(payload) > PAYLOAD_BYTES_MAX:
            raise LocalMisuse(f"{len(payload)} bytes of news for channel {channel!r}: not registered, or too many")
        encoded = encode(News(channel, payload))
        for link in self._links.currents():
            if link.is_blocked:
                link.owed[channel] = None
            else:
                self._outbox.send_encoded(link.ident, encoded)

    def push(self, origins: dict[PeerName, None], *, brought_by: PeerName | None, now: float) -> None:
        """Owe the records of `origins` to all neighbours but `brought_by`, to none its own."""
        for link in self._links.currents():
            if link.peer != brought_by:
                self._owe(link, origins)
                link.pending.pop(link.peer, None)
        self._push_by(now if brought_by is None else now + self._hold_s())

    def block(self, link: Link) -> None:
        """Send nothing but heartbeats over `link` until `unblock`."""
        link.is_blocked = True

    def unblock(self, link: Link) -> None:
        """Send what came to be owed over `link` in the meantime; what is owed of records `flush` sends."""
        link.is_blocked = False
        if link.pending:
            self._push_by(-inf)
        owed, link.owed = link.owed, {}
        for channel in owed:
            gossiper = self._channels.get(channel)
            if gossiper is not None:
                self._post_state(link, channel, gossiper, answer=False)

    def flush(self, now: float) -> None:
        """Send the records that are owed, if it is time."""
        if self._push_at is None or now < self._push_at:
            return
        self._push_at = None
        most = 0
        encoded: dict[tuple[PeerName, ...], list[bytes]] = {}
        for link in tuple(self._owing.values()):
            kept = self._links.current(link.peer)
            if kept is not link:  # Another link to that peer is kept now, or none.
                del self._owing[link.ident]
                if kept is not None and link.pending:
                    self._owe(kept, link.pending)
                    self._push_by(now)
                continue
            if link.is_blocked or not link.pending:
                continue
            del self._owing[link.ident]
            origins = tuple(link.pending)
            link.pending.clear()
            most = max(most, len(origins))
            if origins not in encoded:
                encoded[origins] = self._encode_records(origins)
            for frame in encoded[origins]:
                self._outbox.send_encoded(link.ident, frame)
        if most:
            has_paused = now >= self._rests_until + self._interval_s
            self._interval_s = PUSH_INTERVAL_S if has_paused else 2 * self._interval_s
            self._interval_s = min(self._interval_s + most * PUSH_RECORD_S, PUSH_INTERVAL_MAX_S)
            self._rests_until = now + self._interval_s * self._health.factor

    def _hold_s(self) -> float:
        """Longer while we are starved: then the neighbours probably are, and what they know takes longer to come."""
        return HOLD_S if self._health.factor == 1 else HOLD_STARVED_S * self._health.factor

    def push_now(self, link: Link) -> None:
        """Send the records that are owed over `link` before its turn."""
        if link.pending and not link.is_blocked:
            origins, link.pending = link.pending, {}
            self._send_records(link, origins)

    def deadline(self) -> float | None:
        """Return when `flush` has something to do; None while nothing is owed."""
        return self._push_at

    def _owe(self, link: Link, origins: dict[PeerName, None]) -> None:
        link.pending.update(origins)
        self._owing[link.ident] = link

    def _push_by(self, when: float) -> None:
        when = max(when, self._rests_until)
        self._push_at = when if self._push_at is None else min(self._push_at, when)

    def _send_records(self, link: Link, origins: Iterable[PeerName]) -> None:
        for frame in self._encode_records(origins):
            self._outbox.send_encoded(link.ident, frame)

    def _encode_records(self, origins: Iterable[PeerName]) -> list[bytes]:
        frames: list[bytes] = []
        batch: list[Record] = []
        batch_bytes = 0
        for origin in origins:
            known = self._store.get(origin)
            if known is None:
                continue
            record = known.record
            batch.append(record)
            batch_bytes += len(record.body) + len(record.public_key) + len(record.signature) + RECORD_OVERHEAD_BYTES
            if batch_bytes >= RECORDS_FRAME_BYTES:
                frames.append(encode(Records(tuple(batch))))
                batch, batch_bytes = [], 0
        if batch:
            frames.append(encode(Records(tuple(batch))))
        return frames

    def _send_state(self, link: Link, channel: str, gossiper: Gossiper, *, answer: bool, now: float) -> None:
        if link.is_blocked:
            link.owed[channel] = None
        elif link.may_answer(f"state {channel}", now):
            self._post_state(link, channel, gossiper, answer=answer)

    def _post_state(self, link: Link, channel: str, gossiper: Gossiper, *, answer: bool) -> None:
        payload = gossiper.state()
        if len(payload) > PAYLOAD_BYTES_MAX:
            self._counters.oversized += 1
            return
        self._outbox.send(link.ident, State(channel, payload, answer))
