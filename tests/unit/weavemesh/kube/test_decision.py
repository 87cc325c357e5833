"""Whom to dial, who may found, whose peers are gone: for clusters of every kind."""

import random

import pytest

from tests.unit.weavemesh.kube.cluster_twin import node
from weavemesh.kube.charter import Charter
from weavemesh.kube.decision import TARGETS_MAX, Member, first_founder, founder_is_lost, gone, place, targets
from weavemesh.kube.node import PEER, RING, Node

HAS_RING = {PEER: "p2", RING: "ring1"}


def test_in_a_small_cluster_all_others_are_dialled_at_all_their_addresses() -> None:
    nodes = [node("n3", "10.0.0.3"), node("n1", "10.0.0.1"), node("n2", "10.0.0.2", external=("198.51.100.2",))]
    assert targets("n1", nodes, founder="n1") == ("10.0.0.2", "198.51.100.2", "10.0.0.3")
    assert targets("n1", nodes[1:2], founder="n1") == ()


def test_in_a_large_cluster_some_are_dialled_and_all_together_are_one_mesh() -> None:
    nodes = [node(f"n{number}", f"10.0.{number // 256}.{number % 256}") for number in range(300)]
    name_of = {one.endpoints()[0]: one.name for one in nodes}
    dialled = {one.name: targets(one.name, nodes, founder="n200") for one in nodes}
    assert all(len(chosen) == TARGETS_MAX for chosen in dialled.values())
    assert all("10.0.0.200" in chosen for name, chosen in dialled.items() if name != "n200")
    # Without the founder, whom all dial: still one mesh.
    links: dict[str, set[str]] = {name: set() for name in dialled}
    for name, chosen in dialled.items():
        for endpoint in chosen:
            if "n200" not in (name, name_of[endpoint]):
                links[name].add(name_of[endpoint])
                links[name_of[endpoint]].add(name)
    reached, edge = {"n0"}, {"n0"}
    while edge:
        edge = {other for name in edge for other in links[name]} - reached
        reached |= edge
    assert len(reached) == 299


def test_the_same_cluster_gives_the_same_targets_in_whatever_order_it_is_told() -> None:
    nodes = [node(f"n{number}", f"10.0.0.{number}") for number in range(100)]
    chosen = targets("n1", nodes, founder=None)
    random.Random(1).shuffle(nodes)
    assert targets("n1", nodes, founder=None) == chosen


def test_where_there_is_no_charter_we_found_unless_somebody_has_a_ring() -> None:
    assert first_founder([node("n1"), node("n2", annotations={PEER: "p2"})], own="n1", peer="p1") == ("p1", "n1")
    assert first_founder([node("n1"), node("n2", annotations=HAS_RING)], own="n1", peer="p1") == ("p2", "n2")
    old = node("n1", annotations={PEER: "p0", RING: "ring0"})  # of whoever was on this node before us
    assert first_founder([old], own="n1", peer="p1") == ("p1", "n1")


@pytest.mark.parametrize(
    ("founder", "others", "lost"),
    [
        ("n2", [node("n2")], False),
        ("n2", [node("n3")], True),
        ("n2", [node("n3", annotations=HAS_RING)], False),
        ("n1", [node("n3")], True),  # it was on our node, and now we are there
        ("n1", [node("n3", annotations=HAS_RING)], False),
    ],
)
def test_a_founder_is_lost_if_its_node_is_gone_and_nobody_has_its_ring(
    founder: str, others: list[Node], *, lost: bool
) -> None:
    charter = Charter(founder="p0", node=founder, cluster="c", version="1")
    assert founder_is_lost(charter, "n1", [node("n1", annotations={RING: "stale"}), *others]) is lost


def members(**peers: str) -> list[Member]:
    return [Member(peer, where if "/" in where else place("c", where)) for peer, where in peers.items()]


def test_peers_of_deleted_nodes_are_gone_and_no_others() -> None:
    nodes = [node("n1"), node("n2", annotations={PEER: "p2"})]
    seen = members(p1="n1", p2="n2", p3="n3", other="elsewhere/n3")
    assert gone(seen, nodes, own="n1", cluster="c") == {"p3"}


def test_the_node_says_which_of_two_peers_is_its_own() -> None:
    nodes = [node("n1"), node("n2", annotations={PEER: "new"}), node("n3")]
    seen = members(old="n2", new="n2", silent="n3")
    assert gone(seen, nodes, own="n1", cluster="c") == {"old"}


@pytest.mark.parametrize("nodes", [[], [node("n2")]])
def test_a_list_without_our_own_node_is_not_believed(nodes: list[Node]) -> None:
    assert gone(members(p1="n1", p3="n3"), nodes, own="n1", cluster="c") == frozenset()
