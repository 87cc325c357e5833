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
from gossip.wire import OTHERS_MAX


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
        self._rng = rng
        self._options = options
        self._store = store
        self._links = links
        self._outbox = outbox
        self.targets = TargetTable(rng, may_rest=options.discovery)
        self.discovery = Discovery(me=me, rng=rng, is_enabled=options.discovery, now=now)

    def found(self, target: Target | None, peer: PeerName, now: float) -> None:
        """Note that a link to `peer` was opened, by a dial of `target` unless that is None."""
        if target is not None and not self.targets.found(target, peer, ourselves=peer == self._me):
            self.discovery.found(target, peer, now)
        if peer != self._me:
            self.targets.linked(peer)

    def failed(self, target: Target, reason: str, now: float) -> None:
        """Note that a dial failed."""
        if self.targets.failed(target, reason, now):
            return
        self.discovery.failed(target, reason, now)
        self._return_to_who_referred_us(now)

    def unlinked(self, link: Link, reason: str, *, is_reachable: bool, now: float) -> None:
        """Note that a link is gone; only the last one to its peer matters."""
        if self._links.is_linked(link.peer):
            return
        lived_s = now - link.opened_at if link.is_established else 0.0
        self.targets.unlinked(
            link.peer,
            reason,
            is_spared=link.is_spared,
            is_referred=link.is_referred,
            is_reachable=is_reachable,
            lived_s=lived_s,
            now=now,
        )
        self.discovery.unlinked(link.peer, None if link.is_spared else reason, lived_s=lived_s, now=now)
        self._return_to_who_referred_us(now)

    def dial_targets(self, is_reachable: Callable[[PeerName], bool], now: float) -> None:
        """Dial the targets that are due."""
        for target in self.targets.start_due(self._links.is_linked, is_reachable, self._room(), now):
            self._outbox.dial(target)

    def dial_discovered(self, is_reachable: Callable[[PeerName], bool], *, unreachable_count: int, now: float) -> None:
        """Dial peers that we heard of, if there are too few links or peers out of reach."""
        for target in self.discovery.choose(
            linked_count=self._links.peer_count(),
            unreachable_count=unreachable_count,
            is_linked=self._links.is_linked,
            is_reachable=is_reachable,
            addresses=self._addresses,
            load=self._load,
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

    def others(self, but: PeerName, is_reachable: Callable[[PeerName], bool]) -> tuple[Target, ...]:
        """Return addresses of a few reachable peers, drawn at random, for one that we have no room for."""
        peers = [peer for peer in self._store if peer not in (but, self._me) and is_reachable(peer)]
        drawn = self._rng.sample(peers, min(OTHERS_MAX, len(peers)))
        return tuple(addresses[0] for peer in drawn if (addresses := self._known_addresses(peer)))

    def _return_to_who_referred_us(self, now: float) -> None:
        """If nobody is left who was named instead."""
        if not self._links.peer_count() and not self.discovery.has_hope():
            self.targets.hasten(now)

    def _room(self) -> int:
        return LINKS_MAX - len(self._links)

    def _load(self, peer: PeerName) -> int:
        known = self._store.get(peer)
        return 0 if known is None else len(known.body.links)

    def _addresses(self, peer: PeerName) -> tuple[Target, ...]:
        return tuple(target for target in self._known_addresses(peer) if target not in self.targets)

    def _known_addresses(self, peer: PeerName) -> tuple[Target, ...]:
        known = self._store.get(peer)
        return () if known is None else self._options.dial_addresses(peer, known.body.summary)
