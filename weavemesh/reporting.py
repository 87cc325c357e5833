"""Puts the status together: from what the cores know and the kernel shows to the values of `weavemesh.status`.

Pure: it is handed views and the time. Judging them is `weavemesh.verdict`'s, printing `weavemesh.status_text`'s.
"""

from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from msgspec import Struct

from gossip import CloneView, LinkView, PeerView, TargetPhase, TargetView
from ipam_crdt import IpamStatus as RingStatus
from ipam_crdt import Owner
from weavemesh import status
from weavemesh.measure import duration, printable
from weavemesh.overlay.mtu import PathMtus
from weavemesh.overlay.pathevent import PathView
from weavemesh.overlay.plan import twin_address, twin_network
from weavemesh.overlay.probe import ProbeName, TunnelHealth
from weavemesh.overlay.state import ObservedPeer, PublicKey
from weavemesh.planning import link_host, summary_in, summary_of, with_nicknames
from weavemesh.status import Problem
from weavemesh.summary import Summary

TARGET_STATES: Mapping[TargetPhase, status.TargetState] = {
    TargetPhase.WAITING: "retrying",
    TargetPhase.DIALLING: "connecting",
    TargetPhase.LINKED: "connected",
    TargetPhase.REACHED: "reached",
    TargetPhase.OURSELVES: "ourselves",
}


class Known(Struct, frozen=True, kw_only=True):
    """What the daemon knows at one moment."""

    now: float
    """The monotonic clock of the cores, in seconds."""
    unix_now: float
    peers: tuple[PeerView, ...]
    """Ourselves first."""
    links: tuple[LinkView, ...]
    targets: tuple[TargetView, ...]
    tunnels: Mapping[PublicKey, ObservedPeer]
    """What the device shows of each peer."""
    health: Callable[[str], TunnelHealth | None]
    """Of the tunnel to the peer of this name."""
    path: Callable[[str], PathView | None]
    """To the peer of this name."""
    mtus: PathMtus
    """How large packets may be."""
    ring: RingStatus
    ula: IPv6Network | None
    nicknames: Mapping[str, str]
    """What people call the peers, by name; of some that are gone, too."""


def peer_statuses(known: Known) -> tuple[status.PeerStatus, ...]:
    """All peers of the mesh, ourselves included."""
    owned = {owner.owner: owner.ranges for owner in known.ring.owners}
    return tuple(
        _peer_status(known, view, tuple(str(block) for block in owned.get(Owner(view.name), ())))
        for view in known.peers
    )


def _peer_status(known: Known, view: PeerView, owned: tuple[str, ...]) -> status.PeerStatus:
    summary = summary_of(view)
    ourselves = view.hops == 0
    key = summary.public_key() if summary else None
    tunnel = None if ourselves or key is None else known.tunnels.get(key)
    health = None if ourselves else known.health(view.name)
    path = None if ourselves else known.path(view.name)
    answers = [view.last_heard, health.last_answer if health else None]
    last_seen = max((time for time in answers if time is not None), default=None)
    return status.PeerStatus(
        name=view.name,
        nickname=summary.nickname if summary else "",
        ourselves=ourselves,
        version=summary.version if summary else None,
        public_key=key.text() if key else None,
        reachable=view.reachable,
        links=tuple(view.links),
        via=None if ourselves or path is None else path.via,
        path_since_s=None if path is None or path.since is None else max(0.0, known.now - path.since),
        why_not_direct=None if path is None or not path.reason else path.reason,
        loss=health.loss if health else None,
        mtu=None if ourselves else known.mtus.mtu(ProbeName(view.name), _ranges(known, view.name)),
        mtu_proven=not ourselves and known.mtus.proven(ProbeName(view.name)) is not None,
        datapath=summary.datapath if summary else None,
        endpoint=tunnel.endpoint.text() if tunnel and tunnel.endpoint else None,
        endpoint_source=_endpoint_source(tunnel, view, summary),
        tunnel="none" if ourselves else _tunnel_state(known, tunnel, health),
        last_seen_s=None if ourselves or last_seen is None else max(0.0, known.now - last_seen),
        last_handshake_s=_since(known.unix_now, tunnel.last_handshake) if tunnel else None,
        rtt_ms=_milliseconds(health.rtt_s) if health else None,
        control_rtt_ms=_milliseconds(view.linked.rtt_s) if view.linked else None,
        rx_bytes=tunnel.rx_bytes if tunnel else 0,
        tx_bytes=tunnel.tx_bytes if tunnel else 0,
        owned=owned,
        addresses=_overlay_addresses(summary, known.ula),
        problem=None,
        secrets=summary.secrets if summary else (),
        dial_failure=view.dial_failure,
        node=summary.node if summary else None,
    )


def _ranges(known: Known, peer: str) -> tuple[IPv4Network, ...]:
    return next((owner.ranges for owner in known.ring.owners if owner.owner == Owner(peer)), ())


def _tunnel_state(known: Known, tunnel: ObservedPeer | None, health: TunnelHealth | None) -> status.TunnelState:
    if health is not None and health.is_alive(known.now):
        return "live"
    if tunnel is None:
        return "none"
    return "silent" if health is not None and health.last_answer is not None else "connecting"


def _endpoint_source(tunnel: ObservedPeer | None, view: PeerView, summary: Summary | None) -> str | None:
    if tunnel is None or tunnel.endpoint is None or summary is None:
        return None
    if tunnel.endpoint in summary.advertised_endpoints():
        return "advertised"
    if tunnel.endpoint in summary.own_endpoints():
        return "its own address"
    if tunnel.endpoint in summary.seen_endpoints():
        return "seen by other peers"
    if view.linked is not None and link_host(view) == tunnel.endpoint.address:
        return "seen on its link"
    return "learned from its packets"


def _overlay_addresses(summary: Summary | None, ula: IPv6Network | None) -> tuple[str, ...]:
    if summary is None or summary.overlay_ipv4 is None:
        return ()
    address = IPv4Address(summary.overlay_ipv4)
    return (str(address), str(twin_address(ula, address))) if ula else (str(address),)


def connection_statuses(known: Known) -> tuple[status.ConnectionStatus, ...]:
    """The control links, and the attempts to make one."""
    names = known.nicknames
    links = tuple(
        status.ConnectionStatus(
            outbound=link.outbound,
            address=link.address,
            state="established" if link.established else "pending",
            peer=link.peer,
            nickname=names.get(link.peer),
            rtt_ms=_milliseconds(link.rtt_s),
            since_s=max(0.0, known.now - link.opened_at),
            reason=None,
        )
        for link in known.links
    )
    attempts = tuple(
        status.ConnectionStatus(
            outbound=True,
            address=target.target,
            state="connecting" if target.phase is TargetPhase.DIALLING else "retrying",
            peer=target.peer,
            nickname=names.get(target.peer or ""),
            rtt_ms=None,
            since_s=None,
            reason=target.reason,
        )
        for target in known.targets
        if target.phase in (TargetPhase.WAITING, TargetPhase.DIALLING)
    )
    return links + attempts


def own_endpoints(known: Known) -> tuple[str, ...]:
    """What we say of our own addresses."""
    summary = summary_of(known.peers[0])
    return summary.endpoints if summary else ()


def indirect_paths(known: Known) -> tuple[status.PathStatus, ...]:
    """All ways in the mesh of which their start has said that they are not direct."""
    return tuple(
        status.PathStatus(origin=view.name, peer=report.peer, relay=report.relay, reason=printable(report.reason))
        for view in known.peers
        for report in view.reports
    )


def clone_problems(known: Known, clone: CloneView | None) -> tuple[Problem, ...]:
    """Another machine with our identity, named as far as it is known."""
    if clone is None:
        return ()
    said = None if clone.summary is None else summary_in(clone.summary)
    names = [said.nickname] if said else []
    places = [*(said.endpoints[:1] if said else ()), *([clone.address] if clone.address else [])]
    where = f" ({', '.join(dict.fromkeys((*names, *places)))})" if names or places else ""
    return (
        Problem(
            sentence=f"another machine{where} uses this peer's identity, last seen "
            f"{duration(max(0.0, known.now - clone.last_at))} ago",
            remedy="it is a copy of this host's state folder or disk: on one of the two, run `weavemesh reset` and "
            "`weavemesh up` again",
        ),
    )


def target_statuses(known: Known) -> tuple[status.TargetStatus, ...]:
    """The addresses that this peer was told to dial.

    One that cannot be dialled from here, as in another cloud's private network, is reached all the same if it is that
    of a peer that is in the mesh by another way.
    """
    present = {
        endpoint: view.name
        for view in known.peers[1:]
        if view.reachable and (summary := summary_of(view)) is not None
        for endpoint in (*summary.endpoints, *summary.advertised)
    }
    return tuple(
        status.TargetStatus(
            address=target.target,
            state=TARGET_STATES[target.phase] if target.peer or target.target not in present else "reached",
            peer=target.peer or present.get(str(target.target)),
            reason=target.reason,
            retry_in_s=None if target.next_dial_at is None else max(0.0, target.next_dial_at - known.now),
        )
        for target in known.targets
    )


def ipam_status(known: Known, *, waiting_for: str, allocations: Mapping[str, IPv4Address]) -> status.IpamStatus:
    """The address ring; `waiting_for` says what is missing while there is none."""
    ring = known.ring
    names = known.nicknames
    size = ring.universe.num_addresses
    ready = ring.ring_id is not None
    return status.IpamStatus(
        ready=ready,
        status="ready" if ready else waiting_for,
        range=str(ring.universe),
        ipv6_range=str(twin_network(known.ula, ring.universe)) if known.ula else None,
        ring_id=ring.ring_id.hex() if ring.ring_id else None,
        entries=tuple(
            status.IpamEntry(
                peer=owner.owner,
                nickname=names.get(owner.owner, ""),
                ips=owner.addresses,
                percent=100 * owner.addresses / size,
                active=len(allocations) if owner.owner == Owner(known.peers[0].name) else None,
                reachable=owner.reachable,
                ranges=tuple(str(block) for block in owner.ranges),
                free=owner.free,
            )
            for owner in ring.owners
        ),
        active=tuple(str(address) for address in sorted(allocations.values())),
        pending=tuple(
            status.IpamPending(
                ident=waiting.ident,
                reason=with_nicknames(waiting.reason, names),
                waiting_s=0.0,
                claims=None if waiting.address is None else str(waiting.address),
            )
            for waiting in ring.pending
        ),
        findings=tuple(Problem(sentence=with_nicknames(finding, names), remedy="") for finding in ring.findings),
        unknown=ring.unknown if ready else 0,
        quarantined=tuple(str(block) for block in ring.quarantined),
        removed=tuple(status.IpamRemoved(peer=peer, nickname=names.get(peer, "")) for peer in ring.removed),
        unsettled=tuple(with_nicknames(sentence, names) for sentence in ring.unsettled),
        is_removed=ring.is_removed,
    )


def pod_statuses(
    attachments: Mapping[str, IPv4Address],
    labels: Mapping[str, str],
    *,
    ula: IPv6Network | None,
    interface: Callable[[str], str],
) -> tuple[status.PodStatus, ...]:
    """The pods of this host; `interface` names the host's end of an attachment."""
    return tuple(
        status.PodStatus(
            ident=ident,
            pod=labels.get(ident) or None,
            addresses=(str(address), str(twin_address(ula, address))) if ula else (str(address),),
            host_interface=interface(ident),
        )
        for ident, address in attachments.items()
    )


def problems_of(sentences: Sequence[str]) -> tuple[Problem, ...]:
    """What the agent found wrong itself. A sentence that tells its remedy after a colon or semicolon has it there."""
    return tuple(Problem(sentence=sentence, remedy="") for sentence in sentences)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000


def _since(now: float, then: float | None) -> float | None:
    return None if then is None else max(0.0, now - then)
