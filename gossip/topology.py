"""Who is linked with whom, and who can be reached.

An edge counts only if both its ends name it: what a dead peer once said of its links leads nowhere, because the living
have struck it off their side. Keeping the edges costs O(links) per record; the ways are found by breadth-first search,
on demand.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from gossip.name import PeerName


@dataclass(frozen=True, slots=True)
class Route:
    """The shortest way to a peer."""

    hops: int
    """Links on the way; 0 for the start itself."""
    next_hop: PeerName | None
    """The first neighbour on it; None for the start itself."""


class Topology:
    """The graph of links that both ends name."""

    def __init__(self) -> None:
        # Dictionaries serve as ordered sets: iteration must not depend on the hash seed.
        self._named: dict[PeerName, dict[PeerName, None]] = {}
        self._mutual: dict[PeerName, dict[PeerName, None]] = {}

    def name_links(self, peer: PeerName, neighbours: tuple[PeerName, ...]) -> bool:
        """Note that `peer` names `neighbours`, and them only. Return whether an edge came or went."""
        before = self._named.get(peer, {})
        named = {neighbour: None for neighbour in neighbours if neighbour != peer}
        self._named[peer] = named
        has_changed = False
        for neighbour in before:
            if neighbour not in named and neighbour in self._mutual.get(peer, {}):
                del self._mutual[peer][neighbour], self._mutual[neighbour][peer]
                has_changed = True
        for neighbour in named:
            if neighbour not in before and peer in self._named.get(neighbour, {}):
                self._mutual.setdefault(peer, {})[neighbour] = None
                self._mutual.setdefault(neighbour, {})[peer] = None
                has_changed = True
        return has_changed

    def routes(self, start: PeerName, avoided: tuple[PeerName, ...] = ()) -> dict[PeerName, Route]:
        """Return the shortest route to each peer that can be reached from `start`, itself included.

        The links from `start` to `avoided` are used only for what cannot be reached in another way.
        """
        routes = {start: Route(0, None)}
        neighbours = self._mutual.get(start, {})
        for first in ([peer for peer in neighbours if peer not in avoided], [*avoided]):
            queue: deque[PeerName] = deque()
            for neighbour in first:
                if neighbour in neighbours and neighbour not in routes:
                    routes[neighbour] = Route(1, neighbour)
                    queue.append(neighbour)
            self._search(queue, routes)
        return routes

    def stays_joined(self, one: PeerName, other: PeerName) -> bool:
        """Tell whether `one` and `other` would still reach each other without the link between them."""
        seen = {one: None, other: None}
        queue = deque(peer for peer in self._mutual.get(one, {}) if peer != other)
        seen.update(dict.fromkeys(queue))
        ends = self._mutual.get(other, {})
        while queue:
            peer = queue.popleft()
            if peer in ends:
                return True
            for neighbour in self._mutual.get(peer, {}):
                if neighbour not in seen:
                    seen[neighbour] = None
                    queue.append(neighbour)
        return False

    def _search(self, queue: deque[PeerName], routes: dict[PeerName, Route]) -> None:
        while queue:
            peer = queue.popleft()
            here = routes[peer]
            for neighbour in self._mutual.get(peer, {}):
                if neighbour not in routes:
                    routes[neighbour] = Route(here.hops + 1, here.next_hop)
                    queue.append(neighbour)
