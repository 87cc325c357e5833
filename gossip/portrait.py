"""The portrait: the peers as they are shown to those who ask, put together from what each part knows.

Changes nothing. Not here: the views of links and targets, which these make themselves.
"""

from __future__ import annotations

from gossip.discovery import Discovery
from gossip.link import LinkTable
from gossip.name import PeerName
from gossip.router import Router
from gossip.store import RecordStore
from gossip.view import PeerView


class Portrait:
    """Views of peers."""

    def __init__(
        self, *, me: PeerName, store: RecordStore, links: LinkTable, router: Router, discovery: Discovery
    ) -> None:
        self._me = me
        self._store = store
        self._links = links
        self._router = router
        self._discovery = discovery

    def peers(self, now: float) -> tuple[PeerView, ...]:
        """Return all peers known or linked: ourselves first, then by name."""
        others = dict.fromkeys((*self._store, *self._links.neighbours()))
        others.pop(self._me, None)
        return tuple(self._view(peer, now) for peer in (self._me, *sorted(others)))

    def peer(self, name: PeerName, now: float) -> PeerView | None:
        """Return one peer; None if it is neither known nor linked."""
        is_known = name in self._store or self._links.current(name) is not None
        return self._view(name, now) if is_known else None

    def _view(self, peer: PeerName, now: float) -> PeerView:
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
            last_heard=now if is_me else max((when for when in heard if when is not None), default=None),
            links=tuple(sorted(known.body.links)) if known else (),
            reports=known.body.reports if known else (),
            dial_failure=self._discovery.failure(peer),
        )
