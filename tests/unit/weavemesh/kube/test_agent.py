"""What an agent of a node is started with: by what the cluster says, by what was remembered, or not at all."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.weavemesh.kube.cluster_twin import ClusterTwin, node
from weavemesh.config import AgentConfig
from weavemesh.error import UserError
from weavemesh.identity import Identity
from weavemesh.kube.agent import Folders, Installer, run_on_node
from weavemesh.kube.charter import Charter
from weavemesh.kube.cluster import ClusterError
from weavemesh.kube.memory import Memory
from weavemesh.kube.node import ENDPOINT
from weavemesh.option import Options
from weavemesh.secret import ENVIRONMENT, ClusterSecret

NODES = (
    node("n1", "10.0.0.1", external=("198.51.100.1",)),
    node("n2", "10.0.0.2", annotations={ENDPOINT: "203.0.113.2:7000"}),
)


class Host:
    """One node: its folders, its environment, and what was done on it."""

    def __init__(self, folder: Path) -> None:
        self.folders = Folders(folder / "state", folder / "run")
        self.environment = {
            "WEAVEMESH_NODE_NAME": "n1",
            "WEAVEMESH_POD_NAMESPACE": "weavemesh",
            ENVIRONMENT: ClusterSecret.generate().text(),
        }
        self.done: list[str] = []
        self.started: AgentConfig | None = None

    async def run_agent(self, config: AgentConfig, *, on_ready: Callable[[str], None]) -> None:
        self.started = config
        on_ready("ready")

    def run(self, cluster: ClusterTwin | None, options: Options = Options()) -> AgentConfig:  # noqa: B008 - frozen
        def connect() -> ClusterTwin:
            if cluster is None:
                raise ClusterError("this is no pod of Kubernetes")
            return cluster

        installer = Installer(lambda: self.done.append("executables"), lambda: self.done.append("configuration"))
        again = run_on_node(
            options,
            self.folders,
            environment=self.environment,
            installer=installer,
            run_agent=self.run_agent,
            connect=connect,
            say=self.done.append,
        )
        assert again is None
        assert self.started is not None
        return self.started


def test_the_first_founds_and_tells_who_and_where_it_is(tmp_path: Path) -> None:
    host, cluster = Host(tmp_path), ClusterTwin(*NODES)
    config = host.run(cluster)
    assert (config.initial_peers, config.observer) == (1, False)
    assert config.targets == ("203.0.113.2:7000",)
    assert [endpoint.text() for endpoint in config.advertise] == ["198.51.100.1:6783"]
    assert (config.nickname, config.node) == ("n1", "cluster1/n1")
    peer = Identity.load_or_create(host.folders.state, nickname="n1").name
    assert cluster.written and (cluster.written.founder, cluster.written.node) == (peer, "n1")
    assert host.done[0] == "executables"
    assert ENVIRONMENT in host.environment  # the agent itself takes it out


def test_all_others_only_join(tmp_path: Path) -> None:
    host, cluster = Host(tmp_path), ClusterTwin(*NODES)
    cluster.written = Charter(founder="p2", node="n2", cluster="cluster1", version="1")
    config = host.run(cluster)
    assert (config.initial_peers, config.observer) == (None, True)


def test_what_the_user_says_goes_before_what_the_cluster_says(tmp_path: Path) -> None:
    options = Options(targets=("host9",), advertise=("192.0.2.9:99",), nickname="first", observer=True)
    config = Host(tmp_path).run(ClusterTwin(*NODES), options)
    assert config.targets == ("host9:6783", "203.0.113.2:7000")
    assert [endpoint.text() for endpoint in config.advertise] == ["192.0.2.9:99"]
    assert (config.nickname, config.observer, config.initial_peers) == ("first", True, None)


def test_an_agent_that_has_been_in_the_mesh_starts_without_the_api_server(tmp_path: Path) -> None:
    host, cluster = Host(tmp_path), ClusterTwin(*NODES)
    host.run(cluster)
    Memory(cluster="cluster1", founder="n2", targets=("10.0.0.2",), advertised=("198.51.100.1",)).keep(
        host.folders.state
    )
    cluster.is_down = True
    config = host.run(cluster)
    assert (config.initial_peers, config.observer, config.targets) == (None, True, ("10.0.0.2:6783",))
    assert config.node == "cluster1/n1"


@pytest.mark.parametrize("missing", ["WEAVEMESH_NODE_NAME", "WEAVEMESH_POD_NAMESPACE", ENVIRONMENT])
def test_without_what_it_needs_nothing_is_begun(tmp_path: Path, missing: str) -> None:
    host, cluster = Host(tmp_path), ClusterTwin(*NODES)
    del host.environment[missing]
    options = Options(secret_file=str(tmp_path / "none")) if missing == ENVIRONMENT else Options()
    with pytest.raises(UserError, match="none" if missing == ENVIRONMENT else missing):
        host.run(cluster, options)
    assert not host.done and not host.folders.state.exists() and cluster.written is None


def test_outside_kubernetes_it_is_said_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run this as a pod of the DaemonSet"):
        Host(tmp_path).run(None)
