"""Who founds: one of all that ask at once, also where they are many; and another only if the first is lost."""

import threading

import pytest

from tests.unit.weavemesh.kube.cluster_twin import ClusterTwin, node
from weavemesh.kube.charter import Charter
from weavemesh.kube.founding import LOST_S, OUTSIDE, Part, Succession, part_of
from weavemesh.kube.node import PEER, RING


def asked(cluster: ClusterTwin, peer: str, name: str, *, observer: bool = False) -> Part:
    return part_of(
        cluster, peer=peer, node=name, namespace="weavemesh", observer=observer, say=lambda _: None, sleep=_never
    )


def _never(_: float) -> None:
    pytest.fail("there was nothing to wait for")


def test_the_first_that_asks_founds_and_the_others_are_told() -> None:
    cluster = ClusterTwin(node("n1"), node("n2"))
    assert asked(cluster, "p1", "n1").charter.founder == "p1"
    part = asked(cluster, "p2", "n2")
    assert (part.charter.founder, part.charter.node, part.charter.cluster) == ("p1", "n1", "cluster1")
    assert asked(cluster, "p1", "n1").charter.founder == "p1"  # again after a crash


def test_of_many_at_once_one_founds() -> None:
    for _ in range(50):
        cluster = ClusterTwin(*(node(f"n{number}") for number in range(8)))
        start, parts = threading.Barrier(8), list[Part]()

        def ask(number: int, start: threading.Barrier = start, parts: list[Part] = parts) -> None:
            start.wait()
            parts.append(asked(cluster, f"p{number}", f"n{number}"))  # noqa: B023 - all of one round are joined below

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(parts) == 8
        assert len({part.charter for part in parts}) == 1


def test_an_observer_never_founds_nor_keeps_others_from_joining_from_outside() -> None:
    cluster = ClusterTwin(node("n1"))
    assert asked(cluster, "p1", "n1", observer=True).charter.founder == OUTSIDE


def test_a_charter_that_was_deleted_is_written_again_for_the_ring_that_is_there() -> None:
    cluster = ClusterTwin(node("n1"), node("n2", annotations={PEER: "p2", RING: "ring1"}))
    assert asked(cluster, "p1", "n1").charter.founder == "p2"


def test_it_waits_for_the_api_server_and_for_its_own_node_and_says_so_once_each() -> None:
    cluster = ClusterTwin()
    cluster.is_down = True
    said, pauses = list[str](), list[float]()

    def sleep(pause_s: float) -> None:
        pauses.append(pause_s)
        if len(pauses) == 3:
            cluster.is_down = False
        if len(pauses) == 7:
            cluster.put(node("n1"))

    part = part_of(cluster, peer="p1", node="n1", namespace="weavemesh", observer=False, say=said.append, sleep=sleep)
    assert part.charter.founder == "p1"
    assert said == [
        "waiting for the API server: it cannot be reached (Connection refused)",
        "waiting for the API server: it has no node n1 (yet)",
    ]
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def succession(cluster: ClusterTwin) -> Succession:
    cluster.written = Charter(founder="p0", node="n0", cluster="cluster1", version="1")
    return Succession(cluster.written, peer="p1", node="n1", namespace="weavemesh")


def test_a_founder_that_is_lost_for_a_while_is_succeeded_by_one() -> None:
    cluster = ClusterTwin(node("n1"), node("n2"))
    ours = succession(cluster)
    theirs = Succession(succession(cluster)._charter, peer="p2", node="n2", namespace="weavemesh")
    assert not ours.look(cluster, 100.0) and not theirs.look(cluster, 100.0)
    assert not ours.look(cluster, 100.0 + LOST_S - 1)
    assert ours.look(cluster, 100.0 + LOST_S)
    assert cluster.written and cluster.written.founder == "p1"
    assert not theirs.look(cluster, 100.0 + LOST_S)
    assert not theirs.look(cluster, 100.0 + 3 * LOST_S)  # the new founder's node is there


def test_a_founder_that_is_there_or_whose_ring_somebody_has_is_not_succeeded() -> None:
    cluster = ClusterTwin(node("n0"), node("n1"))
    ours = succession(cluster)
    assert not any(ours.look(cluster, now) for now in (0.0, 50.0, 100.0))
    cluster.delete("n0")
    assert not ours.look(cluster, 110.0)
    cluster.put(node("n2", annotations={PEER: "p2", RING: "ring1"}))
    assert not any(ours.look(cluster, now) for now in (120.0, 160.0, 200.0))
    cluster.delete("n2")
    assert not ours.look(cluster, 210.0)  # the time counts anew
    assert not ours.look(cluster, 210.0 + LOST_S - 1)
    assert ours.look(cluster, 210.0 + LOST_S)


def test_a_charter_that_names_us_meanwhile_is_ours() -> None:
    cluster = ClusterTwin(node("n1"))
    ours = succession(cluster)
    cluster.written = Charter(founder="p1", node="n1", cluster="cluster1", version="2")
    assert ours.look(cluster, 0.0)
