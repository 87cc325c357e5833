"""A node with Debian's stock kernel among others without WireGuard in theirs: its tunnels are the kernel's."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from deploy.demo.capture import Capture
from deploy.demo.lab import LabError, wait_until
from tests.e2e.nat_lab import Pings
from tests.kubernetes.conftest import NODES
from tests.kubernetes.emulated import EmulatedNode, emulated_node
from tests.kubernetes.pod import RunningPod, apply, service, start_pods, unanswered, wait_until_service, web
from tests.kubernetes.product import NAMESPACE, Mesh
from tests.lab.nat import PORT

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]

NAME = "n9"
PATIENCE_S = 300.0
"""It is some ten times slower than the others."""
MARKER = b"wm plain text 16"


@pytest.fixture(scope="module")
def stock(mesh: Mesh) -> Iterator[EmulatedNode]:
    """It comes when the others are a mesh already. An emulated machine that stands still is replaced, once."""
    with ExitStack() as stack:
        try:
            node = stack.enter_context(_in_mesh(mesh))
        except LabError as error:
            print(f"another machine in the place of this one: {error}")
            node = stack.enter_context(_in_mesh(mesh))
        yield node


@pytest.fixture(scope="module")
def near(mesh: Mesh, stock: EmulatedNode) -> list[RunningPod]:
    """A pod on each of the other nodes."""
    assert stock
    names = list(mesh.cluster.nodes)
    return [pod for name in names for pod in start_pods(mesh.cluster, web(f"near-{name}", replicas=1, node=name))]


@pytest.fixture(scope="module")
def far(mesh: Mesh, stock: EmulatedNode) -> list[tuple[str, str]]:
    """Names and addresses of two pods on the emulated node."""
    assert stock
    apply(mesh.cluster, web("far", replicas=2, node=NAME), service("far"))

    def running() -> list[tuple[str, str]]:
        items = json.loads(mesh.cluster.kubectl("get", "pods", "-l", "app=far", "-o", "json"))["items"]
        found = [(item["metadata"]["name"], item["status"].get("podIP", "")) for item in items if _is_ready(item)]
        return found if len(found) == 2 else []

    return wait_until(running, seconds=PATIENCE_S, what="two pods to run there")


def test_its_tunnels_are_the_kernels(mesh: Mesh, stock: EmulatedNode) -> None:
    assert stock
    status = status_of(mesh)
    assert status["encryption"]["datapath"] == "kernel" and status["ok"]
    assert [peer["tunnel"] for peer in status["peers"] if not peer["ourselves"]] == ["live"] * NODES
    assert set(mesh.rings()) == {NAME, *mesh.cluster.nodes} and len(set(mesh.rings().values())) == 1
    others = {mesh.status(name)["encryption"]["datapath"] for name in mesh.cluster.nodes}
    assert others == {"userspace (wireguard-go)"}


def test_its_agent_is_confined_as_containers_are_on_debian_and_ubuntu(mesh: Mesh, stock: EmulatedNode) -> None:
    """By the profile that the runtime gives to each container that is not privileged."""
    assert stock
    show = "print(open('/proc/1/attr/current').read())"
    said = mesh.cluster.kubectl("-n", NAMESPACE, "exec", mesh.agent_pod(NAME), "--", "python3", "-c", show)
    assert said.strip() == "cri-containerd.apparmor.d (enforce)"


def test_nothing_is_held_for_it(mesh: Mesh, stock: EmulatedNode) -> None:
    assert stock
    select = (f"--field-selector=spec.nodeName={NAME}", "-l", "app.kubernetes.io/component=wireguard", "-o", "name")
    (pod,) = mesh.cluster.kubectl("-n", NAMESPACE, "get", "pods", *select).split()
    assert "nothing is to be held" in mesh.cluster.kubectl("-n", NAMESPACE, "logs", pod)


def test_its_pods_reach_all_and_are_reached(
    mesh: Mesh, stock: EmulatedNode, near: list[RunningPod], far: list[tuple[str, str]], tmp_path: Path
) -> None:
    """While what is on its wire is no plaintext."""
    others = [pod.address for pod in near] + [address for _, address in far]
    with Capture(mesh.cluster.control.machine, stock.wire, tmp_path) as seen:
        assert not unanswered(near, [address for _, address in far])
        near[0].run("ping", "-n", "-q", "-c3", "-p", MARKER.hex(), far[0][1])
        for name, _ in far:
            for address in others:
                mesh.cluster.kubectl("exec", name, "--", "ping", "-c", "2", "-W", "10", address)
    verdict = seen.judge(port=PORT, marker=MARKER)
    assert verdict.wireguard > 0 and verdict.marker == 0 and seen.markers(MARKER[4:]) == 0


def test_a_service_leads_to_it(mesh: Mesh, near: list[RunningPod], far: list[tuple[str, str]]) -> None:
    address = mesh.cluster.kubectl("get", "service", "far", "-o", "jsonpath={.spec.clusterIP}")
    wait_until_service(near[0], address, {name for name, _ in far})


def test_a_new_agent_loses_no_packet(mesh: Mesh, near: list[RunningPod], far: list[tuple[str, str]]) -> None:
    """The tunnels are the kernel's: they need no process at all."""
    before = mesh.agent_pod(NAME)
    assert near[0].answers(far[0][1], seconds=10)
    with Pings(near[0], far[0][1]) as pings:
        time.sleep(2)  # the first pings
        pings.mark()
        mesh.cluster.kubectl("-n", NAMESPACE, "delete", before)
        wait_until(lambda: mesh.agent_pod(NAME) not in ("", before), seconds=PATIENCE_S, what="another agent")
        wait_until(lambda: status_of(mesh).get("ok"), seconds=PATIENCE_S, what="all to be well there")
    assert pings.answers() and pings.lost_since_mark() == 0


def status_of(mesh: Mesh) -> Any:
    """`weavemesh status --json` in the agent's pod of the emulated node; nothing while it does not answer."""
    said = mesh.run(NAME, "status", "--json", check=False)
    return json.loads(said) if said.startswith("{") else {}


@contextmanager
def _in_mesh(mesh: Mesh) -> Iterator[EmulatedNode]:
    """One that is in the mesh. LabError with what it said if it does not come to that."""
    with emulated_node(mesh.cluster, NAME) as node:
        try:
            wait_until(partial(_is_in_mesh, mesh, node), seconds=PATIENCE_S, what=f"{NAME} to be in the mesh")
        except LabError as error:
            raise LabError(f"{error}; it said:\n{node.said()}") from error
        yield node


def _is_in_mesh(mesh: Mesh, node: EmulatedNode) -> bool:
    node.check()
    return bool(mesh.agent_pod(NAME)) and bool(status_of(mesh).get("ok"))


def _is_ready(item: dict[str, Any]) -> bool:
    states = item["status"].get("containerStatuses", [])
    return bool(states) and all(one["ready"] for one in states)
