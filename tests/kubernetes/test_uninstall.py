"""Taking it away: pods can still be deleted, nodes become clean, and another network can come."""

import pytest

from deploy.demo.lab import wait_until
from tests.kubernetes.bridge import install_bridge
from tests.kubernetes.pod import delete, start_pods, unanswered, web
from tests.kubernetes.product import NAMESPACE, Mesh
from tests.kubernetes.reset import begin_uninstall, finish_uninstall, leftovers, wait_until_clean

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]


def test_nodes_become_clean_and_pods_can_be_deleted(mesh: Mesh) -> None:
    cluster = mesh.cluster
    pods = start_pods(cluster, web("left", replicas=6))
    assert leftovers(cluster.nodes["n1"].machine), "what is looked for is there while it runs"
    begin_uninstall(mesh)
    waiting = ("-n", NAMESPACE, "logs", "-l", "app.kubernetes.io/component=uninstall", "-c", "uninstall")
    wait_until(
        lambda: "waiting for" in cluster.kubectl(*waiting, check=False), seconds=60, what="the wait for the pods"
    )
    # Whoever still is in the mesh goes on talking until it is deleted.
    assert not unanswered(pods, [pod.address for pod in pods])
    delete(cluster, web("left", replicas=6))
    assert not cluster.kubectl("get", "pods", "-o", "name")
    finish_uninstall(mesh)
    wait_until_clean(mesh)
    select = "jsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}"
    wait_until(
        lambda: "True" not in cluster.kubectl("get", "nodes", "-o", select), seconds=60, what="nodes without a network"
    )
    install_bridge(cluster)
    cluster.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s")
    others = start_pods(cluster, web("other"))
    assert not unanswered(others, [pod.address for pod in others])
