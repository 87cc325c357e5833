"""The peer book: what is known of each peer, translated for the overlay once for each change of that peer.

Without it each piece of news would cost a look at the whole mesh. Counterparts: `gossip.Mesh`, whose `PeerChanged`
says what to look at anew; `weavemesh.overlay.plan` and the prober, which take what is here. Decides nothing.
"""

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network

from msgspec import Struct
from msgspec.structs import replace

from gossip import Mesh, PeerName
from weavemesh.overlay.pathevent import PathPeer
from weavemesh.overlay.plan import PlannedPeer
from weavemesh.overlay.probe import ProbeName
from weavemesh.overlay.state import Endpoint, PublicKey
from weavemesh.planning import path_peer, planned_peer, summary_of
from weavemesh.summary import Summary
from weavemesh.trust import Secrets


class _Page(Struct, frozen=True):
    summary: Summary
    planned: PlannedPeer
    path: PathPeer
    address: IPv4Address | None
    """Its own address in the mesh, in its own words."""
    had_address: bool
    """It has had one in our time: before that it has no tunnels, and nobody there answers knocks."""


class PeerBook:
    """All other peers that say something of themselves that we understand."""

    def __init__(
        self,
        mesh: Mesh,
        *,
        own_key: Callable[[], PublicKey],
        secrets: Secrets,
        chosen: Callable[[PeerName], Endpoint | None],
    ) -> None:
        """`own_key` is this peer's WireGuard key, on which the preshared keys depend, as they do on the secrets.

        `chosen` is the endpoint of a peer that was found to work; where it changes, `changed` is called.
        """
        self._mesh = mesh
        self._own_key = own_key
        self._secrets = secrets
        self._chosen = chosen
        self._pages: dict[PeerName, _Page] = {}
        self._stale: set[PeerName] = {view.name for view in mesh.peers()}
        self._linked: set[PeerName] = set()
        self._depends_on: object = None
        self._planned: tuple[PlannedPeer, ...] | None = None

    def changed(self, peer: PeerName) -> None:
        """Something about `peer` has changed."""
        self._stale.add(peer)

    def planned(self) -> tuple[PlannedPeer, ...]:
        """All peers with their keys and endpoints, by name; the very same tuple and peers while nothing changes."""
        self._refresh()
        if self._planned is None:
            self._planned = tuple(self._pages[name].planned for name in sorted(self._pages))
        return self._planned

    def path_peers(self) -> dict[PeerName, PathPeer]:
        """The peers as the path machine looks for them, by name: those that have had tunnels, also if they restart."""
        self._refresh()
        return {name: self._pages[name].path for name in sorted(self._pages) if self._pages[name].had_address}

    def probe_addresses(self, owned: Callable[[PeerName], Sequence[IPv4Network]]) -> dict[ProbeName, IPv4Address]:
        """The addresses in the mesh of all peers that have one: having one, a peer has set up its tunnels.

        Only addresses that the peer owns in the ring count: to others its tunnel does not lead, and they may be ours.
        """
        self._refresh()
        return {
            ProbeName(name): page.address
            for name, page in self._pages.items()
            if page.address is not None and any(page.address in network for network in owned(name))
        }

    def _refresh(self) -> None:
        depends_on = (self._own_key(), self._secrets.fingerprints())
        if depends_on != self._depends_on:
            self._depends_on = depends_on
            self._stale |= set(self._pages)
        # Of links that come and go among peers that could be reached already, nobody tells.
        linked = {link.peer for link in self._mesh.links() if link.established}
        self._stale |= linked ^ self._linked
        self._linked = linked
        for name in self._stale:
            before = self._pages.pop(name, None)
            after = self._look_at(name, before)
            if after is not None:
                if before is not None and before.planned == after.planned:
                    after = replace(after, planned=before.planned)
                self._pages[name] = after
            if (before and before.planned) != (after and after.planned):
                self._planned = None
        self._stale = set()

    def _look_at(self, name: PeerName, before: _Page | None) -> _Page | None:
        """A peer that says nothing sensible any more, as another release or at its start, is who it was."""
        view = self._mesh.peer(name)
        if view is None or view.hops == 0:
            return None
        summary = summary_of(view)
        if summary is None and before is not None:
            summary = before.summary
        if summary is None:
            return None
        address = None if summary.overlay_ipv4 is None else IPv4Address(summary.overlay_ipv4)
        planned = planned_peer(view, summary, own_key=self._own_key(), secrets=self._secrets, chosen=self._chosen(name))
        had_address = address is not None or (before is not None and before.had_address)
        return _Page(summary, planned, path_peer(view, summary), address, had_address)
