"""What lasts: packets between pods while agents are updated, killed, and while the API server is down."""

import time
from functools import partial

import pytest

from deploy.demo.lab import wait_until
from tests.e2e.nat_lab import Pings
from tests.kubernetes.direct import made_directly
from tests.kubernetes.pod import RunningPod, start_pods, web
from tests.kubernetes.product import NAMESPACE, Mesh

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]

SANDBOXES = 10
DOWN_S = 60.0
"""So long the API server is away here; in the benchmark five minutes."""


@pytest.fixture(scope="module")
def web_pods(mesh: Mesh) -> list[RunningPod]:
    """One on each node, that know each other's way."""
    pods = start_pods(mesh.cluster, web("steady"))
    for one in pods:
        for other in pods:
            wait_until(partial(one.answers, other.address), seconds=30, what="a first answer")
    return pods


def flow(pods: list[RunningPod]) -> Pings:
    """A hundred pings a second from a pod of n1 to one of n2."""
    one = next(pod for pod in pods if pod.node == "n1")
    other = next(pod for pod in pods if pod.node == "n2")
    return Pings(one, other.address)


def test_a_rolling_update_loses_no_packet(mesh: Mesh, web_pods: list[RunningPod]) -> None:
    before = {name: mesh.agent_pod(name) for name in mesh.cluster.nodes}
    with flow(web_pods) as pings:
        wait_until(lambda: True, seconds=1, what="the first pings")
        pings.mark()
        mesh.cluster.kubectl("-n", NAMESPACE, "rollout", "restart", "daemonset/weavemesh")
        mesh.wait_for_rollout()
        time.sleep(2)  # what the last agent does after it is ready
    assert not set(before.values()) & {mesh.agent_pod(name) for name in mesh.cluster.nodes}
    assert pings.answers() and pings.lost_since_mark() == 0


def test_a_killed_agent_loses_no_packet_and_comes_back(mesh: Mesh, web_pods: list[RunningPod]) -> None:
    machine = mesh.cluster.nodes["n2"].machine
    killed = mesh.agent_pid("n2")
    with flow(web_pods) as pings:
        pings.mark()
        machine.run("kill", "-9", str(killed))
        wait_until(lambda: _restarted(mesh, "n2", killed), seconds=90, what="the agent to be started again")
        time.sleep(2)
    assert pings.answers() and pings.lost_since_mark() == 0
    wait_until(lambda: mesh.status("n2")["ok"], seconds=30, what="all to be well")


def test_without_the_api_server_everything_goes_on(mesh: Mesh, web_pods: list[RunningPod]) -> None:
    """Pods talk, an agent that is killed comes back by itself, and pods made by the runtime get addresses."""
    control, node = mesh.cluster.control, mesh.cluster.nodes["n2"]
    with flow(web_pods) as pings:
        pings.mark()
        control.stop_api()
        stopped = time.monotonic()
        try:
            killed = mesh.agent_pid("n2")
            node.machine.run("kill", "-9", str(killed))
            wait_until(lambda: _restarted(mesh, "n2", killed), seconds=90, what="the agent to be started again")
            with made_directly(node, SANDBOXES) as made:
                taken = {pod.address for pod in web_pods}
                addresses = {address for one in made for address in one.addresses[:1]}
                assert len(addresses) == SANDBOXES and not addresses & taken
                assert not [one for one in addresses if not web_pods[0].answers(one, seconds=5)]
            wait_until(lambda: time.monotonic() > stopped + DOWN_S, seconds=DOWN_S, what="the rest of the time")
        finally:
            control.start_api()
        mesh.wait()
        time.sleep(2)
    assert pings.answers() and pings.lost_since_mark() == 0


def _restarted(mesh: Mesh, node: str, killed: int) -> bool:
    """Another agent answers there: asked on the node, since the API server may be away."""
    machine = mesh.cluster.nodes[node].machine
    pids = machine.processes("weavemesh kubernetes agent$")
    return bool(pids) and killed not in pids and mesh.is_ready(node)
