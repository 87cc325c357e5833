"""The dialler: turns what targets and discovery wish into dials, and tells each which of its dials succeeded.

A target that somebody gave is dialled as such, never as a discovered address. Not here: when and why (`gossip.target`,
`gossip.discovery`), the connecting itself (the shell).
"""

from __future__ import annotations

import random
from collections.abc import Callable

from gossip.discovery import Discovery
from gossip.link import LINKS_MAX, Link, LinkTable
from gossip.name import PeerName, Target
from gossip.option import MeshOptions
from gossip.outbox import Outbox
from gossip.store import RecordStore
from gossip.target import TargetTable


class Dialler:
    """All dials of one peer."""

    def __init__(
        self,
        *,
        me: PeerName,
        options: MeshOptions,
        rng: random.Random,
        store: RecordStore,
        links: LinkTable,
        outbox: Outbox,
        now: float,
    ) -> None:
        self._me = me
        self._options = options
        self._store = store
        self._links = links
        self._outbox = outbox
        self.targets = TargetTable(rng)
        self.discovery = Discovery(me=me, rng=rng, is_enabled=options.discovery, now=now)

    def found(self, target: Target | None, peer: PeerName, now: float) -> None:
        """Note that a link to `peer` was opened, by a dial of `target` unless that is None."""
        if target is not None and not self.targets.found(target, peer, ourselves=peer == self._me):
            self.discovery.found(target, peer, now)
        if peer != self._me:
            self.targets.linked(peer)

    def failed(self, target: Target, reason: str, now: float) -> None:
        """Note that a dial failed."""
        if not self.targets.failed(target, reason, now):
            self.discovery.failed(target, now)

    def unlinked(self, link: Link, reason: str, now: float) -> None:
        """Note that a link is gone; only the last one to its peer matters."""
        if self._links.is_linked(link.peer):
            return
        lived_s = now - link.opened_at if link.is_established else 0.0
        self.targets.unlinked(link.peer, reason, lived_s=lived_s, now=now)
        self.discovery.unlinked(link.peer, lived_s=lived_s, now=now)

    def dial_targets(self, now: float) -> None:
        """Dial the targets that are due."""
        for target in self.targets.start_due(self._links.is_linked, self._room(), now):
            self._outbox.dial(target)

    def dial_discovered(self, is_reachable: Callable[[PeerName], bool], now: float) -> None:
        """Dial peers that we heard of, if there are too few links or peers out of reach."""
        for target in self.discovery.choose(
            linked_count=self._links.peer_count(),
            is_linked=self._links.is_linked,
            is_reachable=is_reachable,
            address=self._address,
            room=self._room(),
            now=now,
        ):
            self._outbox.dial(target)

    def deadline(self, unreachable_count: int) -> float | None:
        """Return when one of the two is due; None if neither will be without an input."""
        due = (
            self.targets.deadline(),
            self.discovery.deadline(linked_count=self._links.peer_count(), unreachable_count=unreachable_count),
        )
        return min((when for when in due if when is not None), default=None)

    def _room(self) -> int:
        return LINKS_MAX - len(self._links)

    def _address(self, peer: PeerName) -> Target | None:
        known = self._store.get(peer)
        if known is None:
            return None
        target = self._options.dial_address(peer, known.body.summary)
        return None if target is None or target in self.targets else target
