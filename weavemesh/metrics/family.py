"""The metrics of an agent, made from its status: pure, and without the library that writes them.

Names are part of the interface: those of Weave Net where the meaning is the same (`weave_*`), ours (`weavemesh_*`) for
the rest. Weave Net's `weave_dns_entries` and `weave_flows` are missing: there is no name service and no flow table.
A mesh has as many peers as it has; the series of one agent are bounded by PEERS_MAX.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import ip_network
from typing import Final, Literal, get_args

from msgspec import Struct

from weavemesh.status import ConnectionState, PeerStatus, StatusReport, TunnelState

PEERS_MAX: Final = 1000
"""Peers that have series of their own; of more, the first by name. `weavemesh_peers_untold` counts the others."""
LABEL_CHARACTERS_MAX: Final = 64
"""What other peers say of themselves is cut there."""

Kind = Literal["gauge", "counter"]


class Sample(Struct, frozen=True):
    """One value."""

    value: float
    labels: Mapping[str, str] = {}


class Family(Struct, frozen=True):
    """One metric: a name, and its values by labels. All samples have the same labels."""

    name: str
    """Of a counter, without the `_total` that the format adds."""
    kind: Kind
    help: str
    samples: tuple[Sample, ...]


def families(report: StatusReport) -> tuple[Family, ...]:
    """All metrics that a status has."""
    return (
        *_of_weave_net(report),
        *_of_agent(report),
        *_of_mesh(report),
        *_of_ring(report),
        *_of_peers([peer for peer in report.peers if not peer.ourselves]),
    )


def _gauge(name: str, help_: str, value: float, **labels: str) -> Family:
    return Family(name, "gauge", help_, (Sample(value, labels),))


def _counter(name: str, help_: str, value: float) -> Family:
    return Family(name, "counter", help_, (Sample(value),))


def _by(name: str, help_: str, label: str, values: Iterable[tuple[str, float]]) -> Family:
    return Family(name, "gauge", help_, tuple(Sample(value, {label: key}) for key, value in values))


def _of_weave_net(report: StatusReport) -> Iterator[Family]:
    ipam = report.ipam
    states = Counter(connection.state for connection in report.router.connections)
    datapath = report.encryption.datapath.partition(" ")[0]
    yield Family(
        "weave_connections",
        "gauge",
        "Control links of this peer; `type` is its data path.",
        tuple(
            Sample(states[state], {"state": state, "type": datapath, "encryption": "yes"})
            for state in get_args(ConnectionState)
        ),
    )
    yield _counter("weave_connection_terminations", "Control links that ended.", report.router.terminations)
    yield _gauge("weave_ips", "Addresses in use on this host.", len(ipam.active), state="local-used")
    yield _gauge("weave_max_ips", "Addresses in the range of the mesh.", ip_network(ipam.range).num_addresses)
    lost = [entry for entry in ipam.entries if not entry.reachable]
    yield _gauge("weave_ipam_unreachable_count", "Peers that own addresses and are not reachable.", len(lost))
    yield _gauge(
        "weave_ipam_unreachable_percentage",
        "Share of the range that unreachable peers own, 0 to 100.",
        sum(entry.percent for entry in lost),
    )
    claims = sum(pending.claims is not None for pending in ipam.pending)
    yield _gauge("weave_ipam_pending_allocates", "Pods that wait for any address.", len(report.ipam.pending) - claims)
    yield _gauge("weave_ipam_pending_claims", "Pods that wait for one very address.", claims)


def _of_agent(report: StatusReport) -> Iterator[Family]:
    agent = report.agent
    yield _gauge(
        "weavemesh_info",
        "Who this is.",
        1,
        version=agent.version,
        peer=agent.name,
        nickname=_cut(agent.nickname),
        datapath=report.encryption.datapath,
        interface=agent.interface,
        ring=report.ipam.ring_id or "",
    )
    yield _gauge("weavemesh_ready", "Whether the agent has an address and has met the mesh: 1 or 0.", agent.ready)
    yield _gauge("weavemesh_ok", "Whether `weavemesh status` finds all well: 1 or 0.", report.ok)
    yield _gauge("weavemesh_problems", "What `weavemesh status` finds wrong.", len(report.problems))
    yield _gauge("weavemesh_start_time_seconds", "Unix time at which the agent started.", agent.started_at)
    yield _gauge("weavemesh_pods", "Pods of this host that have addresses.", len(report.pods))
    if agent.mtu is not None:
        yield _gauge("weavemesh_mtu_bytes", "Of the tunnel device.", agent.mtu)


def _of_mesh(report: StatusReport) -> Iterator[Family]:
    others = [peer for peer in report.peers if not peer.ourselves]
    tunnels = Counter(peer.tunnel for peer in others)
    ways = Counter("direct" if peer.via == "direct" else "relayed" if peer.via else "none" for peer in others)
    yield _by(
        "weavemesh_peers",
        "Other peers, by the state of the tunnel to them.",
        "tunnel",
        ((state, tunnels[state]) for state in get_args(TunnelState)),
    )
    yield _by(
        "weavemesh_paths",
        "Other peers, by the way that packets go to them.",
        "way",
        ((way, ways[way]) for way in ("direct", "relayed", "none")),
    )
    yield _gauge(
        "weavemesh_peers_unreachable",
        "Other peers that no control message reaches.",
        sum(not peer.reachable for peer in others),
    )
    yield _counter("weavemesh_rx_bytes", "Octets that came through all tunnels.", sum(p.rx_bytes for p in others))
    yield _counter("weavemesh_tx_bytes", "Octets that went through all tunnels.", sum(p.tx_bytes for p in others))
    relayed = report.router.relayed
    yield _gauge("weavemesh_relayed_pairs", "Pairs of other peers for whom this one forwards.", len(relayed))
    yield _gauge(
        "weavemesh_relayed_bytes", "Octets forwarded for those pairs so far.", sum(pair.octets for pair in relayed)
    )
    yield Family(
        "weavemesh_gossip_refused",
        "counter",
        "What gossip did not take, by reason; harmless, but what grows deserves a look.",
        tuple(Sample(count, {"reason": reason}) for reason, count in sorted(report.router.counters.items())),
    )


def _of_ring(report: StatusReport) -> Iterator[Family]:
    ipam = report.ipam
    ours = [entry for entry in ipam.entries if entry.peer == report.agent.name]
    yield _gauge("weavemesh_ipam_ready", "Whether this peer has the address ring: 1 or 0.", ipam.ready)
    yield _gauge("weavemesh_ipam_owners", "Peers that own addresses.", len(ipam.entries))
    yield _gauge("weavemesh_ipam_ranges", "Ranges in the ring.", sum(len(entry.ranges) for entry in ipam.entries))
    yield _by(
        "weavemesh_ipam_addresses",
        "Addresses of this peer, by what they are.",
        "state",
        (
            ("owned", sum(entry.ips for entry in ours)),
            ("free", sum(entry.free or 0 for entry in ours)),
            ("used", len(ipam.active)),
            ("quarantined", sum(ip_network(block).num_addresses for block in ipam.quarantined)),
        ),
    )
    yield _gauge("weavemesh_ipam_unknown_addresses", "Addresses of which the owner is not known here.", ipam.unknown)
    yield _gauge("weavemesh_ipam_removed_peers", "Peers that were removed for ever.", len(ipam.removed))
    yield _gauge(
        "weavemesh_ipam_unsettled", "Why addresses of removed peers cannot be handed out yet.", len(ipam.unsettled)
    )


def _of_peers(others: list[PeerStatus]) -> Iterator[Family]:
    told = sorted(others, key=lambda peer: peer.name)[:PEERS_MAX]

    def each(name: str, help_: str, value: Callable[[PeerStatus], float | None], *, kind: Kind = "gauge") -> Family:
        values = ((peer, value(peer)) for peer in told)
        return Family(
            name, kind, help_, tuple(Sample(got, {"peer": peer.name}) for peer, got in values if got is not None)
        )

    yield _gauge("weavemesh_peers_untold", "Peers without series of their own.", len(others) - len(told))
    yield Family(
        "weavemesh_peer_info",
        "gauge",
        "Who another peer is: to be joined with the metrics below.",
        tuple(Sample(1, {"peer": peer.name, "nickname": _cut(peer.nickname)}) for peer in told),
    )
    yield each("weavemesh_peer_live", "Whether its tunnel answers: 1 or 0.", lambda peer: peer.tunnel == "live")
    yield each(
        "weavemesh_peer_relayed",
        "Whether packets go there over a relay: 1 or 0; missing while there is no way.",
        lambda peer: None if peer.via is None else peer.via != "direct",
    )
    yield each(
        "weavemesh_peer_rtt_seconds",
        "Round-trip time inside the tunnel.",
        lambda peer: None if peer.rtt_ms is None else peer.rtt_ms / 1000,
    )
    yield each("weavemesh_peer_loss", "Lost share of the last questions through the tunnel, 0 to 1.", lambda p: p.loss)
    yield each("weavemesh_peer_mtu_bytes", "Largest packet that goes there through the tunnel.", lambda p: p.mtu)
    yield each(
        "weavemesh_peer_handshake_age_seconds", "Since the last WireGuard handshake.", lambda p: p.last_handshake_s
    )
    yield each("weavemesh_peer_rx_bytes", "Octets from it.", lambda peer: peer.rx_bytes, kind="counter")
    yield each("weavemesh_peer_tx_bytes", "Octets to it.", lambda peer: peer.tx_bytes, kind="counter")


def _cut(text: str) -> str:
    return text[:LABEL_CHARACTERS_MAX]
