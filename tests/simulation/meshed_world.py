"""The World with real gossip under it: each host is an Allocator and a Mesh, as in an agent, on one clock.

What the plain World invents (who hears an announcement, who is reachable, anti-entropy) comes from the Mesh here: links
that are dialled, kept and lost, news passed on hop by hop, unicasts routed, removed peers fenced. The laws are those
of both worlds, checked at the same moments.
"""

from collections.abc import Callable

import gossip
from gossip import FencePeers, GossipNews, Mesh, PeerName, SendUnicast
from ipam_crdt import Allocator, Fenced, Input, MessageReceived, Owner, PeersReachable, RingReceived
from tests.simulation import gossip_world
from tests.simulation.ipam_world import Host, World

CHANNEL = gossip_world.CHANNEL


class RingWords(gossip_world.Words):
    """The ring as the channel's state, as it is on disk."""

    def __init__(self, allocator: Callable[[], Allocator | None]) -> None:
        super().__init__()
        self._allocator = allocator

    def digest(self) -> bytes:
        allocator = self._allocator()
        return b"" if allocator is None else allocator.digest()

    def state(self) -> bytes:
        allocator = self._allocator()
        return b"" if allocator is None else allocator.state()


class Carrier(gossip_world.World):
    """The meshes of all hosts, on the clock of the world that they serve."""

    def __init__(self, world: "MeshedWorld", *, seed: int, host_count: int, delay_s: tuple[float, float]) -> None:
        super().__init__(seed=seed, host_count=host_count, delay_s=delay_s)
        self._world = world

    def words(self, host: gossip_world.Host) -> gossip_world.Words:
        return RingWords(lambda: self._world.hosts[host.index].allocator)

    def _at(self, when: float, action: Callable[[], None]) -> None:
        self._world.at(when, lambda: self._act(action))

    def _act(self, action: Callable[[], None]) -> None:
        self.now = self._world.now
        self.steps = self._world.steps
        action()

    def _delivered(self, host: gossip_world.Host, source: PeerName, payload: bytes, *, is_unicast: bool) -> None:
        event = MessageReceived if is_unicast else RingReceived
        self._world.deliver(host.index, event(Owner(source), payload))

    def _check_record(self, host: gossip_world.Host, mesh: Mesh, peer: PeerName) -> None:
        super()._check_record(host, mesh, peer)
        self._world.note_peers(host.index)

    def _fenced(self, host: gossip_world.Host, by: PeerName) -> None:
        self._world.deliver(host.index, Fenced(Owner(by)))


class MeshedWorld(World):
    """As `World`; a cut goes both ways here, as a connection has both."""

    def __init__(self, *, seed: int, host_count: int, universe: str, delay_s: tuple[float, float]) -> None:
        self.carrier = Carrier(self, seed=seed, host_count=host_count, delay_s=delay_s)
        super().__init__(seed=seed, host_count=host_count, universe=universe, loss=0.0, delay_s=delay_s)

    def name_of(self, index: int) -> Owner:
        return Owner(self.carrier.hosts[index].name)

    def crash(self, host: Host) -> None:
        super().crash(host)
        self.carrier.now = self.now
        self.carrier.crash(self.carrier.hosts[host.index], is_silent=self.rng.random() < 0.5)

    def cut(self, sender: Host, receiver: Host) -> None:
        super().cut(sender, receiver)
        super().cut(receiver, sender)
        if sender is not receiver:
            self.carrier.cut(self.carrier.hosts[sender.index], self.carrier.hosts[receiver.index])

    def mend(self, one: Host, other: Host) -> None:
        super().mend(one, other)
        self.carrier.now = self.now
        self.carrier.mend(self.carrier.hosts[one.index], self.carrier.hosts[other.index])

    def heal(self) -> None:
        super().heal()
        self.carrier.now = self.now
        self.carrier.heal()

    def deliver(self, index: int, event: Input) -> None:
        """What comes out of a mesh goes into the ring a moment later, if the host lives still."""
        host = self.hosts[index]
        life = host.life
        self.at(self.now, lambda: self.feed(host, event) if host.life == life else None)

    def note_peers(self, index: int) -> None:
        """Somebody is reachable, or no longer."""
        host, life = self.hosts[index], self.hosts[index].life
        self.at(self.now, lambda: self._tell_peers(host) if host.life == life else None)

    def _tell_peers(self, host: Host) -> None:
        mesh = self.carrier.hosts[host.index].mesh
        assert mesh is not None
        reachable = [Owner(view.name) for view in mesh.peers() if view.reachable and view.hops != 0]
        self.feed(host, PeersReachable(tuple(reachable)))

    def _gossip(self, host: Host, allocator: Allocator) -> None:
        """The meshes do it."""

    def _tell_reachable(self, host: Host, _: Allocator) -> None:
        """The meshes do it."""

    def _join(self, host: Host) -> None:
        targets = [other.target for other in self.carrier.hosts if other.index != host.index]
        self.carrier.now = self.now
        self.carrier.start(self.carrier.hosts[host.index], *self.rng.sample(targets, k=min(2, len(targets))))
        self._ownership_changed(host)

    def _announce(self, host: Host, payload: bytes) -> None:
        self._into_mesh(host, GossipNews(CHANNEL, payload))

    def _send(self, sender: Host, receiver: Host, payload: bytes) -> None:
        self._into_mesh(sender, SendUnicast(CHANNEL, self.carrier.hosts[receiver.index].name, payload))

    def _ownership_changed(self, host: Host) -> None:
        removed = host.allocator.roster.removed if host.allocator else frozenset()
        self._into_mesh(host, FencePeers(tuple(PeerName(name) for name in sorted(removed))))

    def _into_mesh(self, host: Host, event: gossip.Input) -> None:
        self.carrier.now = self.now
        if host.allocator is not None:
            self.carrier.feed(self.carrier.hosts[host.index], event)
