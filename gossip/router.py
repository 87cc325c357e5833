"""The router: the ways through the mesh, and unicasts on them.

A unicast takes the link to its destination or else the next hop of the shortest way known here. Peers may disagree
about the ways for a moment; the hop limit ends what would circle. Not here: signatures (`gossip.unicast`), the graph
(`gossip.topology`).
"""

from __future__ import annotations

from math import inf

import msgspec

from gossip.error import LocalMisuse
from gossip.event import Delivered, SendUnicast
from gossip.exchange import Exchange
from gossip.link import Link, LinkTable
from gossip.name import PeerName
from gossip.outbox import Outbox
from gossip.record import Signer, Verify
from gossip.store import RecordStore
from gossip.topology import Route, Topology, Ways
from gossip.unicast import ReplayWindow, is_authentic_unicast, write_unicast
from gossip.view import Counters
from gossip.wire import MESH_CHANNEL, PAYLOAD_BYTES_MAX, Unicast

ROUTES_INTERVAL_S = 0.1
"""Searching the ways round links in doubt is O(mesh); a burst of records costs it at most this often."""


class Router:
    """Ways from one peer to all others."""

    def __init__(
        self,
        *,
        signer: Signer,
        verify: Verify,
        store: RecordStore,
        links: LinkTable,
        exchange: Exchange,
        outbox: Outbox,
        counters: Counters,
        now: float,
    ) -> None:
        self._me = signer.name
        self._signer = signer
        self._verify = verify
        self._store = store
        self._links = links
        self._exchange = exchange
        self._outbox = outbox
        self._counters = counters
        self._topology = Topology()
        self._ways = Ways(self._topology, self._me)
        self._avoided: tuple[PeerName, ...] = ()
        self._is_stale = False
        """The ways are to be searched anew: only where links are avoided, all else is mended at once."""
        self._search_at = now
        self._lost: dict[PeerName, None] = {}
        self._reachable_until: dict[PeerName, float] = {}
        self._windows: dict[PeerName, ReplayWindow] = {}
        self._sequence = 0

    def name_links(self, peer: PeerName, neighbours: tuple[PeerName, ...]) -> None:
        """Note whom `peer` names as its neighbours."""
        edges = self._topology.name_links(peer, neighbours)
        if self._avoided or self._is_stale:
            self._is_stale |= bool(edges.lost or edges.gained)
            return
        for neighbour in edges.gained:
            for reached in self._ways.gained(peer, neighbour):
                self._outbox.changed(reached)
        for neighbour in edges.lost:
            self._lost.update(dict.fromkeys(self._ways.lost(peer, neighbour)))

    def avoid(self, neighbours: tuple[PeerName, ...]) -> None:
        """Use the links to these neighbours only for what cannot be reached in another way; at once."""
        if neighbours != self._avoided:
            self._avoided = neighbours
            self._is_stale = True
            self._search_at = -inf

    def forget(self, peer: PeerName) -> None:
        """Forget all about `peer`."""
        self.name_links(peer, ())
        self._reachable_until.pop(peer, None)
        self._windows.pop(peer, None)

    def search(self, now: float) -> tuple[PeerName, ...]:
        """Search the ways anew if that is needed; tell and return who was lost since the last call."""
        if self._is_stale and now >= self._search_at:
            self._is_stale = False
            self._search_at = now + ROUTES_INTERVAL_S
            known = set(self._ways.reached())
            self._lost.update(dict.fromkeys(self._ways.search(self._avoided)))
            for peer in self._ways.reached():
                if peer not in known:
                    self._outbox.changed(peer)
        if not self._lost:
            return ()
        lost = tuple(peer for peer in self._lost if peer not in self._ways)
        self._lost = {}
        for peer in lost:
            self._reachable_until[peer] = now
            self._outbox.changed(peer)
        return lost

    def deadline(self) -> float | None:
        """Return when `search` has something to do; None if nothing has changed."""
        return self._search_at if self._is_stale else None

    def is_me(self, peer: PeerName) -> bool:
        """Tell whether `peer` is ourselves."""
        return peer == self._me

    def stays_joined(self, neighbour: PeerName) -> bool:
        """Tell whether `neighbour` could be reached without our link to it."""
        return self._topology.stays_joined(self._me, neighbour)

    def route(self, peer: PeerName) -> Route | None:
        """Return the way to `peer`, as far as searched; None if there is none."""
        return self._ways.route(peer)

    def is_reachable(self, peer: PeerName) -> bool:
        """Tell whether there is a way to `peer`."""
        return peer in self._ways

    def reachable(self) -> tuple[PeerName, ...]:
        """Return all other peers to whom there is a way, nearest first."""
        return self._ways.reached()[1:]

    def reachable_until(self, peer: PeerName) -> float | None:
        """Return when the last way to `peer` was lost; None if that never happened."""
        return self._reachable_until.get(peer)

    def unreachable_count(self) -> int:
        """Return how many peers are known to which there is no way."""
        return len(self._store) - len(self._ways)

    def send(self, event: SendUnicast, epoch: int) -> None:
        """Sign and send a unicast of ours; LocalMisuse if nobody registered its channel or it is too large."""
        if not self._exchange.is_registered(event.channel) or len(event.payload) > PAYLOAD_BYTES_MAX:
            raise LocalMisuse(f"{len(event.payload)} bytes for channel {event.channel!r}: not registered, or too many")
        if event.destination == self._me:
            self._outbox.deliver(Delivered(event.channel, self._me, event.payload, unicast=True))
            return
        self._write(event.channel, event.destination, event.payload, epoch)

    def send_own(self, destination: PeerName, payload: bytes, epoch: int) -> None:
        """Sign and send a unicast on MESH_CHANNEL."""
        self._write(MESH_CHANNEL, destination, payload, epoch)

    def unicast_received(self, unicast: Unicast) -> Unicast | None:
        """Deliver a unicast that is for us, once; pass on any other, unless its source was removed from the mesh.

        Return it if it came on MESH_CHANNEL and was for us.
        """
        if self._store.is_fenced(unicast.source):
            self._counters.fenced += 1
        elif unicast.destination != self._me:
            self._forward(unicast)
        elif unicast.channel != MESH_CHANNEL and not self._exchange.is_registered(unicast.channel):
            self._counters.unregistered += 1
        elif unicast.source not in self._store:
            # A source is known before its unicasts come, as its record takes the same links; this bounds the windows.
            self._counters.strangers += 1
        elif not is_authentic_unicast(unicast, self._verify):
            self._counters.forged += 1
        elif not self._windows.setdefault(unicast.source, ReplayWindow()).take(unicast.epoch, unicast.sequence):
            self._counters.replayed += 1
        elif unicast.channel == MESH_CHANNEL:
            return unicast
        else:
            self._outbox.deliver(Delivered(unicast.channel, unicast.source, unicast.payload, unicast=True))
        return None

    def check(self) -> bool:
        """Tell whether each next hop is a neighbour, as it must be unless the ways are to be searched anew."""
        routes = (self._ways.route(peer) for peer in self.reachable())
        hops = {route.next_hop for route in routes if route is not None}
        return self._is_stale or all(hop is not None and self._links.current(hop) is not None for hop in hops)

    def _write(self, channel: str, destination: PeerName, payload: bytes, epoch: int) -> None:
        self._sequence += 1
        self._forward(write_unicast(self._signer, channel, destination, payload, epoch=epoch, sequence=self._sequence))

    def _forward(self, unicast: Unicast) -> None:
        link = self._link_towards(unicast.destination)
        if link is None or unicast.hops == 0:
            self._counters.unroutable += 1
            return
        self._exchange.push_now(link)  # Records of the source that are still owed go first.
        self._outbox.send(link.ident, msgspec.structs.replace(unicast, hops=unicast.hops - 1))

    def _link_towards(self, destination: PeerName) -> Link | None:
        direct = self._links.current(destination)
        if direct is not None and not direct.doubt:
            return direct
        route = self._ways.route(destination)
        on_the_way = None if route is None or route.next_hop is None else self._links.current(route.next_hop)
        return on_the_way or direct
