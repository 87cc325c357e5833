"""What this host's kernel should hold now: gathers what the plan depends on from the parts of an agent that know it.

Decides nothing: the plan is `weavemesh.overlay.plan`'s. Who applies it is `weavemesh.reconciler`.
"""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from gossip import PeerName
from ipam_crdt import Allocator, Owner
from weavemesh.config import AgentConfig
from weavemesh.identity import Identity
from weavemesh.overlay.mtu import PathMtus
from weavemesh.overlay.plan import PlanInput, PlannedPeer, check, plan
from weavemesh.overlay.probe import ProbeName
from weavemesh.overlay.state import DesiredState


class Wish:
    """The parts that know, and what was found wrong when they were asked last."""

    def __init__(
        self,
        config: AgentConfig,
        *,
        identity: Identity,
        mtus: PathMtus,
        allocator: Allocator,
        ula: Callable[[], IPv6Network | None],
        peers: Callable[[], tuple[PlannedPeer, ...]],
    ) -> None:
        """`peers` tells all others as they are planned with."""
        self._config, self._identity, self._mtus = config, identity, mtus
        self._allocator, self._ula, self._peers = allocator, ula, peers
        self.findings: tuple[str, ...] = ()
        """What keeps peers from getting a tunnel, as sentences."""

    def owned(self, peer: PeerName) -> tuple[IPv4Network, ...]:
        """The ranges that a peer owns in the ring."""
        return self._allocator.owned(Owner(peer))

    def plan(self, address: IPv4Address | None, *, is_removed: bool) -> DesiredState | None:
        """What the kernel should hold; None before this host has an address in the mesh. Nothing if it was removed."""
        if address is None and not is_removed:
            return None
        peers = () if is_removed else self._peers()
        known = PlanInput(
            interface=self._config.interface,
            mtu=self._mtus.most,
            listen_port=self._config.port,
            name=self._identity.name,
            private_key=self._identity.wireguard_key,
            public_key=self._identity.wireguard_public_key,
            address=None if is_removed else address,
            universe=self._config.ipalloc_range,
            ula_prefix=self._ula(),
            ranges={PeerName(owner): self._allocator.owned(owner) for owner in self._allocator.owners()},
            peers=peers,
            mtus={peer.name: self._mtus.mtu(ProbeName(peer.name), self.owned(peer.name)) for peer in peers},
        )
        self.findings = check(known)
        return plan(known)
