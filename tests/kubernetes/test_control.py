"""The harness itself, without the project: nodes wait for a network, and a plain bridge gives them one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.demo.lab import Machine
from tests.kubernetes.bridge import install_bridge
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.conftest import cluster_name
from tests.kubernetes.folder import clusters_folder
from tests.kubernetes.node import CGROUPS, is_running
from tests.kubernetes.pod import start_pods, unanswered, web

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]


@pytest.fixture
def bare(_can_run: None) -> Iterator[Cluster]:
    with Cluster(2, name=cluster_name()) as cluster:
        yield cluster


def test_nodes_wait_for_a_network_and_nothing_is_left_behind(bare: Cluster) -> None:
    said = bare.kubectl("get", "nodes", "-o", "jsonpath={.items[*].status.conditions[?(@.type=='Ready')].message}")
    assert said.count("cni plugin not initialized") == 2
    install_bridge(bare)
    bare.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s")
    pods = start_pods(bare, web("web"))
    assert not unanswered(pods, [pod.address for pod in pods])
    assert pods[0].name == bare.kubectl("exec", pods[0].name, "--", "hostname").strip()
    machines: list[Machine] = [bare.control.machine, *(node.machine for node in bare.nodes.values())]
    bare.__exit__()
    assert not [machine.name for machine in machines if is_running(machine.init_pid)]
    assert not is_running(pods[0].pid)
    assert not (clusters_folder() / bare.name).exists()
    assert not [found for root in CGROUPS.iterdir() for found in root.glob(f"{bare.name}-*")]
    assert str(clusters_folder() / bare.name) not in Path("/proc/self/mounts").read_text()
