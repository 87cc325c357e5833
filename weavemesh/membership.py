"""Who takes part: what the mesh tells the ring of its peers, and the ring the mesh.

The two cores do not know each other. The ring is told who can be reached and, until there is one, who was found at the
addresses that were given as those of initial peers. The mesh is told whom the ring has removed, so that nobody links
with them any more; and the ring is told when a peer says so of us. Decides nothing by itself.
"""

from collections.abc import Callable, Collection
from logging import INFO, WARNING

import gossip
import ipam_crdt
from gossip import Mesh, PeerName, Target
from ipam_crdt import Owner
from weavemesh.logs import Event, log
from weavemesh.planning import summary_of
from weavemesh.pool import AddressPool
from weavemesh.verdict import REMOVED, REMOVED_REMEDY


class Membership:
    """Carries what one core knows of the peers to the other."""

    def __init__(
        self,
        mesh: Mesh,
        pool: AddressPool,
        *,
        targets: Collection[str],
        feed: Callable[[gossip.Input], None],
        removed: Callable[[], None],
    ) -> None:
        """`targets` are those given at the start; `removed` is called once, when it is known that we were removed."""
        self._mesh = mesh
        self._pool = pool
        self._targets = frozenset(Target(target) for target in targets)
        self._feed = feed
        self._removed = removed
        self._has_told_removal = False
        self._initial: tuple[Owner, ...] = ()
        self._fenced: frozenset[Owner] = frozenset()
        self._departed: dict[str, str] = {}
        self._reachable: frozenset[PeerName] = frozenset()

    @property
    def is_removed(self) -> bool:
        """Whether this peer itself was removed, or has left."""
        return self._pool.allocator.is_removed

    def news(self) -> None:
        """Something about peers, targets or the ring has changed. Not to be called from an output of the mesh."""
        self._fence()
        self._tell_reachable(self._mesh.reachable())
        self._name_initial_peers()
        if self.is_removed and not self._has_told_removal:
            self._has_told_removal = True
            log(WARNING, Event.AGENT_REMOVED, reason=f"{REMOVED}; {REMOVED_REMEDY}")
            self._removed()

    def fenced_by(self, peer: PeerName) -> None:
        """A peer of the mesh says that we were removed."""
        log(INFO, Event.LINK_REFUSED, peer=peer, reason="it says that this peer was removed from the mesh")
        self._pool.feed(ipam_crdt.Fenced(Owner(peer)))

    def nicknames(self) -> dict[str, str]:
        """What people call the peers, as far as is known; those removed since our start are among them."""
        summaries = ((view.name, summary_of(view)) for view in self._mesh.peers())
        return self._departed | {str(name): summary.nickname for name, summary in summaries if summary is not None}

    def _tell_reachable(self, names: tuple[PeerName, ...]) -> None:
        """The ring gets them in the mesh's order, the nearest first; people read who came and went."""
        self._pool.feed(ipam_crdt.PeersReachable(tuple(Owner(name) for name in names)))
        reachable = frozenset(names)
        for name in sorted(reachable ^ self._reachable):
            event = Event.PEER_REACHABLE if name in reachable else Event.PEER_UNREACHABLE
            view = self._mesh.peer(name)
            summary = None if view is None else summary_of(view)
            log(INFO, event, peer=name, nickname=summary.nickname if summary else None)
        self._reachable = reachable

    def _name_initial_peers(self) -> None:
        """Only those at the targets of the start: by these the electorate was counted."""
        if self._pool.allocator.ready:
            return
        found = {Owner(view.peer) for view in self._mesh.targets() if view.peer and view.target in self._targets}
        if tuple(sorted(found)) != self._initial:
            self._initial = tuple(sorted(found))
            self._pool.feed(ipam_crdt.InitialPeers(self._initial))

    def _fence(self) -> None:
        """As far as the removals are on disk: else a crash would make us forget what we have told others."""
        newly = sorted(self._pool.roster.removed - self._fenced)
        if not newly:
            return
        for owner in newly:
            view = self._mesh.peer(PeerName(owner))
            summary = None if view is None else summary_of(view)
            if summary is not None:
                self._departed[owner] = summary.nickname
            log(INFO, Event.PEER_REMOVED, peer=owner, nickname=summary.nickname if summary else None)
        self._fenced |= frozenset(newly)
        self._feed(gossip.FencePeers(tuple(PeerName(owner) for owner in newly)))
