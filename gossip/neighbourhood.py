"""The neighbourhood: how links come, live and go, and what follows from it for the other parts.

Theory of operation.

    LinkOpened                  -> Hello is sent                     opened
    their Hello                 -> Ping, our record; the dialler
                                   shows a Glance; we name them as
                                   our neighbour                     established
    their first further frame   -> surplus links to them are closed  confirmed
    silence, violation, Bye,
    surplus, LinkClosed         -> we name them no more; back-off    gone

Links to ourselves, to fenced peers and beyond LINKS_MAX never get beyond LinkOpened. Not here: what else frames say
(`gossip.mesh`), which of several links is kept (`gossip.link`).
"""

from __future__ import annotations

from gossip.author import Author
from gossip.dialler import Dialler
from gossip.error import LocalMisuse, RemoteViolation
from gossip.event import LinkOpened
from gossip.exchange import Exchange
from gossip.link import LINKS_MAX, SILENCE_MAX_S, Link, LinkTable
from gossip.name import PeerName
from gossip.outbox import Outbox
from gossip.router import Router
from gossip.store import RecordStore
from gossip.wire import WIRE_NEWEST, WIRE_OLDEST, Bye, ByeCode, Hello, Ping, Pong, bye

REMOVED_REASON = "this peer was removed from the mesh"


class Neighbourhood:
    """The links of one peer, and the transitions of each."""

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
        outbox: Outbox,
    ) -> None:
        self._me = me
        self._store = store
        self._links = links
        self._author = author
        self._dialler = dialler
        self._exchange = exchange
        self._router = router
        self._outbox = outbox
        self._serial = 0

    def opened(self, event: LinkOpened, now: float) -> None:
        """Greet whoever is there, unless it is ourselves or there is no room."""
        if self._links.get(event.link) is not None:
            raise LocalMisuse(f"link {event.link} is open already")
        if event.peer == self._me:
            self._outbox.close(event.link, "this is ourselves")
            self._dialler.found(event.target, event.peer, now)
            return
        if self._store.is_fenced(event.peer):
            self._refuse(event, REMOVED_REASON, ByeCode.REMOVED, now)
            return
        if len(self._links) >= LINKS_MAX:
            self._refuse(event, f"no room: {LINKS_MAX} links already", ByeCode.OTHER, now)
            return
        self._serial += event.outbound
        link = Link(
            ident=event.link,
            peer=event.peer,
            address=event.address,
            outbound=event.outbound,
            serial=self._serial if event.outbound else 0,
            is_dialled_by_smaller=event.outbound == (self._me < event.peer),
            opened_at=now,
            heard_at=now,
        )
        self._links.add(link)
        self._dialler.found(event.target, event.peer, now)
        self._outbox.send(link.ident, Hello(WIRE_OLDEST, WIRE_NEWEST, self._author.epoch, link.serial))

    def hello_received(self, link: Link, hello: Hello, now: float) -> None:
        """Take the other end as our neighbour if we speak a common version."""
        if link.is_established:
            raise RemoteViolation("a second hello")
        if hello.wire_newest < WIRE_OLDEST or hello.wire_oldest > WIRE_NEWEST:
            raise RemoteViolation(
                "no common wire version",
                f"they speak {hello.wire_oldest} to {hello.wire_newest}, we {WIRE_OLDEST} to {WIRE_NEWEST}",
            )
        self._links.establish(link, peer_epoch=hello.epoch, serial=hello.serial)
        # Before anything else: the first ping also tells them that their Hello has come.
        self._outbox.send(link.ident, Ping(link.next_ping(now)))
        self._exchange.introduce(link, self._me)
        self._name_neighbours()
        if link.outbound:
            self._exchange.glance(link)

    def confirm(self, link: Link, now: float) -> None:
        """Note that a frame came that is sent only after our Hello has; again does nothing."""
        if link.is_confirmed:
            return
        link.is_confirmed = True
        for surplus in self._links.surplus(link):
            self.close(surplus, "another link to the same peer is kept", now)

    def ping_received(self, link: Link, ping: Ping) -> None:
        """Answer a heartbeat."""
        self._outbox.send(link.ident, Pong(ping.number))

    def bye_received(self, link: Link, frame: Bye, now: float) -> None:
        """Close a link that they have closed; their reason is shown with everything unprintable replaced."""
        told = "".join(character if character.isprintable() else "?" for character in frame.reason)
        reason = f"closed by the peer: {told}"
        if frame.code == ByeCode.REMOVED:
            self._outbox.fenced_by(link.peer)
        self._outbox.close(link.ident, reason)
        self.gone(link, reason, now)

    def close(self, link: Link, reason: str, now: float, code: ByeCode = ByeCode.OTHER) -> None:
        """Close a link and tell the other end why."""
        self._outbox.send(link.ident, bye(reason, code))
        self._outbox.close(link.ident, reason)
        self.gone(link, reason, now)

    def fence(self, peer: PeerName, now: float) -> None:
        """Close all links to a peer that was removed from the mesh."""
        for link in self._links:
            if link.peer == peer:
                self.close(link, REMOVED_REASON, now, ByeCode.REMOVED)

    def gone(self, link: Link, reason: str, now: float) -> None:
        """Forget a link."""
        self._links.remove(link)
        self._dialler.unlinked(link, reason, now)
        self._name_neighbours()

    def beat(self, now: float) -> None:
        """Ping the links whose time has come, close the silent ones."""
        for link in self._links:
            if now >= link.heard_at + SILENCE_MAX_S:  # as `deadline` reckons: a difference may round otherwise
                self.close(link, f"nothing heard for {SILENCE_MAX_S:.0f} s", now)
            elif link.is_established and now >= link.ping_at:
                self._outbox.send(link.ident, Ping(link.next_ping(now)))

    def excuse(self, stalled_s: float) -> None:
        """Count a time in which this very process was stalled as nobody's silence."""
        for link in self._links:
            link.heard_at += stalled_s
            link.pings.clear()

    def deadline(self) -> float | None:
        """Return when the next link is to be pinged or given up; None without links."""
        due = [link.heard_at + SILENCE_MAX_S for link in self._links]
        due += [link.ping_at for link in self._links if link.is_established]
        return min(due, default=None)

    def _refuse(self, event: LinkOpened, reason: str, code: ByeCode, now: float) -> None:
        self._outbox.send(event.link, bye(reason, code))
        self._outbox.close(event.link, reason)
        if event.target is not None:
            self._dialler.failed(event.target, reason, now)

    def _name_neighbours(self) -> None:
        neighbours = self._links.neighbours()
        self._author.link(neighbours)
        self._router.name_links(self._me, neighbours)
