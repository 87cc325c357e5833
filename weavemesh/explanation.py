"""Explains paths in sentences, from a status: why packets go between two peers as they do, and what NAT we are behind.

Pure. The status knows the own paths in full and those of others as far as they told the mesh: what is not direct.
"""

from collections import Counter
from collections.abc import Sequence
from ipaddress import ip_address, ip_network

from weavemesh.error import UserError
from weavemesh.measure import duration, printable, round_trip
from weavemesh.status import PeerStatus, StatusReport
from weavemesh.verdict import title


def why(report: StatusReport, one: str, other: str) -> list[str]:
    """How packets go from one to the other: each a peer's nickname or name, or an address of a host or pod.

    UserError for what nobody in the mesh is or has.
    """
    start, end = find_peer(report, one), find_peer(report, other)
    sentences = [_belongs(one, start), _belongs(other, end)]
    if start.name == end.name:
        return [*filter(None, sentences), f"both are on {_title(start)}: packets between them never leave that host"]
    if start.ourselves or end.ourselves:
        sentences += _own(report, end if start.ourselves else start)
    else:
        sentences += _told(report, start, end)
    return [sentence for sentence in sentences if sentence]


def netcheck(report: StatusReport) -> list[str]:
    """What others see of us, and what follows from it."""
    names = {peer.name: _title(peer) for peer in report.peers}
    seen = report.router.seen_as
    own = report.router.own_endpoints
    sentences = [f"this host's own addresses: {', '.join(own) or 'none that others could reach'}"]
    sentences += [f"{names.get(one.peer, one.peer)} sees it at {one.endpoint}" for one in seen]
    sentences.append(_conclusion(own, [one.endpoint for one in seen], has_peers=len(report.peers) > 1))
    others = [peer for peer in report.peers if not peer.ourselves]
    direct = sum(peer.via == "direct" for peer in others)
    relayed = sum(peer.via not in ("direct", None) for peer in others)
    if others:
        sentences.append(f"{direct} of {len(others)} peers are reached directly, {relayed} over a relay")
    for pair in report.router.relayed:
        sentences.append(
            f"forwards for {names.get(pair.one, pair.one)} and {names.get(pair.other, pair.other)}: "
            f"{pair.packets} packets, {pair.octets} octets"
        )
    return [printable(sentence) for sentence in sentences]


def _conclusion(own: Sequence[str], seen: Sequence[str], *, has_peers: bool) -> str:
    if not seen:
        if not has_peers:
            return "there is no other peer yet that could see it"
        return "no peer has answered a packet of ours: UDP is blocked on the way, or their agents are down"
    by_family = [[one for one in seen if one.startswith("[") == six] for six in (False, True)]
    if all(one in own for one in seen):
        return "there is no NAT in between: others can reach it where it is, unless a firewall is in the way"
    if max(len(Counter(family)) for family in by_family) > 1:
        return (
            "it is behind a NAT that gives each destination another port: peers behind such NATs, or behind those that "
            "let in answers only, are reached over a relay"
        )
    if max(len(family) for family in by_family) == 1:
        return (
            "it is behind a NAT; whether that gives each destination another port shows only when more than one peer "
            "sees it"
        )
    return "it is behind a NAT that gives it one port towards everybody: direct paths can be opened to most peers"


def _own(report: StatusReport, peer: PeerStatus) -> list[str]:
    who = _title(peer)
    figures = []
    if peer.rtt_ms is not None:
        figures.append(f"round-trip time {round_trip(peer.rtt_ms)}")
    if peer.loss is not None:
        figures.append(f"loss {100 * peer.loss:.0f} %")
    if peer.mtu is not None:
        figures.append(f"packets of up to {peer.mtu} octets{'' if peer.mtu_proven else ', which is not proven'}")
    measured = f" ({', '.join(figures)})" if figures else ""
    since = "" if peer.path_since_s is None else f" for {duration(peer.path_since_s)}"
    if peer.via is None:
        said = [f"no path to {who} has been found yet"]
    elif peer.via == "direct":
        said = [f"packets go to {who} directly, to {peer.endpoint}{since}{measured}"]
    else:
        relay = next((_title(one) for one in report.peers if one.name == peer.via), peer.via)
        said = [f"packets go to {who} over {relay}, which cannot read them, at {peer.endpoint}{since}{measured}"]
    if peer.why_not_direct:
        said.append(f"not directly: {peer.why_not_direct}")
    if peer.tunnel != "live":
        said.append(f"the tunnel is {peer.tunnel}: packets are lost")
    if not peer.reachable:
        said.append("its agent cannot be reached over the mesh, so it cannot be asked to open a path")
    return said


def _told(report: StatusReport, start: PeerStatus, end: PeerStatus) -> list[str]:
    names = {peer.name: _title(peer) for peer in report.peers}
    told = [path for path in report.router.indirect if {path.origin, path.peer} == {start.name, end.name}]
    if not told:
        return [f"neither {_title(start)} nor {_title(end)} reports anything else, so packets go directly"]
    return [
        f"{names[path.origin]} says: packets to {names[path.peer]} "
        + ("get nowhere" if path.relay is None else f"go over {names.get(path.relay, path.relay)}")
        + f", because: {path.reason}"
        for path in told
    ]


def find_peer(report: StatusReport, text: str) -> PeerStatus:
    """The peer of this nickname or name, or that owns this address; UserError for what nobody is or has."""
    named = [peer for peer in report.peers if text in (peer.name, peer.nickname)]
    if len(named) > 1:
        raise UserError(
            f"{len(named)} peers are called {text}", remedy="give the name that `weavemesh status peers` shows"
        )
    if named:
        return named[0]
    try:
        address = ip_address(text)
    except ValueError:
        raise UserError(
            f"no peer is called {text}",
            remedy="`weavemesh status peers` shows who is; a pod is named by its address",
        ) from None
    for peer in report.peers:
        if text in peer.addresses or any(address in ip_network(block) for block in peer.owned):
            return peer
    raise UserError(f"no peer owns {text}", remedy="`weavemesh status ipam` shows who owns which addresses")


def _belongs(text: str, peer: PeerStatus) -> str:
    return "" if text in (peer.name, peer.nickname) else f"{text} is on {_title(peer)}"


def _title(peer: PeerStatus) -> str:
    return title(nickname=peer.nickname, name=peer.name)
