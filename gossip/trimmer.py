"""The trimmer: gives links up where there are too many, so that a hub that all were told to join ends up like any peer.

Theory of operation. A peer with more than `links_wanted(N) + SPARE` neighbours gives one link up every TRIM_INTERVAL_S.
It takes one that is no loss: of a neighbour that could be reached without it and has links left, the neighbour with the
most links first, and targets of its own user last. The Bye says SURPLUS, so that nobody dials at once again. Far above
the limit it also takes neighbours that will then look for another link: these find peers with fewer than we have.
Where discovery is off, the links are the user's design, and nothing is trimmed. Counterpart: `gossip.discovery`.
"""

from __future__ import annotations

from gossip.discovery import LINKS_WANTED_MIN, links_wanted
from gossip.link import Link, LinkTable
from gossip.router import Router
from gossip.store import RecordStore
from gossip.target import TargetTable

SPARE = 2
"""Links above the wanted ones that are kept: who lacks one finds a peer that may take it."""

TRIM_INTERVAL_S = 0.25
"""Four links a second: a hub of 64 is as any other within a quarter of a minute, while those who left find others."""

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

    def choose(self, now: float) -> Link | None:
        """Return the link to give up now; None if all are to be kept or it is not time."""
        if not self._has_surplus() or now < self._look_at:
            return None
        self._look_at = now + TRIM_INTERVAL_S
        wanted = links_wanted(len(self._store))
        is_crowded = self._links.neighbour_count() > wanted + 2 * SPARE
        least = LINKS_WANTED_MIN if is_crowded else wanted
        candidates = [link for link in self._links.currents() if self._may_go(link, least, now)]
        for link in sorted(candidates, key=self._loss):
            if self._router.stays_joined(link.peer):
                return link
        return None

    def deadline(self) -> float | None:
        """Return when to look again; None while there are not too many links."""
        return self._look_at if self._has_surplus() else None

    def _has_surplus(self) -> bool:
        return self._is_enabled and self._links.neighbour_count() > links_wanted(len(self._store)) + SPARE

    def _may_go(self, link: Link, least: int, now: float) -> bool:
        return link.is_confirmed and now - link.opened_at >= YOUNG_S and self._load(link) > least

    def _load(self, link: Link) -> int:
        known = self._store.get(link.peer)
        return 0 if known is None else len(known.body.links)

    def _loss(self, link: Link) -> tuple[bool, int, str]:
        return (self._targets.leads_to(link.peer), -self._load(link), link.peer)
