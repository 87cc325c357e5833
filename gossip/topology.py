"""Who is linked with whom, and the shortest ways from one peer to all others.

An edge counts only if both its ends name it: what a dead peer once said of its links leads nowhere, because the living
have struck it off their side. The ways form a tree of shortest paths, which each change mends in place at the price of
what it touches (Ramalingam and Reps 1996): a gained edge is relaxed; a lost one matters only if it is in the tree, and
then only to those below it who have no other neighbour as near as the one that they lost.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import NamedTuple

from msgspec import Struct

from gossip.name import PeerName


class Route(Struct, frozen=True):
    """The shortest way to a peer."""

    hops: int
    """Links on the way; 0 for the start itself."""
    next_hop: PeerName | None
    """The first neighbour on it; None for the start itself."""


class Edges(NamedTuple):
    """Edges of one peer that came and went."""

    gained: list[PeerName]
    lost: list[PeerName]


class Topology:
    """The graph of links that both ends name."""

    def __init__(self) -> None:
        # Dictionaries serve as ordered sets: iteration must not depend on the hash seed.
        self._named: dict[PeerName, dict[PeerName, None]] = {}
        self._mutual: dict[PeerName, dict[PeerName, None]] = {}

    def name_links(self, peer: PeerName, neighbours: tuple[PeerName, ...]) -> Edges:
        """Note that `peer` names `neighbours`, and them only. Return which edges came and went."""
        before, edges = self._named.get(peer, {}), Edges([], [])
        named = dict.fromkeys(neighbours)
        named.pop(peer, None)
        if named == before:
            return edges
        self._named[peer] = named
        mutual = self._mutual.setdefault(peer, {})
        for neighbour in before:
            if neighbour not in named and neighbour in mutual:
                del mutual[neighbour], self._mutual[neighbour][peer]
                edges.lost.append(neighbour)
        for neighbour in named:
            if neighbour not in before and peer in self._named.get(neighbour, ()):
                mutual[neighbour] = None
                self._mutual.setdefault(neighbour, {})[peer] = None
                edges.gained.append(neighbour)
        return edges

    def neighbours(self, peer: PeerName) -> dict[PeerName, None]:
        """Return the peers to whom `peer` has an edge; not to be changed."""
        return self._mutual.get(peer, {})

    def stays_joined(self, one: PeerName, other: PeerName) -> bool:
        """Tell whether `one` and `other` would still reach each other without the edge between them."""
        queue = deque(peer for peer in self.neighbours(one) if peer != other)
        seen = {one, other, *queue}
        ends = self.neighbours(other)
        while queue:
            peer = queue.popleft()
            if peer in ends:
                return True
            for neighbour in self.neighbours(peer):
                if neighbour not in seen:
                    seen.add(neighbour)
                    queue.append(neighbour)
        return False


class Ways:
    """The tree of shortest ways from one peer."""

    def __init__(self, topology: Topology, start: PeerName) -> None:
        self._topology = topology
        self._start = start
        self._hops: dict[PeerName, int] = {start: 0}
        self._before: dict[PeerName, PeerName] = {}
        """Each peer's predecessor on the way to it."""

    def __len__(self) -> int:
        return len(self._hops)

    def __contains__(self, peer: object) -> bool:
        return peer in self._hops

    def reached(self) -> tuple[PeerName, ...]:
        """Return all peers to whom there is a way, the start itself first."""
        return tuple(self._hops)

    def route(self, peer: PeerName) -> Route | None:
        """Return the way to `peer`; None if there is none."""
        hops = self._hops.get(peer)
        if not hops:
            return None if hops is None else Route(0, None)
        first = peer
        while (before := self._before[first]) != self._start:
            first = before
        return Route(hops, first)

    def search(self, avoided: tuple[PeerName, ...] = ()) -> list[PeerName]:
        """Search all ways anew; return to whom there was a way and is none now.

        The links from the start to `avoided` are used only for what cannot be reached in another way.
        """
        was_reached = self._hops
        self._hops, self._before = {self._start: 0}, {}
        neighbours = self._topology.neighbours(self._start)
        for first in ([peer for peer in neighbours if peer not in avoided], avoided):
            queue: deque[PeerName] = deque()
            for neighbour in first:
                if neighbour in neighbours and neighbour not in self._hops:
                    self._hops[neighbour], self._before[neighbour] = 1, self._start
                    queue.append(neighbour)
            self._extend(queue)
        return [peer for peer in was_reached if peer not in self._hops]

    def gained(self, one: PeerName, other: PeerName) -> list[PeerName]:
        """Take in a new edge; return whom it makes reachable."""
        known = len(self._hops)
        to_one, to_other = self._hops.get(one, known + 1), self._hops.get(other, known + 1)
        if abs(to_one - to_other) <= 1:
            return []
        nearer, farther = (one, other) if to_one < to_other else (other, one)
        self._hops[farther], self._before[farther] = self._hops[nearer] + 1, nearer
        self._extend(deque([farther]))
        # New entries stand at the end; `farther` is one of them unless there was a longer way before.
        return list(islice(reversed(self._hops), len(self._hops) - known))

    def lost(self, one: PeerName, other: PeerName) -> list[PeerName]:
        """Strike an edge off, after all that came were taken in; return whom it makes unreachable."""
        for upper, lower in ((one, other), (other, one)):
            if self._before.get(lower) == upper:
                orphans = self._orphans(lower)
                self._adopt(orphans)
                return [peer for peer in orphans if peer not in self._hops]
        return []

    def _orphans(self, lower: PeerName) -> dict[PeerName, None]:
        """Return who has no way as short as before, when `lower` has lost its own; who has another one takes it."""
        hops, before = self._hops, self._before
        orphans: dict[PeerName, None] = {}
        queue = deque([lower])  # Nearer ones stand before farther ones, so that who is looked at has the last word.
        while queue:
            peer = queue.popleft()
            near = hops[peer] - 1
            neighbours = self._topology.neighbours(peer)
            for neighbour in neighbours:
                if hops.get(neighbour) == near and neighbour not in orphans:
                    before[peer] = neighbour
                    break
            else:
                orphans[peer] = None
                queue.extend(neighbour for neighbour in neighbours if before.get(neighbour) == peer)
        return orphans

    def _adopt(self, orphans: dict[PeerName, None]) -> None:
        """Find longer ways for those that lost theirs, as far as there are any."""
        hops, before = self._hops, self._before
        for peer in orphans:
            del hops[peer], before[peer]
        adopted: deque[PeerName] = deque()
        for peer in orphans:
            reached = [neighbour for neighbour in self._topology.neighbours(peer) if neighbour in hops]
            if reached:
                nearest = min(reached, key=hops.__getitem__)
                hops[peer], before[peer] = hops[nearest] + 1, nearest
                adopted.append(peer)
        self._extend(adopted)

    def _extend(self, queue: deque[PeerName]) -> None:
        hops, before = self._hops, self._before
        while queue:
            peer = queue.popleft()
            beyond = hops[peer] + 1
            for neighbour in self._topology.neighbours(peer):
                known = hops.get(neighbour)
                if known is None or known > beyond:
                    hops[neighbour], before[neighbour] = beyond, peer
                    queue.append(neighbour)
