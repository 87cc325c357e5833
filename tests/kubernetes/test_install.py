"""One manifest makes three nodes a mesh: Ready, in one ring; pods reach everything, and nothing of others changes."""

import json
import re

import pytest

from deploy.demo.lab import Machine, wait_until
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.conftest import NODES
from tests.kubernetes.control import POD_RANGE, SERVICE_RANGE
from tests.kubernetes.pki import SERVICE_IP
from tests.kubernetes.pod import RunningPod, apply, pods_of, service, start_pods, unanswered, web
from tests.kubernetes.product import NAMESPACE, Mesh

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

FOREIGN_RULES = """
table inet admin {
  set friends { type ipv4_addr; elements = { 192.0.2.7 }; }
  chain input { type filter hook input priority filter; policy accept; ip saddr 203.0.113.9 counter drop; }
  chain forward { type filter hook forward priority filter; policy accept; ip daddr 203.0.113.9 drop; }
}
"""
OWN_TABLE = re.compile(r"^table \S+ weavemesh\S* \{\n.*?^\}\n", re.MULTILINE | re.DOTALL)
KUBERNETES_RULE = re.compile(r"KUBE-|CNI-|^#|^COMMIT|^\*")


@pytest.fixture(scope="module")
def firewalls(cluster: Cluster) -> dict[str, str]:
    """What the administrator of each node has set up, as it was before."""
    before = {}
    for name, node in cluster.nodes.items():
        node.machine.run("nft", "-f", "-", stdin=FOREIGN_RULES)
        node.machine.run("iptables", "-A", "INPUT", "-s", "203.0.113.10", "-j", "DROP")
        before[name] = foreign_rules(node.machine)
    return before


@pytest.fixture(scope="module")
def web_pods(firewalls: dict[str, str], mesh: Mesh) -> list[RunningPod]:
    assert firewalls
    return start_pods(mesh.cluster, web("all", replicas=12), service("all"))


def foreign_rules(machine: Machine) -> str:
    """All that is neither ours nor of kube-proxy and the kubelet."""
    admin = machine.run("nft", "list", "table", "inet", "admin").stdout
    saved = machine.run("iptables-save").stdout
    return admin + "\n".join(line for line in saved.splitlines() if not KUBERNETES_RULE.search(line) and "-A" in line)


def test_without_the_secret_no_agent_starts_and_describe_says_why(cluster: Cluster, firewalls: dict[str, str]) -> None:
    assert firewalls
    mesh = Mesh(cluster)
    documents = mesh.manifest.split("---\n")
    cluster.apply("---\n".join(one for one in documents if "kind: Secret\n" not in one))
    select = ("-n", NAMESPACE, "describe", "pods", "-l", "app.kubernetes.io/component=agent")
    wait_until(lambda: 'secret "weavemesh" not found' in cluster.kubectl(*select), seconds=30, what="the event")
    cluster.kubectl("delete", "namespace", NAMESPACE)


def test_every_node_becomes_ready_in_one_ring(mesh: Mesh, web_pods: list[RunningPod]) -> None:
    assert web_pods
    rings = mesh.rings()
    assert len(rings) == NODES and len(set(rings.values())) == 1 and all(rings.values())
    nodes = json.loads(mesh.cluster.kubectl("get", "nodes", "-o", "json"))["items"]
    for node in nodes:
        conditions = {one["type"]: one["status"] for one in node["status"]["conditions"]}
        assert conditions["Ready"] == "True" and conditions["NetworkUnavailable"] == "False"
        assert node["metadata"]["annotations"]["weavemesh.io/address"]
    assert json.loads(mesh.cluster.kubectl("-n", NAMESPACE, "get", "configmap", "weavemesh", "-o", "json"))["data"]


def test_status_in_a_pod_of_the_daemonset_tells_of_the_whole_mesh(mesh: Mesh, web_pods: list[RunningPod]) -> None:
    said = mesh.cluster.kubectl("-n", NAMESPACE, "exec", "ds/weavemesh", "--", "weavemesh", "status")
    assert "all is well" in said and f"Peers: {NODES}" in said
    assert sum(len(mesh.status(name)["pods"]) for name in mesh.cluster.nodes) == len(web_pods)


def test_every_pod_reaches_every_pod_and_every_host(mesh: Mesh, web_pods: list[RunningPod]) -> None:
    assert {pod.node for pod in web_pods} == set(mesh.cluster.nodes)
    assert len({pod.address for pod in web_pods}) == len(web_pods)
    hosts = [node.address for node in mesh.cluster.nodes.values()]
    outside = mesh.cluster.control.address
    assert not unanswered(web_pods, [*(pod.address for pod in web_pods), *hosts, outside])


def test_every_pod_reaches_the_api_server_at_its_service(mesh: Mesh, web_pods: list[RunningPod]) -> None:
    assert mesh
    for pod in web_pods:
        found = pod.run("openssl", "s_client", "-connect", f"{SERVICE_IP}:443", timeout_s=20)
        assert "kube-apiserver" in found.stdout, f"{pod.name}: {found.stderr}"


def test_the_rules_of_others_stay_as_they_were(
    mesh: Mesh, firewalls: dict[str, str], web_pods: list[RunningPod]
) -> None:
    assert web_pods
    for name, before in firewalls.items():
        machine = mesh.cluster.nodes[name].machine
        assert foreign_rules(machine) == before
        # What is ours is in tables of our own, and nothing of ours is in anybody else's.
        ours = OWN_TABLE.sub("", machine.run("nft", "list", "ruleset").stdout)
        assert "weavemesh" not in ours and "wm0" not in ours
        assert "weavemesh" not in machine.run("iptables-save").stdout


def test_the_ranges_of_the_cluster_do_not_overlap() -> None:
    assert POD_RANGE == "10.32.0.0/12" and SERVICE_RANGE == "10.96.0.0/16"


def test_pods_that_are_deleted_give_their_addresses_back(mesh: Mesh, web_pods: list[RunningPod]) -> None:
    mesh.cluster.kubectl("scale", "deployment/all", "--replicas=0")
    wait_until(
        lambda: all(mesh.status(name)["pods"] == [] for name in mesh.cluster.nodes),
        seconds=60,
        what="the pods to be forgotten",
    )
    mesh.cluster.kubectl("scale", "deployment/all", f"--replicas={len(web_pods)}")
    again = pods_of(mesh.cluster, "all", count=len(web_pods))
    assert not unanswered(again[:1], [pod.address for pod in again])
    apply(mesh.cluster, web("all", replicas=0))
