"""Runs beside the agent of a node, in threads: what happens in the cluster it tells the agent, and what becomes of the
agent it tells the cluster.

The agent is asked over its local API, as the command line does; the cluster through `weavemesh.kube.cluster`. Every
failure there is logged once and tried again: the agent goes on without. Decides nothing (`weavemesh.kube.decision`).
"""

import queue
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from logging import ERROR, INFO, WARNING
from typing import Final, Literal

import msgspec
from msgspec import Struct

from weavemesh.api.client import AgentNotRunning, ApiClient
from weavemesh.api.message import ConnectRequest, StopRequest
from weavemesh.api.ring import RemoveRequest
from weavemesh.error import UserError
from weavemesh.kube.cluster import Cluster, ClusterError, Gone
from weavemesh.kube.decision import Member, gone, targets
from weavemesh.kube.founding import Succession
from weavemesh.kube.node import ADDRESS, ENDPOINT, PEER, RING, Node
from weavemesh.logs import Event, log
from weavemesh.status import StatusReport

START_TICK_S: Final = 0.2
"""Between two looks until the agent is ready: so much later, at most, do pods come."""
TICK_S: Final = 1.0
"""Between two looks while something is to be done."""
REST_S: Final = 5.0
"""Between two looks when nothing happens in the cluster; they cost next to nothing."""
STATUS_S: Final = 60.0
"""Between two looks at the whole mesh then: they cost the more the larger it is."""
GONE_S: Final = 5.0
"""A node that is created anew within this time was not deleted."""
RETRY_S: Final = 1.0
RETRY_S_MAX: Final = 30.0


Again = Literal["removed", "founds"]
"""Others have removed this peer, and its state is worthless; or it is to found the ring now."""


class Place(Struct, frozen=True, kw_only=True):
    """Where the companion is at home."""

    node: str
    namespace: str
    cluster: str
    """Identifies the cluster."""
    founder: str
    """The node of the founder, which all dial."""
    given: tuple[str, ...]
    """Targets that the user gave besides."""


class Companion:
    """The threads of one life of the agent."""

    def __init__(
        self,
        place: Place,
        *,
        open_cluster: Callable[[], Cluster],
        agent: ApiClient,
        succession: Succession | None,
        ready: Callable[[], None],
        keep: Callable[[tuple[Node, ...]], None],
    ) -> None:
        """`ready` is called once when the agent is; `keep` then, and from then on, with the nodes when they change."""
        self._place = place
        self._open_cluster = open_cluster
        self._agent = agent
        self._succession = succession
        self._tell_ready = ready
        self._keep = keep
        self._kept: tuple[Node, ...] | None = None
        self._news: queue.SimpleQueue[tuple[Node, ...]] = queue.SimpleQueue()
        self._cluster: Cluster | None = None
        self._nodes: tuple[Node, ...] | None = None
        self._targets: tuple[str, ...] | None = None
        self._is_ready = False
        self._published: Mapping[str, str] | None = None
        self._missing: dict[str, float] = {}
        self._status_at = 0.0
        self._complaint: str | None = None
        self.again: Again | None = None
        """Why the agent was told to stop: it is to begin anew."""

    def start(self) -> None:
        """Begin. The threads end with the process: they hold nothing that must be given back."""
        for work in (self._watch, self._act):
            threading.Thread(target=_keep_going, args=(work,), name=f"kubernetes{work.__name__}", daemon=True).start()

    def _watch(self) -> None:
        """Follow the nodes for ever."""
        pause_s = RETRY_S
        while True:
            try:
                cluster = self._connected()
                listed = cluster.nodes()
                nodes = {node.name: node for node in listed.items}
                version = listed.metadata.resource_version
                self._news.put(tuple(nodes.values()))
                pause_s = RETRY_S
                while True:
                    version = self._follow(cluster, version, nodes)
            except Gone:
                time.sleep(RETRY_S)
            except ClusterError as error:
                self._complain(f"the API server: {error}")
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, RETRY_S_MAX)

    def _follow(self, cluster: Cluster, version: str, nodes: dict[str, Node]) -> str:
        """One watch: until the server ends it; the version to go on from."""
        for event in cluster.watch(version):
            try:
                node = event.node()
            except msgspec.ValidationError as error:
                raise ClusterError(f"it tells of a node that is none ({error})") from error
            version = node.metadata.resource_version or version
            if event.type == "BOOKMARK":
                continue
            before = nodes.pop(node.name, None)
            if event.type != "DELETED":
                nodes[node.name] = node
            if not (before and event.type != "DELETED" and _same(before, node)):
                self._news.put(tuple(nodes.values()))
            self._settled()
        return version

    def _connected(self) -> Cluster:
        if self._cluster is None:
            self._cluster = self._open_cluster()
        return self._cluster

    def _act(self) -> None:
        """Do what is to be done, as long as the agent runs."""
        wait_s = START_TICK_S
        while self.again is None:
            try:
                self._nodes = self._news.get(timeout=wait_s)
                while not self._news.empty():
                    self._nodes = self._news.get()
            except queue.Empty:
                pass
            try:
                wait_s = self._look(time.monotonic())
            except AgentNotRunning:
                wait_s = TICK_S if self._is_ready else START_TICK_S  # not any more, or not yet
            except UserError as error:
                self._complain(f"the agent: {error}")
                wait_s = RETRY_S
            except ClusterError as error:
                self._complain(f"the API server: {error}")
                wait_s = RETRY_S_MAX if self._is_ready else RETRY_S

    def _look(self, now: float) -> float:
        """One look at everything; seconds until the next if nothing happens."""
        self._dial()
        readiness = self._agent.ready(known=0, wait_s=0.0)
        if readiness.refusal is not None:
            self._begin_anew("removed")
        elif not self._is_ready and not readiness.ready:
            if self._succession is not None and self._succession.look(self._connected(), now):
                self._begin_anew("founds")
        else:
            return self._look_when_ready(now)
        return START_TICK_S

    def _look_when_ready(self, now: float) -> float:
        if not self._is_ready:
            self._tell_ready()
            self._is_ready = True
        if self._nodes is None or (self._nodes is self._kept and now < self._status_at):
            return REST_S
        if self._nodes is not self._kept:
            self._keep(self._nodes)
            self._kept = self._nodes
        status = self._agent.status()
        self._publish(status)
        is_waiting = self._reclaim(status, self._nodes, now)
        self._status_at = now if is_waiting else now + STATUS_S
        return TICK_S if is_waiting else REST_S

    def _dial(self) -> None:
        if self._nodes is None:
            return
        place = self._place
        chosen = tuple(dict.fromkeys((*place.given, *targets(place.node, self._nodes, founder=place.founder))))
        if chosen != self._targets:
            self._agent.connect(ConnectRequest(targets=chosen, replace=True))
            self._targets = chosen

    def _begin_anew(self, why: Again) -> None:
        self.again = why
        try:
            self._agent.stop(StopRequest(reason=why))
        except UserError:
            self.again = None  # it does not know yet: tried again at the next look
            raise

    def _publish(self, status: StatusReport) -> None:
        """Tell the cluster who we are, once, and again if that changes."""
        ourselves = next((peer for peer in status.peers if peer.ourselves), None)
        addresses = ourselves.addresses if ourselves else ()
        facts = {PEER: status.agent.name, ADDRESS: ",".join(addresses), RING: status.ipam.ring_id or ""}
        if facts == self._published:
            return
        cluster = self._connected()
        cluster.annotate(self._place.node, facts)
        cluster.network_is_available(self._place.node)
        self._published = facts
        log(INFO, Event.NODE_PUBLISHED, node=self._place.node, peer=status.agent.name)
        self._settled()

    def _reclaim(self, status: StatusReport, nodes: tuple[Node, ...], now: float) -> bool:
        """Remove the peers of deleted nodes; whether there is one to be looked at again soon."""
        members = [Member(peer.name, peer.node) for peer in status.peers if peer.node and not peer.ourselves]
        missing = gone(members, nodes, own=self._place.node, cluster=self._place.cluster)
        self._missing = {peer: self._missing.get(peer, now) for peer in missing}
        for peer, since in self._missing.items():
            if now - since >= GONE_S:
                told = self._agent.remove(RemoveRequest(peer=peer, force=True))
                log(INFO, Event.NODE_GONE, peer=peer, outcome="; ".join(told.sentences))
        return bool(self._missing)

    def _complain(self, sentence: str) -> None:
        """Log what does not work once, not each time."""
        if sentence != self._complaint:
            self._complaint = sentence
            log(WARNING, Event.CLUSTER_FAILED, reason=sentence)

    def _settled(self) -> None:
        self._complaint = None


def _keep_going(work: Callable[[], None]) -> None:
    """A bug here must not end the agent, nor be overlooked."""
    while True:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - see above
            lines = traceback.format_exception(error)
            log(ERROR, Event.CLUSTER_FAILED, reason=f"{type(error).__name__}: {error}", traceback="".join(lines))
            time.sleep(RETRY_S_MAX)
        else:
            return


def _same(one: Node, other: Node) -> bool:
    """Whether nothing that matters here has changed: kubelets report themselves all the time."""
    return one.status == other.status and all(
        one.annotation(name) == other.annotation(name) for name in (PEER, RING, ENDPOINT)
    )
