"""What a node's agent makes of what it sees of the cluster: whom to dial, who may found, whose peers are gone. Pure.

`weavemesh.kube.companion` and `weavemesh.kube.founding` act on it.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from msgspec import Struct

from weavemesh.kube.charter import Charter
from weavemesh.kube.node import PEER, RING, Node

TARGETS_MAX: Final = 16
"""Nodes that one dials: enough that all together are one mesh, of any size; the mesh itself tells of the others.
(A random graph of N nodes with k links each is connected but for some N·e^-k cases.)"""


class Member(Struct, frozen=True):
    """A peer of the mesh that runs on a node of a cluster."""

    peer: str
    node: str
    """`place` of its cluster and node."""


def place(cluster: str, node: str) -> str:
    """How a peer tells the others on which node of which cluster it runs."""
    return f"{cluster}/{node}"


def targets(own: str, nodes: Collection[Node], *, founder: str | None) -> tuple[str, ...]:
    """Endpoints to dial: of all other nodes where these are few, else of some drawn by lot and the founder's."""
    others = sorted((node for node in nodes if node.name != own), key=lambda node: _lot(own, node.name))
    first = [node for node in others if node.name == founder]
    chosen = (first + [node for node in others if node.name != founder])[:TARGETS_MAX]
    return tuple(
        dict.fromkeys(endpoint for node in sorted(chosen, key=lambda n: n.name) for endpoint in node.endpoints())
    )


def first_founder(nodes: Iterable[Node], *, own: str, peer: str) -> tuple[str, str]:
    """Peer and node to write into a charter where there is none: we, unless somebody has a ring already.

    Then the object was deleted by mistake: the ring that is there goes on.
    """
    for node in nodes:
        resident = node.annotation(PEER)
        if node.name != own and resident is not None and node.annotation(RING):
            return resident, node.name
    return peer, own


def founder_is_lost(charter: Charter, own: str, nodes: Collection[Node]) -> bool:
    """Whether the founder has gone for ever without a ring that anybody has: then another may take its place.

    To be asked by a peer without a ring that is not the founder. Whoever is on its way into a ring may not have said
    so yet: so this must hold for a while before one acts on it.
    """
    if any(node.annotation(RING) for node in nodes if node.name != own):
        return False
    # On our own node there is another peer now: we.
    return charter.node == own or all(node.name != charter.node for node in nodes)


def gone(members: Iterable[Member], nodes: Collection[Node], *, own: str, cluster: str) -> frozenset[str]:
    """Peers whose node was deleted, or on whose node there is another peer now.

    A list of nodes that lacks our own is not believed: it is of another cluster, or our own node was deleted, and
    then others decide. Peers of other clusters and of hosts outside are nobody's business here.
    """
    by_place: Mapping[str, Node] = {place(cluster, node.name): node for node in nodes}
    if place(cluster, own) not in by_place:
        return frozenset()
    return frozenset(
        member.peer
        for member in members
        if member.node.partition("/")[0] == cluster and _has_left(member, by_place.get(member.node))
    )


def _has_left(member: Member, node: Node | None) -> bool:
    if node is None:
        return True
    resident = node.annotation(PEER)
    return resident is not None and resident != member.peer


def _lot(own: str, other: str) -> bytes:
    return hashlib.sha256(f"{own}\0{other}".encode()).digest()
