"""How many packets all probing of one agent sends in a mesh of two hundred, of which ten tunnels are in use: simulated.

The machines are the real ones. Questions and answers through the tunnels are counted in one World (prober and MTUs, in
which every path has to be searched), knocks and their answers, which keep direct paths, in another. Both count what
the host sends, when the mesh has come to rest.
"""

from collections import Counter
from functools import partial
from ipaddress import IPv4Address

from tests.lab.nat import NatKind
from tests.simulation import mtu_world, path_world
from weavemesh.overlay.path import Paths
from weavemesh.overlay.pathevent import AddressesChanged, PathPeer, PathPeers
from weavemesh.overlay.probe import Prober
from weavemesh.overlay.relay import Relay
from weavemesh.overlay.state import Endpoint

PEERS, USED = 200, 10
REST_S, COUNTED_S = 120.0, 120.0


def questions_per_second() -> tuple[float, float]:
    """Of a host with ten used tunnels, and of one with none."""
    world = mtu_world.World(seed=1, hosts=PEERS + 1, most=8921, capacity=1440)
    busy, idle = world.hosts[0], world.hosts[PEERS]
    busy.used = frozenset(range(1, USED + 1))
    for host in world.hosts:
        if host.index in busy.used:
            host.used = frozenset({0})
        world.at(world.rng.uniform(0, 20), partial(world.start, host))
    world.run(REST_S + COUNTED_S)
    busy_count, idle_count = (sum(when > REST_S for when in host.sent) for host in (busy, idle))
    return busy_count / COUNTED_S, idle_count / COUNTED_S


class _Knocks(path_world.World):
    """The first host and all others know each other from the beginning, and no tunnel is asked."""

    sent: Counter[int]
    """Knocks and answers since the mesh is at rest, by host."""

    def meet(self) -> None:
        self.sent = Counter()
        peers = {
            host.name: PathPeer(
                (Endpoint(host.nat.outside, path_world.PORT),),
                range(0),
                in_touch=True,
                own=(Endpoint(host.nat.inside, path_world.PORT),),
            )
            for host in self.hosts
        }
        for host in self.hosts:
            host.lives = 1
            host.paths = Paths(name=host.name, nonce=1)
            host.prober = Prober(rng=self.rng)
            host.relay = Relay(willing=False)
            self.feed(host, AddressesChanged((host.nat.inside,)))
            for name in peers:
                host.device.setdefault(name, path_world.Tunnel())
        for host in self.hosts:
            first = self.hosts[0]
            others = {name: peer for name, peer in peers.items() if name != first.name}
            if host is not first:
                others = {first.name: peers[first.name]}
            self.at(self.rng.uniform(0, 5), partial(self.feed, host, PathPeers(others)))

    def tell(self, host: path_world.Host) -> None:
        """Nothing new."""

    def _send(self, host: path_world.Host, to: Endpoint, packet: path_world.Packet, *, port: int = 6783) -> None:
        if self.now > REST_S and packet.kind in ("knock", "answer"):
            self.sent[host.index] += 1
        super()._send(host, to, packet, port=port)


def knocks_per_second(kind: NatKind) -> float:
    """Of one host, whose translator is of this kind, to two hundred that are reached directly."""
    world = _Knocks(seed=1, kinds=[kind, *["none"] * PEERS])  # type: ignore[list-item]  # a list of literals
    for number, host in enumerate(world.hosts):
        host.nat.outside = IPv4Address(f"198.51.{100 + number // 250}.{number % 250 + 1}")
        if host.nat.kind == "none":
            host.nat.inside = host.nat.outside
    world.by_address = {host.nat.outside: host for host in world.hosts}
    world.meet()
    world.run(REST_S + COUNTED_S)
    return world.sent[0] / COUNTED_S
