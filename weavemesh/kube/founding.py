"""Which part this peer plays in founding the ring of its cluster: waits for the API server until that is decided.

Only a peer without a ring asks. The answer is a compare-and-swap on the charter: whoever writes it founds, all others
wait for that ring. What the charter means, and when a founder is lost, is decided in `weavemesh.kube.decision`.
"""

import time
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from weavemesh.kube.charter import Charter
from weavemesh.kube.cluster import Cluster, ClusterError, Conflict
from weavemesh.kube.decision import first_founder, founder_is_lost
from weavemesh.kube.node import Node

RETRY_S: Final = 0.5
RETRY_S_MAX: Final = 10.0
"""Between two tries to reach the API server: doubled each time."""
OUTSIDE: Final = "outside"
"""The founder, where nodes only join a mesh that is there already."""
LOST_S: Final = 30.0
"""So long a founder must have been gone before another takes its place: those on their way into its ring have said so
by then."""


class Part(Struct, frozen=True):
    """What was decided, and by whom it was seen."""

    charter: Charter
    nodes: tuple[Node, ...]


def part_of(
    cluster: Cluster,
    *,
    peer: str,
    node: str,
    namespace: str,
    observer: bool,
    say: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Part:
    """The charter for a peer that has no ring; tries until the API server has answered, telling why it waits.

    An observer never writes itself into it.
    """
    pause_s, told = RETRY_S, ""
    while True:
        try:
            nodes = cluster.nodes().items
            if all(one.name != node for one in nodes):  # others would take us for one that was deleted
                raise ClusterError(f"it has no node {node} (yet)")
            return Part(_charter(cluster, nodes, "" if observer else peer, node, namespace), nodes)
        except ClusterError as error:
            if str(error) != told:
                told = str(error)
                say(f"waiting for the API server: {told}")
        sleep(pause_s)
        pause_s = min(2 * pause_s, RETRY_S_MAX)


def _charter(cluster: Cluster, nodes: tuple[Node, ...], peer: str, node: str, namespace: str) -> Charter:
    known = cluster.charter(namespace)
    if known is not None:
        return known
    founder, seat = first_founder(nodes, own=node, peer=peer)
    try:
        return cluster.found(founder=founder or OUTSIDE, node=seat, namespace=namespace)
    except Conflict:  # another was quicker, or the object is there and says nothing
        known = cluster.charter(namespace)
    if known is None:
        raise ClusterError("its ConfigMap weavemesh holds no founder: delete it if this cluster has no mesh yet")
    return known


class Succession:
    """Watches, for a peer without a ring, whether the founder is lost, and takes its place if so."""

    def __init__(self, charter: Charter, *, peer: str, node: str, namespace: str) -> None:
        self._charter, self._peer, self._node, self._namespace = charter, peer, node, namespace
        self._lost_since: float | None = None

    def look(self, cluster: Cluster, now: float) -> bool:
        """Whether this peer is the founder from now on. `now` is a monotonic time in seconds. ClusterError."""
        charter = cluster.charter(self._namespace)
        if charter is None or charter != self._charter:
            self._lost_since = None
            self._charter = charter or self._charter
            return charter is not None and charter.founder == self._peer
        if charter.founder == self._peer or not founder_is_lost(charter, self._node, cluster.nodes().items):
            self._lost_since = None
            return False
        self._lost_since = now if self._lost_since is None else self._lost_since
        if now - self._lost_since < LOST_S:
            return False
        try:
            cluster.found_anew(charter, founder=self._peer, node=self._node, namespace=self._namespace)
        except Conflict:
            return False
        return True
