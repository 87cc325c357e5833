"""The neighbourhood: how links come, live and go, and what follows from it for the other parts.

Theory of operation.

    LinkOpened                  -> Hello is sent                     opened
    their Hello                 -> Ping, our record; the dialler
                                   shows a Glance, if no way led
                                   to them; they are named as ours                   established
    their first further frame   -> surplus links to them are closed  confirmed
      or, if it is one too many -> it is closed: SURPLUS             gone
    silence                     -> see `gossip.suspicion`            in doubt
    violation, Bye, silence,
    surplus, LinkClosed         -> we name them no more; back-off    gone

Refused at LinkOpened: fenced peers, and who comes when there is no room (LINKS_MAX, `Trimmer.has_room`); these are told
of others. Links to ourselves (*mirrors*) live until their Hello tells whether it is really us there or a clone. Not
here: what else frames say (`gossip.talk`), which of several links is kept (`gossip.link`).
"""

from __future__ import annotations

from math import inf

from gossip.author import Author
from gossip.clone import CloneWatch
from gossip.dialler import Dialler
from gossip.error import LocalMisuse, RemoteViolation
from gossip.event import LinkOpened
from gossip.exchange import Exchange
from gossip.link import LINKS_MAX, LINKS_PER_PEER_MAX, Link, LinkTable
from gossip.name import LinkId, PeerName
from gossip.outbox import Outbox
from gossip.router import Router
from gossip.store import RecordStore
from gossip.suspicion import SILENCE_MAX_S, Suspicion
from gossip.trimmer import Trimmer
from gossip.wire import FEATURES, WIRE_NEWEST, WIRE_OLDEST, Bye, ByeCode, Hello, Ping, Pong, bye

REMOVED_REASON = "this peer was removed from the mesh"
SURPLUS_REASON = "there are links enough"
OURSELVES_REASON = "this is ourselves"

PING_SLACK_S = 0.35
"""Whose ping is due so soon is pinged along, with others or as soon as anything is heard: neighbours so fall into step,
and what all of them say in one moment costs each of them one waking.
"""

MIRRORS_MAX = 4
"""Links to ourselves that stand at once: two per dial, and a clone that dials in the same moment."""


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
        suspicion: Suspicion,
        trimmer: Trimmer,
        clones: CloneWatch,
        outbox: Outbox,
    ) -> None:
        self._me = me
        self._store = store
        self._links = links
        self._author = author
        self._dialler = dialler
        self._exchange = exchange
        self._router = router
        self._suspicion = suspicion
        self._trimmer = trimmer
        self._clones = clones
        self._outbox = outbox
        self._serial = 0
        self._due: float | None = None
        """Nothing is to be done before; never later than `_reckon` would say, perhaps earlier."""
        self._mirrors: dict[LinkId, tuple[LinkOpened, float]] = {}

    def opened(self, event: LinkOpened, now: float) -> None:
        """Greet whoever is there, unless it is fenced or there is no room."""
        if self._links.get(event.link) is not None or event.link in self._mirrors:
            raise LocalMisuse(f"link {event.link} is open already")
        if event.peer == self._me:
            self._mirror_opened(event, now)
            return
        if self._store.is_fenced(event.peer):
            self._refuse(event, REMOVED_REASON, ByeCode.REMOVED, now)
            return
        if (full := self._fullness(event.peer)) is not None:
            self._refuse(event, full, ByeCode.BUSY, now)
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
        self._advance(self._suspicion.gives_up_at(link))
        self._dialler.found(event.target, event.peer, now)
        self._outbox.send(link.ident, self._hello(link.serial))

    def hello_received(self, link: Link, hello: Hello, now: float) -> None:
        """Take the other end as our neighbour if we speak a common version."""
        if link.is_established:
            raise RemoteViolation("a second hello")
        if hello.wire_newest < WIRE_OLDEST or hello.wire_oldest > WIRE_NEWEST:
            raise RemoteViolation(
                "no common wire version",
                f"they speak {hello.wire_oldest} to {hello.wire_newest}, we {WIRE_OLDEST} to {WIRE_NEWEST}",
            )
        if self._trimmer.is_full() and self._router.is_reachable(link.peer) and not self._links.current(link.peer):
            link.is_spared = True
            self.close(link, SURPLUS_REASON, now, ByeCode.SURPLUS)
            return
        link.wire = min(hello.wire_newest, WIRE_NEWEST)
        link.features = frozenset(hello.features) & frozenset(FEATURES)
        self._links.establish(link, peer_epoch=hello.epoch, serial=hello.serial)
        self._advance(now)
        # Before anything else: the first ping also tells them that their Hello has come.
        self._outbox.send(link.ident, Ping(link.next_ping(now)))
        self._exchange.introduce(link, self._me, now)
        is_new = not self._router.is_reachable(link.peer) or self._store.rank(link.peer)[0] < hello.epoch
        self._name_neighbours(matters=is_new, now=now)
        if link.outbound and is_new:
            self._exchange.glance(link)  # Else both have the same news by and by, and what is missed is repaired.

    def confirm(self, link: Link, now: float) -> None:
        """Note that a frame came that is sent only after our Hello has; again does nothing."""
        if link.is_confirmed:
            return
        link.is_confirmed = True
        for surplus in self._links.surplus(link):
            self.close(surplus, "another link to the same peer is kept", now)

    def ping_received(self, link: Link, ping: Ping) -> None:
        """Answer a heartbeat."""
        link.learn_rtt(ping.rtt_us)
        self._outbox.send(link.ident, Pong(ping.number))

    def bye_received(self, link: Link, frame: Bye, now: float) -> None:
        """Close a link that they have closed; their reason is shown with everything unprintable replaced."""
        told = "".join(character if character.isprintable() else "?" for character in frame.reason)
        reason = f"closed by the peer: {told}"
        if frame.code == ByeCode.REMOVED:
            self._outbox.fenced_by(link.peer)
        link.is_spared = frame.code in (ByeCode.BUSY, ByeCode.SURPLUS)
        link.is_referred = self._dialler.discovery.hint(frame.others)
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
        if not self._links:
            self._due = self._reckon()
        if link.doubt:
            self._suspicion.gone()
        self._dialler.unlinked(link, reason, is_reachable=self._router.is_reachable(link.peer), now=now)
        self._name_neighbours(matters=not link.is_spared, now=now)

    def beat(self, now: float) -> None:
        """Ping the links whose time has come, doubt the silent ones, give up the dead, and one that is too many."""
        for link in self._links:
            if now >= self._suspicion.gives_up_at(link):
                self.close(link, self._suspicion.verdict(link, now), now)
                continue
            if not link.is_established:
                continue
            if now >= self._suspicion.doubt_at(link):
                self._suspicion.doubt(link, now)
            if now + PING_SLACK_S >= link.ping_due_at():
                self.ping(link, now)
        for ident, (_, opened_at) in list(self._mirrors.items()):
            if now >= opened_at + SILENCE_MAX_S:
                self._mirror_closed(ident, OURSELVES_REASON)
        for surplus in self._trimmer.choose(now):
            surplus.is_spared = True
            self.close(surplus, SURPLUS_REASON, now, ByeCode.SURPLUS)
        self._due = self._reckon()

    def is_nearly_due(self, now: float) -> bool:
        """Tell whether `beat` would soon be due, so that who is awake may as well call it."""
        return self._due is not None and now + PING_SLACK_S >= self._due

    def heard(self, link: Link, now: float) -> None:
        """Note that something came over a link."""
        if link.doubt:
            self._advance(now)
        self._suspicion.heard(link, now, epoch=self._author.epoch)

    def ping(self, link: Link, now: float) -> None:
        """Send a heartbeat now."""
        self._outbox.send(link.ident, Ping(link.next_ping(now), link.rtt_us()))

    def excuse(self, stalled_s: float) -> None:
        """Count a time in which this very process was stalled as nobody's silence."""
        for link in self._links:
            link.heard_at += stalled_s
            link.pings.clear()

    def deadline(self) -> float | None:
        """Return when `beat` may have something to do; None without links.

        It is asked after each input, and looking at all links each time would cost more than all else. As time and
        frames only put things off, the earliest time of the last look holds until something is added.
        """
        return self._due

    def _advance(self, due: float) -> None:
        self._due = due if self._due is None else min(self._due, due)

    def _reckon(self) -> float | None:
        due = [opened_at + SILENCE_MAX_S for _, opened_at in self._mirrors.values()]
        for link in self._links:
            doubted_at = inf if link.doubt or not link.is_established else self._suspicion.doubt_at(link)
            pinged_at = link.ping_due_at() if link.is_established else inf
            due.append(min(self._suspicion.gives_up_at(link), doubted_at, pinged_at))
        if not due:
            return None
        if (trim_at := self._trimmer.deadline()) is not None:
            due.append(trim_at)
        return min(due, default=None)

    def mirror_heard(self, ident: LinkId, hello: Hello | None, now: float) -> None:
        """Take in what came on a link to ourselves, None for its end: does it live the life that we live?"""
        if ident not in self._mirrors:
            return
        opened, _ = self._mirrors[ident]
        if hello is None or hello.epoch == self._author.epoch:
            self._mirror_closed(ident, OURSELVES_REASON)
            return
        self._clones.link_seen(opened.address, now)
        if opened.target is not None:
            self._dialler.targets.cloned(opened.target)
        self._mirror_closed(ident, "another machine with this peer's identity")

    def _fullness(self, peer: PeerName) -> str | None:
        """Why there is no room for another link with `peer`; None if there is."""
        count = self._links.count(peer)
        if count >= LINKS_PER_PEER_MAX:
            return f"no room: {count} links with this peer already"
        is_full = len(self._links) >= LINKS_MAX or not self._trimmer.has_room()
        # A second link to a neighbour is let in for the moment in which the two ends choose between them.
        return f"no room: {len(self._links)} links already" if is_full and count != 1 else None

    def _mirror_opened(self, event: LinkOpened, now: float) -> None:
        self._dialler.found(event.target, event.peer, now)
        if len(self._mirrors) >= MIRRORS_MAX:
            self._outbox.close(event.link, OURSELVES_REASON)
            return
        self._mirrors[event.link] = (event, now)
        self._advance(now + SILENCE_MAX_S)
        self._outbox.send(event.link, self._hello(0))

    def _mirror_closed(self, ident: LinkId, reason: str) -> None:
        del self._mirrors[ident]
        self._due = self._reckon()
        self._outbox.close(ident, reason)

    def _hello(self, serial: int) -> Hello:
        return Hello(WIRE_OLDEST, WIRE_NEWEST, self._author.epoch, serial, FEATURES)

    def _refuse(self, event: LinkOpened, reason: str, code: ByeCode, now: float) -> None:
        is_busy = code is ByeCode.BUSY
        others = self._dialler.others(event.peer, self._router.is_reachable) if is_busy else ()
        self._outbox.send(event.link, bye(reason, code, others))
        self._outbox.close(event.link, reason)
        if event.target is not None:
            self._dialler.failed(event.target, reason, now)

    def _name_neighbours(self, *, matters: bool, now: float) -> None:
        neighbours = self._links.neighbours()
        self._author.link(neighbours, matters=matters, now=now)
        self._router.name_links(self._me, neighbours)
