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
sent. Not here: what the channels make of a state; they get it as `Delivered`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from gossip.error import LocalMisuse
from gossip.event import Delivered
from gossip.link import Link, LinkTable
from gossip.name import PeerName
from gossip.outbox import Outbox
from gossip.record import Record
from gossip.store import Merged, RecordStore
from gossip.view import Counters
from gossip.wire import (
    CHANNELS_MAX,
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

    def __init__(self, *, store: RecordStore, links: LinkTable, outbox: Outbox, counters: Counters) -> None:
        self._store = store
        self._links = links
        self._outbox = outbox
        self._counters = counters
        self._channels: dict[str, Gossiper] = {}

    def register(self, channel: str, gossiper: Gossiper) -> None:
        """Take in a channel; LocalMisuse if it is registered already or there are too many."""
        if not 1 <= len(channel) <= 32 or channel in self._channels or len(self._channels) >= CHANNELS_MAX:
            raise LocalMisuse(f"channel {channel!r} cannot be registered: taken, badly named, or one too many")
        self._channels[channel] = gossiper

    def is_registered(self, channel: str) -> bool:
        """Tell whether somebody here listens to `channel`."""
        return channel in self._channels

    def introduce(self, link: Link, me: PeerName) -> None:
        """Owe the other end our own record, changed or not: without it our unicasts mean nothing there."""
        link.pending[me] = None

    def glance(self, link: Link) -> None:
        """Show in a few bytes all that we know."""
        digests = tuple(ChannelDigest(channel, gossiper.digest()) for channel, gossiper in self._channels.items())
        self._outbox.send(link.ident, Glance(self._store.fingerprint(), digests))

    def glance_received(self, link: Link, frame: Glance, now: float) -> None:
        """Answer what differs."""
        if frame.fingerprint != self._store.fingerprint() and link.may_answer("glance", now):
            self._outbox.send(link.ident, Digest(self._store.digest()))
        for theirs in frame.channels:
            gossiper = self._channels.get(theirs.channel)
            if gossiper is not None and gossiper.digest() != theirs.digest:
                self._send_state(link, theirs.channel, gossiper, answer=True, now=now)

    def digest_received(self, link: Link, frame: Digest, now: float) -> None:
        """Send the records that they lack and ask for those that we lack."""
        if not link.may_answer("digest", now):
            return
        self._send_records(link, self._store.newer_than(frame.entries))
        lacking = self._store.older_than(frame.entries)
        if lacking:
            self._outbox.send(link.ident, Request(lacking))

    def request_received(self, link: Link, frame: Request, now: float) -> None:
        """Send the records asked for, as far as we have them."""
        if link.may_answer("request", now):
            self._send_records(link, dict.fromkeys(frame.origins))

    def records_received(self, link: Link, frame: Records, now: float) -> list[tuple[Record, Merged]]:
        """Merge records, push on those that were news, and return these."""
        news: list[tuple[Record, Merged]] = []
        for record in frame.records:
            merged = self._store.merge(record, now)
            if merged is not Merged.NOTHING:
                self.push(record.origin, brought_by=link.peer)
                news.append((record, merged))
            elif record.rank == self._store.rank(record.origin):
                # They have just shown that they know it: no need to tell them.
                link.pending.pop(record.origin, None)
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
        """Hand a delta to its channel, which says whether it goes on."""
        if frame.channel not in self._channels:
            self._counters.unregistered += 1
            return
        self._outbox.deliver(Delivered(frame.channel, link.peer, frame.payload, unicast=False))

    def spread(self, channel: str, payload: bytes) -> None:
        """Push a delta of a channel to all neighbours."""
        if channel not in self._channels or len(payload) > PAYLOAD_BYTES_MAX:
            raise LocalMisuse(f"{len(payload)} bytes of news for channel {channel!r}: not registered, or too many")
        encoded = encode(News(channel, payload))
        for link in self._links.currents():
            self._outbox.send_encoded(link.ident, encoded)

    def push(self, origin: PeerName, *, brought_by: PeerName | None) -> None:
        """Owe the record of `origin` to all neighbours but `brought_by` and the origin itself."""
        for link in self._links.currents():
            if link.peer != brought_by and link.peer != origin:
                link.pending[origin] = None

    def flush(self) -> None:
        """Send what is owed."""
        encoded: dict[tuple[PeerName, ...], list[bytes]] = {}
        for link in self._links.currents():
            if not link.pending:
                continue
            origins = tuple(link.pending)
            link.pending.clear()
            if origins not in encoded:
                encoded[origins] = self._encode_records(origins)
            for frame in encoded[origins]:
                self._outbox.send_encoded(link.ident, frame)

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
        if not link.may_answer(f"state {channel}", now):
            return
        payload = gossiper.state()
        if len(payload) > PAYLOAD_BYTES_MAX:
            self._counters.oversized += 1
            return
        self._outbox.send(link.ident, State(channel, payload, answer))
