"""The talk: what each frame of another peer brings about. All that others can make a Mesh do goes through here.

What a peer must not say costs it the link (`RemoteViolation`), and is counted; nothing raises beyond. Not here: what
the parts make of it, and what the shell or this host wants (`gossip.mesh`).
"""

from __future__ import annotations

from typing import assert_never

from gossip import wire
from gossip.author import Author
from gossip.clone import CloneWatch
from gossip.dialler import Dialler
from gossip.error import RemoteViolation
from gossip.exchange import FORGED_MAX, Exchange
from gossip.link import Link, LinkTable
from gossip.name import LinkId, PeerName
from gossip.neighbourhood import Neighbourhood
from gossip.outbox import Outbox
from gossip.record import Record
from gossip.router import Router
from gossip.store import Merged, RecordStore
from gossip.suspicion import Suspicion
from gossip.view import Counters


class Talk:
    """Takes frames apart and gives each part what concerns it."""

    def __init__(
        self,
        *,
        me: PeerName,
        store: RecordStore,
        links: LinkTable,
        author: Author,
        dialler: Dialler,
        exchange: Exchange,
        router: Router,
        suspicion: Suspicion,
        neighbourhood: Neighbourhood,
        clones: CloneWatch,
        outbox: Outbox,
        counters: Counters,
    ) -> None:
        self._me = me
        self._store = store
        self._links = links
        self._author = author
        self._dialler = dialler
        self._exchange = exchange
        self._router = router
        self._suspicion = suspicion
        self._neighbourhood = neighbourhood
        self._clones = clones
        self._outbox = outbox
        self._counters = counters

    def frame_received(self, ident: LinkId, encoded: bytes, now: float) -> bool:
        """Take in a frame; of a link that is closed already it is ignored.

        Return False for a heartbeat of a link that was well: nothing follows from it but what was sent in answer.
        """
        link = self._links.get(ident)
        if link is None:
            self._mirror_received(ident, encoded, now)
            return True
        was_well = link.is_confirmed and not link.doubt and not link.askers
        self._neighbourhood.heard(link, now)
        try:
            frame = wire.decode(encoded)
            if was_well and isinstance(frame, wire.Ping | wire.Pong):
                self._hear(link, frame, now)
                return False
            if isinstance(frame, wire.Hello):
                self._neighbourhood.hello_received(link, frame, now)
            elif isinstance(frame, wire.Bye):
                self._neighbourhood.bye_received(link, frame, now)
            elif not link.is_established:
                raise RemoteViolation("frame before hello", type(frame).__name__)
            else:
                self._neighbourhood.confirm(link, now)
                if self._links.get(link.ident) is link:
                    self._hear(link, frame, now)
        except RemoteViolation as violation:
            self._counters.violations += 1
            self._neighbourhood.close(link, str(violation), now)
        return True

    def learned(self, record: Record, merged: Merged, now: float) -> None:
        """Draw the conclusions from a record that was news, whoever brought it, or the snapshot."""
        origin = record.origin
        known = self._store.get(origin)
        assert known is not None
        if origin == self._me:
            self._author.overtaken(record, now)
            return
        self._router.name_links(origin, known.body.links)
        self._dialler.discovery.meet(origin, now)
        self._outbox.changed(origin)
        if merged is Merged.CHANGED:
            self._dialler.discovery.renewed(origin, now)
            self._outbox.persist()

    def _mirror_received(self, ident: LinkId, encoded: bytes, now: float) -> None:
        try:
            frame = wire.decode(encoded)
        except RemoteViolation:
            frame = None
        self._neighbourhood.mirror_heard(ident, frame if isinstance(frame, wire.Hello) else None, now)

    def _hear(self, link: Link, frame: wire.Talk, now: float) -> None:
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
                self._unicast_received(frame, now)
            case _:
                assert_never(frame)

    def _records_received(self, link: Link, frame: wire.Records, now: float) -> None:
        for record, merged in self._exchange.records_received(link, frame, now):
            if record.origin == self._me:
                self._counters.overtaken += 1
                known = self._store.get(self._me)
                self._clones.record_seen(known.body.summary if known else b"", now)
            self.learned(record, merged, now)
        if link.forged >= FORGED_MAX:
            raise RemoteViolation("forged records", f"{link.forged} of them")

    def _unicast_received(self, unicast: wire.Unicast, now: float) -> None:
        ours = self._router.unicast_received(unicast)
        if ours is None:
            return
        asked = self._suspicion.told(ours.source, ours.payload, now, epoch=self._author.epoch)
        if asked is not None:
            self._neighbourhood.ping(asked, now)
