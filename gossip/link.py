"""Links: the connections that stand, which of several to one peer is kept, heartbeats.

Theory of operation. A link is *opened* (the shell has authenticated it), *established* (their Hello came), *confirmed*
(a further frame came, so they have had our Hello). Of several established links to one peer the *current* one carries
what we say; both ends choose it by the same figures (`Link.rank`): the newer life of the other end, then the link
dialled by the smaller name, then the later dial. The others are closed only when the current one is confirmed: by then
the other end has made the same choice, so that at no moment either end believes the peer to be gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from msgspec import Struct, field

from gossip.name import LinkId, PeerName
from gossip.view import LinkView

LINKS_MAX = 64
"""About log2 N are wanted; targets come on top. Each costs a socket, TLS buffers and a heartbeat."""

LINKS_PER_PEER_MAX = 8
"""One is kept; more come from dials that cross, and from restarts whose old links have not yet fallen silent."""

HEARTBEAT_INTERVAL_S = 1.75
"""Who dialled pings, the other end answers: so both hear something in each such time."""

DOUBT_PING_INTERVAL_S = 0.5
"""A link in doubt is pinged so often, from both ends."""

ANSWER_INTERVAL_S = 0.5
"""A question of one kind is answered at most this often on one link: an answer may be a thousand times as large."""

RTT_WEIGHT = 1 / 8
"""Weight of a new sample, as of SRTT in RFC 6298 section 2."""

RTT_US_MAX = 2**32
"""More than an hour."""

PINGS_MAX = 8
"""Unanswered pings remembered: more than are sent before a link is given up."""


class Link(Struct, eq=False, kw_only=True):
    """One link and what we know of its other end."""

    ident: LinkId
    peer: PeerName
    address: str
    outbound: bool
    serial: int
    """The dialler's number for its dial; unknown (0) until their Hello if they dialled."""
    is_dialled_by_smaller: bool
    opened_at: float
    heard_at: float
    peer_epoch: int = -1
    is_established: bool = False
    is_confirmed: bool = False
    rtt_s: float | None = None
    ping_at: float = 0.0
    ping_number: int = 0
    pings: dict[int, float] = field(default_factory=dict)
    """Number of each unanswered ping → when it was sent."""
    pending: dict[PeerName, None] = field(default_factory=dict)
    """Origins whose record is news to the other end: one merged debt, never a queue of versions."""
    is_blocked: bool = False
    """The other end does not keep up: nothing but heartbeats is sent, debts are merged until it does."""
    owed: dict[str, None] = field(default_factory=dict)
    """Channels with news that was not sent while the link was blocked: their whole state is owed."""
    answered_at: dict[str, float] = field(default_factory=dict)
    glances_passed: int = -1
    """Glances in a row that were left unanswered because news was still on its way; -1 before the first, which never
    is: who has just come must hear all."""
    forged: int = 0
    """Forged records that came over it."""
    wire: int = 0
    """The version that both ends speak; 0 until their Hello."""
    features: frozenset[str] = frozenset()
    """What both ends can do beyond that version."""
    is_spared: bool = False
    """It is being closed only because there are links enough."""
    is_referred: bool = False
    """The other end has closed it and named others, which are dialled instead."""
    doubt: int = 0
    """The number of our doubt about it, see `gossip.suspicion`; 0 while there is none."""
    vouched_by: PeerName | None = None
    """Who hears the peer while we do not."""
    askers: dict[PeerName, int] = field(default_factory=dict)
    """Who wants to know whether we hear the peer → the number of its doubt."""

    @property
    def rank(self) -> tuple[int, bool, int]:
        """Return what decides between links to one peer; the same order at both ends while both live on."""
        return (self.peer_epoch, self.is_dialled_by_smaller, self.serial)

    def may_answer(self, kind: str, now: float) -> bool:
        """Tell whether a question of this kind may be answered now; if so, it counts as answered."""
        if now - self.answered_at.get(kind, -ANSWER_INTERVAL_S) < ANSWER_INTERVAL_S:
            return False
        self.answered_at[kind] = now
        return True

    def ping_due_at(self) -> float:
        """Return when our next ping is due; infinity for the end that only answers, unless it doubts."""
        return self.ping_at if self.outbound or self.doubt else inf

    def next_ping(self, now: float) -> int:
        """Return the number of a ping sent now."""
        self.ping_number += 1
        self.ping_at = now + (DOUBT_PING_INTERVAL_S if self.doubt else HEARTBEAT_INTERVAL_S)
        self.pings[self.ping_number] = now
        if len(self.pings) > PINGS_MAX:
            del self.pings[next(iter(self.pings))]
        return self.ping_number

    def pong(self, number: int, now: float) -> None:
        """Take the answer to a ping as a sample of the round-trip time; unknown numbers are ignored."""
        sent_at = self.pings.pop(number, None)
        if sent_at is None:
            return
        sample_s = now - sent_at
        self.rtt_s = sample_s if self.rtt_s is None else self.rtt_s + RTT_WEIGHT * (sample_s - self.rtt_s)

    def learn_rtt(self, rtt_us: int) -> None:
        """Take over what the other end measured, unless we measure ourselves or it did not say."""
        if rtt_us and not self.outbound:
            self.rtt_s = rtt_us / 1e6

    def rtt_us(self) -> int:
        """Return the round-trip time in microseconds for the other end; 0 if unknown."""
        return 0 if self.rtt_s is None else min(round(self.rtt_s * 1e6), RTT_US_MAX)

    def view(self) -> LinkView:
        """Return it as shown to those who ask."""
        return LinkView(
            link=self.ident,
            peer=self.peer,
            address=self.address,
            outbound=self.outbound,
            established=self.is_established,
            wire=self.wire,
            features=tuple(sorted(self.features)),
            in_doubt=bool(self.doubt),
            rtt_s=self.rtt_s,
            opened_at=self.opened_at,
            last_heard=self.heard_at,
        )


class LinkTable:
    """All links, by number and by peer."""

    def __init__(self) -> None:
        self._links: dict[LinkId, Link] = {}
        self._of_peer: dict[PeerName, dict[LinkId, Link]] = {}
        self._current: dict[PeerName, Link] = {}

    def __len__(self) -> int:
        return len(self._links)

    def __iter__(self) -> Iterator[Link]:
        return iter(tuple(self._links.values()))

    def get(self, ident: LinkId) -> Link | None:
        """Return the link of this number, None if there is none (any more)."""
        return self._links.get(ident)

    def current(self, peer: PeerName) -> Link | None:
        """Return the link over which to speak to `peer`, None if none is established."""
        return self._current.get(peer)

    def currents(self) -> tuple[Link, ...]:
        """Return one established link for each neighbour."""
        return tuple(self._current.values())

    def neighbours(self) -> tuple[PeerName, ...]:
        """Return the peers to whom a link is established, sorted."""
        return tuple(sorted(self._current))

    def is_linked(self, peer: PeerName) -> bool:
        """Tell whether there is any link to `peer`, even if not established yet."""
        return peer in self._of_peer

    def neighbour_count(self) -> int:
        """Return to how many peers a link is established."""
        return len(self._current)

    def count(self, peer: PeerName) -> int:
        """Return how many links there are to `peer`."""
        return len(self._of_peer.get(peer, {}))

    def peer_count(self) -> int:
        """Return to how many peers there is any link."""
        return len(self._of_peer)

    def add(self, link: Link) -> None:
        """Take in a link just opened."""
        assert link.ident not in self._links, f"link {link.ident} was opened twice"
        self._links[link.ident] = link
        self._of_peer.setdefault(link.peer, {})[link.ident] = link

    def remove(self, link: Link) -> None:
        """Forget a link; another established one to the same peer becomes current in its place."""
        del self._links[link.ident]
        siblings = self._of_peer[link.peer]
        del siblings[link.ident]
        if not siblings:
            del self._of_peer[link.peer]
        if self._current.get(link.peer) is link:
            del self._current[link.peer]
            for sibling in siblings.values():
                self._elect(sibling)

    def establish(self, link: Link, *, peer_epoch: int, serial: int) -> None:
        """Note that their Hello came."""
        link.is_established = True
        link.peer_epoch = peer_epoch
        if not link.outbound:
            link.serial = serial
        self._elect(link)

    def surplus(self, link: Link) -> list[Link]:
        """Return the links to the peer of `link` that are to be closed by now."""
        current = self._current.get(link.peer)
        if current is None or not current.is_confirmed or len(self._of_peer[link.peer]) == 1:
            return []
        return [
            sibling
            for sibling in self._of_peer[link.peer].values()
            if sibling.is_established and sibling is not current
        ]

    def _elect(self, link: Link) -> None:
        current = self._current.get(link.peer)
        if link.is_established and (current is None or link.rank > current.rank):
            self._current[link.peer] = link
