"""Nodes that leave: a deleted one's addresses become others', one that is only away is left alone, and may return."""

import time
from collections.abc import Iterator
from ipaddress import IPv4Network, ip_network
from typing import Any

import pytest

from deploy.demo.lab import wait_until
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.conftest import NODES, cluster_name
from tests.kubernetes.image import project_image
from tests.kubernetes.pod import start_pods, unanswered, web
from tests.kubernetes.product import Mesh

pytestmark = [pytest.mark.root, pytest.mark.timeout(420)]

AWAY_S = 60.0
"""Longer than it takes Kubernetes to call a node NotReady (40 s) and the project a deleted one gone."""
WHOLE = ip_network("10.32.0.0/12").num_addresses


@pytest.fixture
def mesh(_can_run: None) -> Iterator[Mesh]:
    """A mesh for each test: they spoil it."""
    with Cluster(NODES, name=cluster_name(), images=[project_image()]) as cluster:
        mesh = Mesh(cluster)
        mesh.install()
        mesh.wait()
        mesh.wait_for_peers(NODES)
        # Each has a part of the ring only when it has needed one.
        start_pods(cluster, web("first"))
        yield mesh


def peers(mesh: Mesh, node: str) -> dict[str, Any]:
    """What the agent of a node says of all peers, by their nodes."""
    return {peer["nickname"]: peer for peer in mesh.status(node)["peers"]}


def owned(mesh: Mesh, node: str) -> dict[str, int]:
    """How many addresses each peer owns, as the agent of a node knows."""
    found: dict[str, int] = {}
    for entry in mesh.status(node)["ipam"]["entries"]:
        found[entry["nickname"]] = found.get(entry["nickname"], 0) + entry["ips"]
    return found


def ranges(mesh: Mesh, node: str) -> list[IPv4Network]:
    """All ranges that anybody owns, as the agent of a node knows."""
    return [IPv4Network(one) for peer in mesh.status(node)["peers"] for one in peer["owned"]]


def assert_one_ring(mesh: Mesh) -> None:
    """All agree who owns what: everything, and nothing twice."""
    known = [sorted(ranges(mesh, name)) for name in mesh.cluster.nodes]
    assert all(one == known[0] for one in known)
    assert sum(one.num_addresses for one in known[0]) == WHOLE
    assert not any(one.overlaps(other) for one, other in zip(known[0], known[0][1:], strict=False))
    assert len(set(mesh.rings().values())) == 1


def test_the_addresses_of_a_deleted_node_become_those_of_others(mesh: Mesh) -> None:
    assert owned(mesh, "n1").get("n3")
    mesh.cluster.end_node("n3", keep_disk=False)
    mesh.cluster.kubectl("delete", "node", "n3")
    wait_until(
        lambda: all("n3" not in peers(mesh, name) for name in mesh.cluster.nodes), seconds=90, what="n3 to be removed"
    )
    wait_until(
        lambda: all(sum(owned(mesh, name).values()) == WHOLE for name in mesh.cluster.nodes),
        seconds=30,
        what="its addresses to be owned by others",
    )
    assert_one_ring(mesh)
    pods = start_pods(mesh.cluster, web("later", replicas=6))
    assert not unanswered(pods, [pod.address for pod in pods])


def test_a_node_that_is_only_not_ready_is_left_alone_and_comes_back(mesh: Mesh) -> None:
    before = owned(mesh, "n1")
    name_before = peers(mesh, "n1")["n3"]["name"]
    mesh.cluster.end_node("n3", keep_disk=True)
    mesh.cluster.kubectl("wait", "--for=condition=Ready=Unknown", "node/n3", "--timeout=120s")
    began = time.monotonic()
    wait_until(lambda: time.monotonic() > began + AWAY_S, seconds=AWAY_S + 1, what="the time to pass")
    assert owned(mesh, "n1") == before
    mesh.cluster.start_node("n3")
    mesh.wait()
    mesh.wait_for_peers(NODES)
    assert peers(mesh, "n1")["n3"]["name"] == name_before
    assert_one_ring(mesh)


def test_a_node_that_returns_under_its_name_with_a_new_identity_is_another_peer(mesh: Mesh) -> None:
    name_before = peers(mesh, "n1")["n3"]["name"]
    mesh.cluster.end_node("n3", keep_disk=False)
    mesh.cluster.kubectl("delete", "node", "n3")
    wait_until(lambda: "n3" not in peers(mesh, "n1"), seconds=90, what="n3 to be removed")
    mesh.cluster.start_node("n3")
    mesh.cluster.wait_for_nodes()
    mesh.wait()
    mesh.wait_for_peers(NODES)
    assert peers(mesh, "n1")["n3"]["name"] != name_before
    assert_one_ring(mesh)
    pods = start_pods(mesh.cluster, web("later"))
    assert not unanswered(pods, [pod.address for pod in pods])


def test_a_node_that_was_replaced_without_being_deleted_is_another_peer(mesh: Mesh) -> None:
    """The disk is lost and the Node object stays: the old peer's addresses go to others, by the name of the new one."""
    name_before = peers(mesh, "n1")["n3"]["name"]
    mesh.cluster.end_node("n3", keep_disk=False)
    mesh.cluster.start_node("n3")
    mesh.wait()
    wait_until(
        lambda: [peer["name"] for peer in mesh.status("n1")["peers"]].count(name_before) == 0,
        seconds=120,
        what="the peer that is lost to be removed",
    )
    mesh.wait_for_peers(NODES)
    assert_one_ring(mesh)


def test_a_node_that_returns_with_the_identity_that_was_removed_begins_anew(mesh: Mesh) -> None:
    """It was deleted, its addresses are others': with its old disk it must not use them."""
    name_before = peers(mesh, "n1")["n3"]["name"]
    mesh.cluster.end_node("n3", keep_disk=True)
    mesh.cluster.kubectl("delete", "node", "n3")
    wait_until(lambda: "n3" not in peers(mesh, "n1"), seconds=90, what="n3 to be removed")
    wait_until(lambda: sum(owned(mesh, "n1").values()) == WHOLE, seconds=30, what="its addresses to be taken")
    mesh.cluster.start_node("n3")
    mesh.cluster.wait_for_nodes()
    mesh.wait()
    mesh.wait_for_peers(NODES)
    assert peers(mesh, "n1")["n3"]["name"] != name_before
    assert_one_ring(mesh)
    pods = start_pods(mesh.cluster, web("later", replicas=9))
    assert len({pod.address for pod in pods}) == len(pods)
    assert not unanswered(pods, [pod.address for pod in pods])
