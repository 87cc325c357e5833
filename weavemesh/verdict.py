"""Judges the parts of a status: what is not right, in sentences, the gravest first, and whether all is well.

Pure. Whoever fills the parts (the daemon) adds what only it can know as `findings`; what can be concluded from the
parts themselves is concluded here, so that the text, `--json` and the exit status never disagree.
"""

from collections.abc import Iterator, Sequence

from weavemesh.measure import duration
from weavemesh.status import (
    HOST_IDENT,
    AgentStatus,
    EncryptionStatus,
    IpamStatus,
    PeerStatus,
    PodStatus,
    Problem,
    RouterStatus,
    StatusReport,
)

NOT_READY = "this peer is not ready: "
"""How the sentence of an agent that has not finished its start begins."""

_FIND_RING = (
    "it goes on by itself once it reaches a peer that has the address ring, or enough others to found one with; if the "
    "mesh is new and no others will come, `weavemesh stop` and `weavemesh up --no-resume` on one host found it alone"
)

REMOVED = "this peer was removed from the mesh, and nothing of its state counts there any more"
REMOVED_REMEDY = "run `weavemesh reset` on this host, and then `weavemesh up HOST` to join as a new peer"
"""A peer that others have removed, or that has left."""

TARGET_GRACE_S = 10.0
"""A target that is still being dialled in an agent younger than this is no problem yet."""


def judge(
    *,
    generated_at: float,
    agent: AgentStatus,
    datapath: str,
    secret_fingerprint: str,
    router: RouterStatus,
    peers: Sequence[PeerStatus],
    ipam: IpamStatus,
    pods: Sequence[PodStatus],
    findings: Sequence[Problem] = (),
) -> StatusReport:
    """The report: the parts sorted, the coverage counted, everything that is not right listed once."""
    in_order = tuple(sorted(peers, key=lambda peer: (not peer.ourselves, peer.nickname, peer.name)))
    problems = tuple(
        dict.fromkeys(
            (
                *findings,
                *_agent_problems(agent, ipam),
                *ipam.findings,
                *_peer_problems(in_order, port=agent.port, has_tunnels=agent.ready),
                *_target_problems(router, uptime_s=agent.uptime_s),
                *_ipam_problems(ipam, is_told=not agent.ready),
            )
            if not ipam.is_removed
            else (Problem(sentence=REMOVED, remedy=REMOVED_REMEDY), *findings)
        )
    )
    return StatusReport(
        generated_at=generated_at,
        ok=not problems,
        verdict=_verdict(len(problems)),
        problems=problems,
        agent=agent,
        encryption=_encryption(in_order, datapath=datapath, secret_fingerprint=secret_fingerprint),
        router=router,
        peers=in_order,
        ipam=ipam,
        pods=tuple(sorted(pods, key=lambda pod: (pod.pod or "", pod.ident))),
    )


def title(*, nickname: str | None, name: str) -> str:
    """A peer for people: `name(nickname)`, as Weave Net writes it."""
    return f"{name}({nickname})" if nickname else name


def _verdict(problems: int) -> str:
    if problems == 0:
        return "all is well"
    return "1 thing is not right" if problems == 1 else f"{problems} things are not right"


def _encryption(peers: Sequence[PeerStatus], *, datapath: str, secret_fingerprint: str) -> EncryptionStatus:
    others = [peer for peer in peers if not peer.ourselves]
    live = sum(peer.tunnel == "live" for peer in others)
    return EncryptionStatus(
        datapath=datapath,
        peers=len(others),
        live_tunnels=live,
        coverage=_coverage(live, len(others)),
        secret_fingerprint=secret_fingerprint,
    )


def _coverage(live: int, others: int) -> str:
    if others == 0:
        return "no other peers yet"
    verb = "has" if others == 1 else "have"
    return f"{live} of {others} {'peer' if others == 1 else 'peers'} {verb} a live tunnel"


def _agent_problems(agent: AgentStatus, ipam: IpamStatus) -> Iterator[Problem]:
    if not agent.ready:
        yield Problem(
            sentence=f"this peer is not ready: {agent.waiting_for or 'it is starting'}",
            remedy="it goes on by itself; if it lasts, the lines below and the agent's log say why"
            if ipam.ready
            else _FIND_RING,
        )


def _peer_problems(peers: Sequence[PeerStatus], *, port: int, has_tunnels: bool) -> Iterator[Problem]:
    for peer in peers:
        who = title(nickname=peer.nickname, name=peer.name)
        if peer.problem is not None:
            yield Problem(sentence=f"{who}: {peer.problem.sentence}", remedy=peer.problem.remedy)
        elif peer.ourselves:
            continue
        elif not peer.reachable:
            yield Problem(
                sentence=f"{who} is unreachable, {_last_seen(peer)}"
                + (f": {peer.dial_failure}" if peer.dial_failure else ""),
                remedy=f"see that weavemesh runs there and that TCP port {port} is open between the hosts",
            )
        elif peer.tunnel != "live" and has_tunnels:
            yield Problem(
                sentence=f"no live tunnel to {who}: {_silence(peer)}",
                remedy=f"see that UDP port {port} is open between the hosts; packets to its pods are dropped",
            )


def _last_seen(peer: PeerStatus) -> str:
    return "never heard of yet" if peer.last_seen_s is None else f"last heard of {duration(peer.last_seen_s)} ago"


def _silence(peer: PeerStatus) -> str:
    if peer.endpoint is None:
        return "no address of it is known to send to"
    if peer.last_handshake_s is None:
        return f"no answer yet from {peer.endpoint}"
    return f"no answer from {peer.endpoint}, last handshake {duration(peer.last_handshake_s)} ago"


def _target_problems(router: RouterStatus, *, uptime_s: float) -> Iterator[Problem]:
    for target in router.targets:
        if target.state == "retrying" or (target.state == "connecting" and uptime_s > TARGET_GRACE_S):
            yield Problem(
                sentence=f"no connection to {target.address}: {target.reason or 'no answer yet'}",
                remedy=f"see that weavemesh runs there, or drop it with `weavemesh forget {target.address}`",
            )


def _ipam_problems(ipam: IpamStatus, *, is_told: bool) -> Iterator[Problem]:
    """`is_told`: the agent is not ready, and that was said already, with the reason."""
    if not ipam.ready:
        if not is_told:
            yield Problem(sentence=f"no addresses for pods yet: {ipam.status}", remedy=_FIND_RING)
    elif ipam.entries and not any(entry.reachable for entry in ipam.entries):
        yield Problem(
            sentence="all address ranges are owned by unreachable peers",
            remedy="start one of these peers again",
        )
    for sentence in ipam.unsettled:
        yield Problem(sentence=sentence, remedy="")
    for isolated in ipam.quarantined:
        if not any(isolated in finding.sentence for finding in ipam.findings):
            yield Problem(
                sentence=f"nothing of {isolated} is handed out here, because somebody else was given it, too",
                remedy=f"see that no pod of another host uses it, then `weavemesh ipam clear {isolated}`",
            )
    for pending in ipam.pending:
        if is_told and pending.ident == HOST_IDENT:
            continue
        waits = f"has waited {duration(pending.waiting_s)}" if pending.waiting_s >= 1 else "waits"
        yield Problem(
            sentence=f"{pending.ident} {waits} for an address: {pending.reason}",
            remedy="start peers that own free addresses, or free some",
        )
