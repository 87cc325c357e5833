"""`weavemesh status` and its parts as text, in the words and the order that Weave Net's users know.

Labels end in column 15; blocks begin with "Service:". New are the verdict and the encryption with its coverage at the
top, units, and a sentence with its remedy wherever something is not right. What is right, `weavemesh.verdict` says.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from weavemesh.measure import duration, printable, round_trip, size
from weavemesh.status import (
    ConnectionStatus,
    IpamEntry,
    IpamStatus,
    PeerStatus,
    Problem,
    RouterStatus,
    StatusReport,
)
from weavemesh.verdict import REMOVED, title

LABEL_COLUMNS = 15
"""Weave Net's labels are right-aligned to here (prog/weaver/http.go, statusTemplate)."""

_STATES = ("established", "pending", "retrying", "failed", "connecting")
_NOTHING = "-"

Line = tuple[str, str] | None
"""A label and its value; None is an empty line."""


def overview(report: StatusReport) -> str:
    """What `weavemesh status` prints: the verdict, what is wrong, then the services."""
    return _labelled(_overview(report))


def _overview(report: StatusReport) -> Iterator[Line]:
    agent, encryption = report.agent, report.encryption
    yield "Verdict", report.verdict
    dropped = "" if encryption.live_tunnels == encryption.peers else "; packets for the others are dropped"
    yield "Encryption", f"enabled; {encryption.coverage}{dropped}"
    for problem in report.problems:
        yield from _problem(problem)
    yield None
    yield "Version", agent.version
    yield None
    yield "Service", "router"
    yield "Protocol", report.router.protocol
    yield "Name", title(nickname=agent.nickname, name=agent.name)
    yield "PeerDiscovery", "enabled" if report.router.peer_discovery else "disabled"
    yield "Targets", str(len(report.router.targets))
    yield "Connections", _connection_count(report.router)
    if counted := _counted(report.router):
        yield "Refused", counted
    yield "Peers", _peer_count(report.peers)
    yield None
    yield from _ipam_overview(report.ipam)
    yield None
    yield "Service", "tunnels"
    yield "Datapath", f"WireGuard, {encryption.datapath}"
    yield "Interface", agent.interface if agent.mtu is None else f"{agent.interface} (mtu {agent.mtu})"
    yield "Port", f"{agent.port} (UDP; TCP for control links, {encryption.control})"
    yield "Secret", f"fingerprint {encryption.secret_fingerprint}"
    yield from _rotation(report)
    received, sent = sum(peer.rx_bytes for peer in report.peers), sum(peer.tx_bytes for peer in report.peers)
    yield "Transfer", f"{size(received)} received, {size(sent)} sent"
    yield None
    yield "Service", "cni"
    yield "Pods", str(len(report.pods))
    yield None
    yield "Service", "agent"
    yield "PID", str(agent.pid)
    yield "Uptime", duration(agent.uptime_s)
    yield "Memory", size(agent.memory_bytes)


def _rotation(report: StatusReport) -> Iterator[Line]:
    """How far an exchange of the secret has come; nothing while there is none."""
    told = [peer for peer in report.peers if peer.secrets]
    for secret in sorted({secret for peer in told for secret in peer.secrets}):
        if len({secret for peer in told for secret in peer.secrets}) == 1:
            return
        shown = sum(peer.secrets[0] == secret for peer in told)
        missing = [title(nickname=peer.nickname, name=peer.name) for peer in told if secret not in peer.secrets]
        also = f"; not accepted by {', '.join(missing)}" if missing else "; accepted by all"
        yield "Rotation", f"{secret} is shown by {shown} of {len(told)} peers{also}"


def _ipam_overview(ipam: IpamStatus) -> Iterator[Line]:
    yield "Service", "ipam"
    yield "Status", ipam.status
    yield "Range", ipam.range
    yield "IPv6Range", ipam.ipv6_range or "none yet"
    yield "Active", f"{len(ipam.active)} {'IP' if len(ipam.active) == 1 else 'IPs'} here"
    if ipam.pending:
        yield "Pending", f"{len(ipam.pending)} waiting for an address"
    if ipam.quarantined:
        yield "Isolated", f"{len(ipam.quarantined)} {_ranges(ipam.quarantined)} given to somebody else, too"
    if ipam.removed:
        waiting = f"; addresses of {len(ipam.unsettled)} wait for a new owner" if ipam.unsettled else ""
        yield "Removed", f"{len(ipam.removed)} {'peer' if len(ipam.removed) == 1 else 'peers'}{waiting}"


def _connection_count(router: RouterStatus) -> str:
    states = [connection.state for connection in router.connections]
    counted = [f"{states.count(state)} {state}" for state in _STATES if state in states]
    return f"{len(states)} ({', '.join(counted)})" if counted else "0"


_SUSPICIOUS = ("violations", "forged", "malformed", "refused", "hurried", "collided", "overtaken", "fenced", "replayed")
"""Counters that stay at zero while all peers are honest and have one clock and one identity each."""


def _counted(router: RouterStatus) -> str:
    """What deserves a look; all counters are in `--json`."""
    return ", ".join(f"{count} {name}" for name in _SUSPICIOUS if (count := router.counters.get(name, 0)))


def _peer_count(peers: Sequence[PeerStatus]) -> str:
    """Weave Net counts the connections of all peers, so that each is counted from both of its ends."""
    links = sum(len(peer.links) for peer in peers)
    unreachable = sum(not peer.reachable for peer in peers if not peer.ourselves)
    missing = f", {unreachable} unreachable" if unreachable else ""
    return f"{len(peers)} (with {links} established {'connection' if links == 1 else 'connections'}{missing})"


def _problem(problem: Problem) -> Iterator[Line]:
    yield "Problem", problem.sentence
    if problem.remedy:
        yield "Remedy", problem.remedy


def _labelled(lines: Iterable[Line]) -> str:
    rendered = ["" if line is None else f"{line[0]:>{LABEL_COLUMNS}}: {printable(line[1])}" for line in lines]
    return "\n".join(rendered) + "\n"


def peers(report: StatusReport) -> str:
    """One line a peer, ourselves first; below, the sentences for those that are not right."""
    header = ("PEER", "TUNNEL", "ENDPOINT", "SEEN", "HANDSHAKE", "RTT", "RECEIVED", "SENT", "OWNS", "ADDRESS")
    rows = [_peer_row(peer) for peer in report.peers]
    about_peers = [problem for problem in report.problems if _concerns(problem, report.peers)]
    return _table(header, rows) + _problems(about_peers) + _indirect(report)


def _indirect(report: StatusReport) -> str:
    """A line for each way in the mesh that is not direct, whoever told of it."""
    names = {peer.name: title(nickname=peer.nickname, name=peer.name) for peer in report.peers}
    lines = "".join(
        f"{names.get(path.origin, path.origin)} -> {names.get(path.peer, path.peer)}: "
        + ("no way" if path.relay is None else f"over {names.get(path.relay, path.relay)}")
        + f" ({printable(path.reason)})\n"
        for path in report.router.indirect
    )
    return f"\nNot direct:\n{lines}" if lines else ""


def _peer_row(peer: PeerStatus) -> list[str]:
    name = title(nickname=peer.nickname, name=peer.name)
    if peer.ourselves:
        ours = ["this peer", _NOTHING, _NOTHING, _NOTHING, _NOTHING, _NOTHING, _NOTHING]
        return [name, *ours, _list(peer.owned), _address(peer)]
    rtt = peer.rtt_ms if peer.rtt_ms is not None else peer.control_rtt_ms
    return [
        name,
        _tunnel(peer),
        peer.endpoint or _NOTHING,
        _ago(peer.last_seen_s),
        _ago(peer.last_handshake_s),
        _NOTHING if rtt is None else round_trip(rtt),
        size(peer.rx_bytes),
        size(peer.tx_bytes),
        _list(peer.owned),
        _address(peer),
    ]


def _address(peer: PeerStatus) -> str:
    """The first, IPv4; its IPv6 twin follows from it and is in `--json`."""
    return peer.addresses[0] if peer.addresses else _NOTHING


def _tunnel(peer: PeerStatus) -> str:
    if not peer.reachable:
        return "unreachable!" if peer.tunnel != "live" else "live, no control"
    return peer.tunnel if peer.via in (None, "direct") else f"{peer.tunnel} via {peer.via}"


def _concerns(problem: Problem, of: Sequence[PeerStatus]) -> bool:
    return any(title(nickname=peer.nickname, name=peer.name) in problem.sentence for peer in of)


def connections(report: StatusReport) -> str:
    """One line a control link, established ones first."""
    order = sorted(
        report.router.connections, key=lambda link: (_STATES.index(link.state), link.nickname or "", link.address)
    )
    if not order:
        return "no connections\n"
    links = _table(("", "ADDRESS", "STATE", "PEER", "RTT", "SINCE", "INFO"), [_connection_row(link) for link in order])
    return links + _paths(report)


def _paths(report: StatusReport) -> str:
    """A line for each way of our packets; nothing where none is known."""
    names = {peer.name: title(nickname=peer.nickname, name=peer.name) for peer in report.peers}
    rows = [
        [
            names[peer.name],
            "none"
            if peer.via is None
            else "direct"
            if peer.via == "direct"
            else f"over {names.get(peer.via, peer.via)}",
            peer.endpoint or _NOTHING,
            _NOTHING if peer.rtt_ms is None else round_trip(peer.rtt_ms),
            _NOTHING if peer.loss is None else f"{100 * peer.loss:.0f} %",
            _mtu(peer),
            _NOTHING if peer.path_since_s is None else duration(peer.path_since_s),
            peer.why_not_direct or "",
        ]
        for peer in report.peers
        if not peer.ourselves and (peer.via is not None or peer.why_not_direct)
    ]
    header = ("PATH TO", "WAY", "ENDPOINT", "RTT", "LOSS", "MTU", "SINCE", "WHY NOT DIRECT")
    return f"\n{_table(header, rows)}" if rows else ""


def _mtu(peer: PeerStatus) -> str:
    if peer.mtu is None:
        return _NOTHING
    return str(peer.mtu) if peer.mtu_proven else f"{peer.mtu} unproven"


def _way(peer: PeerStatus, names: Mapping[str, str]) -> str:
    if peer.via is None or peer.via == "direct":
        return peer.via or "none"
    return f"over {names.get(peer.via, peer.via)}"


def _connection_row(link: ConnectionStatus) -> list[str]:
    return [
        "->" if link.outbound else "<-",
        link.address,
        link.state,
        title(nickname=link.nickname, name=link.peer) if link.peer else _NOTHING,
        _NOTHING if link.rtt_ms is None else round_trip(link.rtt_ms),
        _NOTHING if link.since_s is None else duration(link.since_s),
        link.reason or ("encrypted, TLS 1.3" if link.state == "established" else ""),
    ]


def targets(report: StatusReport) -> str:
    """One line a target; an address alone in the first column, as in Weave Net."""
    if not report.router.targets:
        return "no targets\n"
    names = {peer.name: peer.nickname for peer in report.peers}
    rows = [
        [
            target.address,
            target.state,
            title(nickname=names.get(target.peer), name=target.peer) if target.peer else _NOTHING,
            "; ".join(filter(None, (target.reason, _retry(target.retry_in_s)))),
        ]
        for target in sorted(report.router.targets, key=lambda target: target.address)
    ]
    return _table(("TARGET", "STATE", "PEER", "INFO"), rows)


def _retry(retry_in_s: float | None) -> str | None:
    return None if retry_in_s is None else f"next try in {duration(retry_in_s)}"


def ipam(report: StatusReport) -> str:
    """Who owns how much, ourselves first, in Weave Net's words; then who waits, and what is wrong."""
    own = report.agent.name
    order = sorted(report.ipam.entries, key=lambda entry: (entry.peer != own, entry.nickname, entry.peer))
    head = f"{report.ipam.status}; range {report.ipam.range}, IPv6 {report.ipam.ipv6_range or 'none yet'}"
    body = _table((), [_ipam_row(entry) for entry in order], right=1) if order else ""
    lines = [f"{wait.ident} waits for an address: {wait.reason}" for wait in report.ipam.pending]
    if report.ipam.unknown:
        lines.append(f"{report.ipam.unknown} IPs have no owner that this peer knows of")
    if report.ipam.quarantined:
        lines.append(f"isolated: {_list(report.ipam.quarantined)}")
    if report.ipam.removed:
        lines.append(f"removed: {_list([title(nickname=one.nickname, name=one.peer) for one in report.ipam.removed])}")
    text = printable(head) + "\n" + body + "".join(f"{printable(line)}\n" for line in lines)
    about_ring = [problem for problem in report.problems if _is_of_ring(problem, report.ipam)]
    return text + _problems(about_ring)


def _is_of_ring(problem: Problem, ipam: IpamStatus) -> bool:
    if ipam.is_removed:
        return problem.sentence == REMOVED
    isolated = any(problem.sentence.startswith(f"nothing of {block} is handed out") for block in ipam.quarantined)
    return problem in ipam.findings or problem.sentence in ipam.unsettled or isolated


def _ipam_row(entry: IpamEntry) -> list[str]:
    active = None if entry.active is None else f"{entry.active} active"
    free = None if entry.free is None else f"{entry.free} free"
    counted = ", ".join(filter(None, (active, free)))
    info = "- unreachable!" if not entry.reachable else f"({counted})" if counted else ""
    return [
        title(nickname=entry.nickname, name=entry.peer),
        f"{entry.ips} IPs",
        f"({entry.percent:04.1f}% of total)",
        info,
        _list(entry.ranges),
    ]


def pods(report: StatusReport) -> str:
    """One line an attachment."""
    if not report.pods:
        return "no pods\n"
    rows = [[pod.pod or _NOTHING, _list(pod.addresses), pod.host_interface, pod.ident] for pod in report.pods]
    return _table(("POD", "ADDRESSES", "INTERFACE", "ATTACHMENT"), rows)


def _problems(problems: Iterable[Problem]) -> str:
    sentences = ("; ".join(filter(None, (problem.sentence, problem.remedy))) for problem in problems)
    lines = "".join(f"! {printable(sentence)}\n" for sentence in sentences)
    return f"\n{lines}" if lines else ""


def _ranges(blocks: Sequence[str]) -> str:
    return "range" if len(blocks) == 1 else "ranges"


def _ago(seconds: float | None) -> str:
    return "never" if seconds is None else duration(seconds)


def _list(values: Sequence[str]) -> str:
    return ", ".join(values) or _NOTHING


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: int | None = None) -> str:
    """Columns two blanks apart, aligned to the left but the one numbered `right`."""
    from tabulate import tabulate  # a third of the start-up time of `weavemesh status`, which has no table

    safe = [[printable(cell) for cell in row] for row in rows]
    align = ["right" if column == right else "left" for column in range(len(safe[0]))]
    text = tabulate(safe, headers=header, tablefmt="plain", disable_numparse=True, colalign=align)
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())
