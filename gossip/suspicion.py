"""Suspicion: whether a silent neighbour is dead, or only the way between us is broken, or we are slow ourselves.

Theory of operation. After the indirect probes of SWIM (Das, Gupta, Motivala 2002), on a mesh of few links:

    nothing heard for DOUBT_S       -> in doubt: pinged more often, unicasts go other ways, and up to HELPERS of its
                                       other neighbours are asked by an `Ask` whether they hear it
    an asked peer hears it          -> it answers with a `Vouch`, at once or as soon as the subject's next frame comes
    any frame of the subject        -> doubt is over: it has refuted
    SILENCE_MAX_S, no Vouch         -> the link is given up; once all its neighbours did so, all know that it is dead
    SILENCE_VOUCHED_S, with a Vouch -> the link is given up: the peer lives, the way between us does not

All three times are stretched by our own ill health (`gossip.health`). Asks and Vouches are unicasts on a channel of
the Mesh's own (`gossip.wire.MESH_CHANNEL`), signed by who says so. Not here: giving up (`gossip.neighbourhood`), what
is concluded from the links that are left (`gossip.topology`).
"""

from __future__ import annotations

import random
from typing import assert_never

import msgspec

from gossip.health import LocalHealth
from gossip.link import HEARTBEAT_INTERVAL_S, Link, LinkTable
from gossip.name import PeerName
from gossip.record import Count, Name
from gossip.router import Router
from gossip.store import RecordStore

DOUBT_S = 2.75
"""A heartbeat is a second late, and there is time left to ask others."""

SILENCE_MAX_S = 3.5
"""A link on which nothing came for so long is dead if nobody vouches for its peer. With the spreading of the news, all
know within 5 s; TCP alone would notice after minutes.
"""

SILENCE_VOUCHED_S = 8.0
"""The same where somebody vouches: the peer is only slow, or the way to it, and a new link would do no better."""

HELPERS = 3
"""Peers asked: if a tenth of all messages were lost, all three would fail to answer once in two hundred times."""

FRESH_S = 0.5
"""Who heard the subject so lately vouches at once; else it waits for the subject's next frame."""

ASKERS_MAX = 32
"""Askers remembered for one subject: twice its neighbours."""


class Ask(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """Do you hear `subject`?"""

    subject: Name
    number: Count


class Vouch(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Yes, I have heard `subject` since, or just before, you asked."""

    subject: Name
    number: Count


_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Ask | Vouch] = msgspec.msgpack.Decoder(Ask | Vouch)


class Suspicion:
    """Doubts of our own and the doubts of others about our neighbours."""

    def __init__(
        self, *, store: RecordStore, links: LinkTable, router: Router, rng: random.Random, health: LocalHealth
    ) -> None:
        self._store = store
        self._links = links
        self._router = router
        self._rng = rng
        self._health = health
        self._number = 0
        self._to_ask: list[Link] = []

    def doubt_at(self, link: Link) -> float:
        """Return when `link` comes into doubt unless something is heard."""
        return link.heard_at + DOUBT_S * self._health.factor

    def gives_up_at(self, link: Link) -> float:
        """Return when `link` is given up unless something is heard."""
        limit_s = SILENCE_MAX_S if link.vouched_by is None else SILENCE_VOUCHED_S
        return link.heard_at + limit_s * self._health.factor

    def verdict(self, link: Link, now: float) -> str:
        """Return the sentence that says why `link` is given up."""
        silence = f"nothing heard for {now - link.heard_at:.1f} s"
        if link.vouched_by is None:
            return silence
        return f"{silence}, though {link.vouched_by} hears it: the way between us is broken"

    def doubt(self, link: Link, now: float) -> None:
        """Begin to doubt; again does nothing. The asking is done by `ask`, when other ways have been searched."""
        if link.doubt:
            return
        self._number += 1
        link.doubt = self._number
        link.ping_at = now
        self._to_ask.append(link)
        self._router.avoid(self._doubtful())

    def ask(self, *, epoch: int) -> None:
        """Ask others about the peers that came into doubt since the last call."""
        to_ask, self._to_ask = self._to_ask, []
        for link in to_ask:
            known = self._store.get(link.peer)
            helpers = [peer for peer in (known.body.links if known else ()) if self._can_help(peer)]
            question = _encoder.encode(Ask(link.peer, link.doubt))
            for helper in self._rng.sample(helpers, min(HELPERS, len(helpers))):
                self._router.send_own(helper, question, epoch)

    def heard(self, link: Link, now: float, *, epoch: int) -> None:
        """Note that something came over `link`: our doubts are over, and whoever asked is told."""
        link.heard_at = now
        if link.doubt:
            link.doubt, link.vouched_by = 0, None
            self._router.avoid(self._doubtful())
        if link.askers:
            askers, link.askers = link.askers, {}
            for asker, number in askers.items():
                self._router.send_own(asker, _encoder.encode(Vouch(link.peer, number)), epoch)

    def gone(self) -> None:
        """Note that a link is gone, perhaps one in doubt."""
        self._router.avoid(self._doubtful())

    def told(self, source: PeerName, payload: bytes, now: float, *, epoch: int) -> Link | None:
        """Take in a message on MESH_CHANNEL; return the link to be pinged at once, if it takes one to answer."""
        try:
            message = _decoder.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None  # of a later release, or nonsense: it is nobody else's fault, and harmless
        link = self._links.current(message.subject)
        if link is None:
            return None
        match message:
            case Vouch():
                if link.doubt == message.number and source != link.peer:
                    link.vouched_by = source
                return None
            case Ask():
                if now - link.heard_at <= FRESH_S:
                    self._router.send_own(source, _encoder.encode(Vouch(link.peer, message.number)), epoch)
                    return None
                if len(link.askers) < ASKERS_MAX:
                    link.askers[source] = message.number
                return link
            case _:
                assert_never(message)

    def _can_help(self, peer: PeerName) -> bool:
        link = self._links.current(peer)
        return self._router.is_reachable(peer) and not self._router.is_me(peer) and not (link and link.doubt)

    def _doubtful(self) -> tuple[PeerName, ...]:
        return tuple(link.peer for link in self._links.currents() if link.doubt)


assert HEARTBEAT_INTERVAL_S + 1 <= DOUBT_S < SILENCE_MAX_S < SILENCE_VOUCHED_S
