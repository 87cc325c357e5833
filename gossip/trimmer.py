"""The trimmer: gives links up where there are too many, so that a hub that all were told to join ends up like any peer.

Theory of operation. A peer with more than `links_wanted(N) + SPARE` neighbours gives some links up every
TRIM_INTERVAL_S. It takes those that are no loss: of neighbours that could be reached without it and have more links
than they want, those with the most links first, and targets of its own user last. The Bye says SURPLUS, so that nobody
dials at once again. Far above the limit, or when there were none such for PATIENCE_S, also neighbours go that will then
look for another link: they find peers with fewer than we have. A new link that would be one too many is given up at
once, before anybody is told of it, if its peer is reached anyway: so a thousand targets cost a thousand handshakes, and
no more. Where discovery is off, the links are the user's design,
and nothing is trimmed. Counterpart: `gossip.discovery`.
"""

from __future__ import annotations

from collections.abc import Iterator

from gossip.discovery import LINKS_WANTED_MIN, links_wanted
from gossip.link import Link, LinkTable
from gossip.router import Router
from gossip.store import RecordStore
from gossip.target import TargetTable

SPARE = 2
"""Links above the wanted ones that are kept: who lacks one finds a peer that may take it."""

ROOM = 8
"""Links above the wanted ones that are let in at all. A hub that fifty are told to join at once would else do fifty
peers' work, while those whom it has let in have room: it names them.
"""

TRIM_INTERVAL_S = 1.0
"""Between two looks: what goes at once is told in one record."""

TRIMMED_AT_ONCE_MAX = 8
"""A hub is as any other within seconds, while those who left find others."""

PATIENCE_S = 3.0
"""Most surpluses go by themselves, as others trim theirs."""

YOUNG_S = 3.0
"""A link younger than this is kept: its peer has only just joined, and learns over it whom else to dial."""


class Trimmer:
    """Which link to give up, and when."""

    def __init__(
        self,
        *,
        store: RecordStore,
        links: LinkTable,
        router: Router,
        targets: TargetTable,
        is_enabled: bool,
        now: float,
    ) -> None:
        self._store = store
        self._links = links
        self._router = router
        self._targets = targets
        self._is_enabled = is_enabled
        self._look_at = now
        self._trimmed_at = now

    def is_full(self) -> bool:
        """Tell whether another link would be one too many."""
        return self._is_enabled and self._links.neighbour_count() >= links_wanted(len(self._store)) + SPARE

    def has_room(self) -> bool:
        """Tell whether a newcomer is let in."""
        return not self._is_enabled or len(self._links) < links_wanted(len(self._store)) + ROOM

    def choose(self, now: float) -> Iterator[Link]:
        """Yield the links to give up now, each to be closed before the next is taken; none if it is not time."""
        if not self._has_surplus() or now < self._look_at:
            return
        self._look_at = now + TRIM_INTERVAL_S
        wanted = links_wanted(len(self._store))
        surplus = self._links.neighbour_count() - wanted - SPARE
        count = min(TRIMMED_AT_ONCE_MAX, surplus)
        for link in self._candidates(LINKS_WANTED_MIN if surplus > SPARE else wanted, now):
            if count and self._router.stays_joined(link.peer):
                self._trimmed_at = now
                count -= 1
                yield link
        if now - self._trimmed_at < PATIENCE_S:
            return
        for link in self._candidates(LINKS_WANTED_MIN, now):
            if self._router.stays_joined(link.peer):
                self._trimmed_at = now
                yield link
                return

    def deadline(self) -> float | None:
        """Return when to look again; None while there are not too many links."""
        return self._look_at if self._has_surplus() else None

    def _has_surplus(self) -> bool:
        return self._is_enabled and self._links.neighbour_count() > links_wanted(len(self._store)) + SPARE

    def _candidates(self, least: int, now: float) -> list[Link]:
        return sorted((link for link in self._links.currents() if self._may_go(link, least, now)), key=self._loss)

    def _may_go(self, link: Link, least: int, now: float) -> bool:
        return link.is_confirmed and now - link.opened_at >= YOUNG_S and self._load(link) > least

    def _load(self, link: Link) -> int:
        known = self._store.get(link.peer)
        return 0 if known is None else len(known.body.links)

    def _loss(self, link: Link) -> tuple[bool, int, str]:
        return (self._targets.leads_to(link.peer), -self._load(link), link.peer)
