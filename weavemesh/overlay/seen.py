"""Where others see our packets come from: the mesh is its own STUN server. Pure."""

from collections import Counter
from collections.abc import Mapping

from gossip import PeerName
from weavemesh.overlay.state import Endpoint

TOLD_MAX = 4
"""Behind a NAT with another port for every destination each peer sees something else; that helps nobody."""


class SeenAs:
    """What each peer said last."""

    def __init__(self) -> None:
        self._by_peer: dict[PeerName, Endpoint] = {}
        self._told: tuple[Endpoint, ...] = ()

    def note(self, peer: PeerName, endpoint: Endpoint, *, at_relay: bool) -> bool:
        """Remember it; True if `endpoints` is another now. A relay's port is no place where others would knock."""
        if at_relay or self._by_peer.get(peer) == endpoint:
            return False
        self._by_peer[peer] = endpoint
        before, self._told = self._told, self._newest()
        return set(before) != set(self._told)

    def forget(self) -> None:
        """We are elsewhere now."""
        self._by_peer.clear()
        self._told = ()

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The most often seen first."""
        return self._told

    def by_peer(self) -> Mapping[PeerName, Endpoint]:
        """What each peer sees."""
        return dict(self._by_peer)

    def _newest(self) -> tuple[Endpoint, ...]:
        counts = Counter(self._by_peer.values())
        return tuple(endpoint for endpoint, _ in counts.most_common(TOLD_MAX))
