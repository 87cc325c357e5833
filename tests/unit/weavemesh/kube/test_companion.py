"""The companion tells the agent of the cluster and the cluster of the agent, through failures of both."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.unit.weavemesh.kube.cluster_twin import ClusterTwin, node
from tests.unit.weavemesh.sample import A, B, sound_report
from weavemesh.api.client import AgentNotRunning, ApiClient
from weavemesh.api.message import Changed, ConnectRequest, Failure, Readiness, StopRequest
from weavemesh.api.ring import RemoveRequest
from weavemesh.error import UserError
from weavemesh.kube import companion
from weavemesh.kube.charter import Charter
from weavemesh.kube.companion import Companion, Place
from weavemesh.kube.founding import Succession
from weavemesh.kube.node import ADDRESS, PEER, RING, Node
from weavemesh.status import StatusReport

PLACE = Place(node="n1", namespace="weavemesh", cluster="cluster1", founder="n1", given=("outside:7000",))


@dataclass
class AgentTwin(ApiClient):
    """An agent as its local API shows it."""

    is_running: bool = True
    readiness: Readiness = field(default_factory=lambda: Readiness(ready=True, steps=(), known=0))
    members: dict[str, str] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    removed: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    refuses_stop: bool = False
    refuses_removal: bool = False

    def ready(self, *, known: int, wait_s: float) -> Readiness:
        assert (known, wait_s) == (0, 0.0)
        if not self.is_running:
            raise AgentNotRunning(Path("/run/weavemesh/agent.sock"))
        return self.readiness

    def status(self) -> StatusReport:
        report = sound_report()
        peers = tuple(replace(peer, node=self.members.get(peer.name)) for peer in report.peers)
        return replace(report, peers=tuple(peer for peer in peers if peer.name not in self.removed))

    def connect(self, request: ConnectRequest) -> Changed:
        if not self.is_running:
            raise AgentNotRunning(Path("/run/weavemesh/agent.sock"))
        assert request.replace
        self.targets = request.targets
        return Changed()

    def remove(self, request: RemoveRequest) -> Changed:
        if self.refuses_removal:
            raise UserError("the disk is full", remedy="make room")
        assert request.force
        self.removed.append(request.peer)
        return Changed(sentences=("it is removed",))

    def stop(self, request: StopRequest) -> Changed:
        if self.refuses_stop:
            raise UserError("the agent does not answer within 10 s", remedy="look into its log")
        self.stopped.append(request.reason)
        self.is_running = False
        return Changed()


@dataclass
class Scene:
    cluster: ClusterTwin
    agent: AgentTwin
    companion: Companion
    ready: list[str]
    kept: list[tuple[Node, ...]]


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Scene]]:
    for name in ("START_TICK_S", "TICK_S", "REST_S", "RETRY_S", "RETRY_S_MAX"):
        monkeypatch.setattr(companion, name, 0.01)
    monkeypatch.setattr(companion, "STATUS_S", 0.05)
    monkeypatch.setattr(companion, "GONE_S", 0.1)
    scenes: list[Scene] = []

    def start(*nodes: Node, succession: Succession | None = None) -> Scene:
        cluster, agent, ready, kept = ClusterTwin(*nodes), AgentTwin(), list[str](), list[tuple[Node, ...]]()
        one = Companion(
            PLACE,
            open_cluster=lambda: cluster,
            agent=agent,
            succession=succession,
            ready=lambda: ready.append("ready"),
            keep=kept.append,
        )
        scenes.append(Scene(cluster, agent, one, ready, kept))
        return scenes[-1]

    yield start
    for scene in scenes:  # daemon threads: they end with the process, but not in the midst of another test
        scene.companion.again = "founds"
        scene.cluster.is_down = True
        scene.cluster.break_watches()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)


def test_nodes_that_come_and_go_are_dialled_and_forgotten(begin: Callable[..., Scene]) -> None:
    scene = begin(node("n1", "10.0.0.1"), node("n2", "10.0.0.2"))
    scene.companion.start()
    until(lambda: scene.agent.targets == ("outside:7000", "10.0.0.2"))
    scene.cluster.put(node("n3", "10.0.0.3"))
    until(lambda: scene.agent.targets == ("outside:7000", "10.0.0.2", "10.0.0.3"))
    scene.cluster.break_watches()
    scene.cluster.delete("n2")
    until(lambda: scene.agent.targets == ("outside:7000", "10.0.0.3"))
    until(lambda: scene.kept and {one.name for one in scene.kept[-1]} == {"n1", "n3"})


def test_a_ready_agent_is_published_once_and_its_plugin_put_in_place(begin: Callable[..., Scene]) -> None:
    scene = begin(node("n1", "10.0.0.1"))
    scene.agent.readiness = Readiness(ready=False, steps=("waiting",), known=1)
    scene.companion.start()
    until(lambda: scene.agent.targets)
    assert not scene.ready and not scene.kept and not scene.cluster.available
    scene.agent.readiness = Readiness(ready=True, steps=(), known=1)
    until(lambda: scene.cluster.available == {"n1"})
    assert scene.ready == ["ready"]
    report, written = sound_report(), scene.cluster.objects["n1"]
    ours = next(peer for peer in report.peers if peer.ourselves)
    assert written.annotation(PEER) == A
    assert written.annotation(RING) == report.ipam.ring_id
    assert written.annotation(ADDRESS) == ",".join(ours.addresses)


def test_without_the_api_server_an_agent_goes_on_and_is_published_when_it_is_back(begin: Callable[..., Scene]) -> None:
    scene = begin(node("n1", "10.0.0.1"), node("n2", "10.0.0.2"))
    scene.cluster.is_down = True
    scene.companion.start()
    until(lambda: scene.ready == ["ready"])  # pods get addresses
    assert not scene.agent.targets and not scene.agent.removed and not scene.agent.stopped
    scene.cluster.is_down = False
    until(lambda: scene.cluster.available == {"n1"} and scene.agent.targets)


def test_the_peer_of_a_deleted_node_is_removed_after_a_while(begin: Callable[..., Scene]) -> None:
    scene = begin(node("n1", "10.0.0.1"), node("n2", "10.0.0.2"))
    scene.agent.members = {B: "cluster1/n2"}
    scene.agent.refuses_removal = True
    scene.companion.start()
    until(lambda: scene.cluster.available)
    scene.cluster.delete("n2")
    until(lambda: scene.agent.targets == ("outside:7000",))
    scene.agent.refuses_removal = False  # it is tried again
    until(lambda: scene.agent.removed == [B])


def test_a_node_that_is_back_soon_was_never_gone(begin: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(companion, "GONE_S", 3600.0)
    scene = begin(node("n1", "10.0.0.1"), node("n2", "10.0.0.2"))
    scene.agent.members = {B: "cluster1/n2"}
    scene.companion.start()
    until(lambda: scene.cluster.available)
    scene.cluster.delete("n2")
    until(lambda: scene.agent.targets == ("outside:7000",))
    scene.cluster.put(node("n2", "10.0.0.2"))
    until(lambda: scene.agent.targets == ("outside:7000", "10.0.0.2"))
    monkeypatch.setattr(companion, "GONE_S", 0.0)
    looks = len(scene.kept)
    scene.cluster.put(node("n4", "10.0.0.4"))
    until(lambda: len(scene.kept) > looks)
    assert B not in scene.agent.removed


@pytest.mark.parametrize("ready", [False, True])
def test_an_agent_that_was_removed_is_to_begin_anew(begin: Callable[..., Scene], *, ready: bool) -> None:
    scene = begin(node("n1", "10.0.0.1"))
    scene.agent.readiness = Readiness(
        ready=ready, steps=(), known=0, refusal=Failure(sentence="it was removed", remedy="begin anew")
    )
    scene.agent.refuses_stop = True
    scene.companion.start()
    time.sleep(0.1)
    assert not scene.agent.stopped
    scene.agent.refuses_stop = False  # it is tried again
    until(lambda: scene.agent.stopped == ["removed"])
    assert scene.companion.again == "removed"
    assert not scene.ready


def test_a_peer_that_succeeds_a_lost_founder_is_to_begin_anew(
    begin: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weavemesh.kube.founding.LOST_S", 0.05)
    charter = Charter(founder="p0", node="n0", cluster="cluster1", version="1")
    scene = begin(node("n1", "10.0.0.1"), succession=Succession(charter, peer=A, node="n1", namespace="weavemesh"))
    scene.cluster.written = charter
    scene.agent.readiness = Readiness(ready=False, steps=("waiting",), known=1)
    scene.companion.start()
    until(lambda: scene.agent.stopped == ["founds"])
    assert scene.companion.again == "founds"
    assert scene.cluster.written.founder == A


def test_an_agent_that_is_not_up_yet_is_waited_for(begin: Callable[..., Scene]) -> None:
    scene = begin(node("n1", "10.0.0.1"), node("n2", "10.0.0.2"))
    scene.agent.is_running = False
    scene.companion.start()
    time.sleep(0.1)
    assert not scene.ready
    scene.agent.is_running = True
    until(lambda: scene.agent.targets == ("outside:7000", "10.0.0.2"))


def test_a_bug_is_logged_and_does_not_end_the_work(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(companion, "RETRY_S_MAX", 0.0)
    tries = list[int]()

    def work() -> None:
        tries.append(len(tries))
        if len(tries) < 3:
            raise KeyError("a bug")

    companion._keep_going(work)
    assert len(tries) == 3
    bugs = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert bugs == ["cluster-failed"] * 2
