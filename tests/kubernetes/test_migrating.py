"""The page for those who come from Weave Net, walked through with its own commands, beside a stand-in for that."""

import json
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from deploy.demo.lab import LabError, wait_until
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.folder import PROJECT
from tests.kubernetes.page import Administrator, blocks
from tests.kubernetes.pod import RunningPod, pods_of, start_pods, unanswered, web
from tests.kubernetes.product import Mesh
from tests.kubernetes.reset import finish_uninstall, wait_until_clean
from tests.kubernetes.weavenet import BRIDGE, CONFIGURATION, install_weave_net

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]

PAGE = PROJECT / "docs" / "migrating-from-weave-net.md"
INSTALL = PROJECT / "docs" / "kubernetes.md"
OLD, NEW = ip_network("10.32.0.0/12"), ip_network("10.64.0.0/12")
PODS = 6


@pytest.fixture(scope="module")
def administrator(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Administrator:
    """Of a cluster that has run with Weave Net for a while."""
    install_weave_net(cluster)
    cluster.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=90s")
    start_pods(cluster, web("app", replicas=PODS))
    return Administrator(cluster, tmp_path_factory.mktemp("administrator"))


@pytest.fixture(scope="module")
def installed(cluster: Cluster, administrator: Administrator) -> Mesh:
    """weavemesh beside it: steps 1 and 2."""
    steps = blocks(PAGE, "Beside each other")
    administrator.run(steps[0])
    mesh = Mesh(cluster)
    for name in cluster.nodes:
        wait_until(partial(mesh.is_ready, name), seconds=90, what=f"the agent of {name}")
    administrator.run(steps[1])
    return mesh


def test_both_are_there_and_pods_stay_where_they_are(cluster: Cluster, installed: Mesh) -> None:
    installed.wait_for_peers(len(cluster.nodes))
    cluster.kubectl("scale", "deployment/app", f"--replicas={PODS + 3}")
    assert networks(pods_of(cluster, "app", count=PODS + 3)) == {OLD}
    cluster.kubectl("scale", "deployment/app", f"--replicas={PODS}")


def test_pods_move_node_by_node(cluster: Cluster, installed: Mesh, administrator: Administrator) -> None:
    _, _, keep, bind, move, *_ = blocks(PAGE, "Beside each other")
    administrator.run(keep)
    administrator.run(bind)
    pods_of(cluster, "app", count=PODS)
    assert "root@n1" in move
    for name in cluster.nodes:
        administrator.run(move.replace("n1", name))
    cluster.kubectl("scale", "deployment/app", "--replicas=0")
    cluster.kubectl("scale", "deployment/app", f"--replicas={PODS}")
    pods = wait_for_network(cluster, NEW)
    assert {pod.node for pod in pods} == set(cluster.nodes)
    assert not [name for name in cluster.nodes if _has_configuration(cluster, name)]
    assert not unanswered(pods, [pod.address for pod in pods])
    assert installed.status("n1")["ok"]


def test_the_way_back(cluster: Cluster, installed: Mesh, administrator: Administrator) -> None:
    administrator.run(blocks(PAGE, "The way back")[0])
    for name in cluster.nodes:
        wait_until(partial(_has_configuration, cluster, name), seconds=60, what=f"Weave Net's configuration on {name}")
    cluster.kubectl("rollout", "restart", "deployment/app")
    pods = wait_for_network(cluster, OLD)
    assert not unanswered(pods, [pod.address for pod in pods])
    finish_uninstall(installed)
    wait_until_clean(installed)


def test_in_one_go_with_the_range_that_weave_net_had(
    cluster: Cluster, installed: Mesh, administrator: Administrator
) -> None:
    """An agent that finds Weave Net's bridge does not start; when that has gone, it does."""
    install_weavemesh, *_ = blocks(INSTALL, "Install it")
    (anew,) = blocks(PAGE, "In one go")
    administrator.run(install_weavemesh)
    wait_until(partial(_refuses, installed), seconds=60, what="the agent to refuse Weave Net's range")
    # Steps 1 and 2 are in its text.
    administrator.run("kubectl -n kube-system delete daemonset weave-net")
    for name in cluster.nodes:
        for command in commands_of_step_2():
            administrator.run(f"ssh root@{name} '{command}' || true")
        cluster.nodes[name].machine.run("ip", "route", "flush", "root", str(OLD))  # of the stand-in alone
    mesh = installed
    for name in cluster.nodes:
        wait_until(partial(mesh.is_ready, name), seconds=180, what=f"the agent of {name}")
    mesh.wait_for_peers(len(cluster.nodes))
    administrator.run(anew)
    pods = wait_for_network(cluster, OLD, owner=mesh)
    assert not unanswered(pods, [pod.address for pod in pods])
    *_, rest, files = blocks(PAGE, "Beside each other")
    administrator.run(rest.replace("delete daemonset weave-net", "delete daemonset weave-net --ignore-not-found"))
    for name in cluster.nodes:
        administrator.run(f"ssh root@{name} '{files}' || true")
        assert weave_nets(cluster, name) == []


def commands_of_step_2() -> list[str]:
    """What the page wants done on each node, in its text."""
    line = next(line for line in PAGE.read_text().splitlines() if line.startswith("2. On each node: `"))
    return [one.strip() for one in line.split("`")[1].split(";")]


def networks(pods: list[RunningPod]) -> set[object]:
    return {network for pod in pods for network in (OLD, NEW) if ip_address(pod.address) in network}


def wait_for_network(cluster: Cluster, network: object, *, owner: Mesh | None = None) -> list[RunningPod]:
    """The pods, when all have addresses in this network; with `owner`, of which its agents know."""

    def found() -> list[RunningPod]:
        pods = pods_of(cluster, "app")
        known = PODS if owner is None else sum(len(owner.status(name)["pods"]) for name in cluster.nodes)
        return pods if networks(pods) == {network} and len(pods) == known == PODS else []

    try:
        return wait_until(found, seconds=120, what=f"pods in {network}")
    except LabError as error:
        shown = cluster.kubectl("get", "pods", "-A", "-o", "wide", check=False)
        known = "" if owner is None else str([owner.status(name)["pods"] for name in cluster.nodes])
        raise LabError(f"{error}:\n{shown}{known}") from error


def weave_nets(cluster: Cluster, name: str) -> list[str]:
    """What of Weave Net is on a node."""
    machine = cluster.nodes[name].machine
    links = json.loads(machine.ip("-json", "link"))
    found = machine.run("find", "/etc/cni/net.d", "/root", "-maxdepth", "1", "-name", "*weave.conflist").stdout.split()
    return found + [link["ifname"] for link in links if link["ifname"] == BRIDGE]


def _has_configuration(cluster: Cluster, name: str) -> bool:
    return Path(f"/proc/{cluster.nodes[name].machine.init_pid}/root{CONFIGURATION}").exists()


def _refuses(mesh: Mesh) -> bool:
    """An agent says that the range is taken."""
    select = ("-n", "weavemesh", "logs", "-l", "app.kubernetes.io/component=agent", "--tail=20")
    return "overlaps this host's route" in mesh.cluster.kubectl(*select, check=False)
