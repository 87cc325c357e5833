"""Two clouds behind translators, the API server between them: all pods reach all, and the internet sees ciphertext."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dpkt
import pytest

from deploy.demo.capture import Capture
from deploy.demo.lab import wait_until
from tests.kubernetes.cluster import PUBLIC, Cluster
from tests.kubernetes.conftest import cluster_name
from tests.kubernetes.image import project_image
from tests.kubernetes.pod import RunningPod, service, start_pods, unanswered, wait_until_service, web
from tests.kubernetes.product import Mesh
from tests.lab.nat import PORT, NatKind, is_direct_possible

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

NODES = 5
API_PORT = 6443
CLOUDS: list[tuple[NatKind, NatKind]] = [("port-restricted", "port-restricted"), ("port-restricted", "symmetric")]
MARKER = b"wm plain text 16"


@dataclass(frozen=True)
class Clouds:
    """One node with a public address, two in each cloud, and pods on all of them."""

    mesh: Mesh
    pods: list[RunningPod]
    kinds: tuple[NatKind, NatKind]

    @property
    def cluster(self) -> Cluster:
        return self.mesh.cluster

    def way(self, node: str, other: str) -> tuple[str | None, str, str]:
        """How packets go from one node to another, the state of the tunnel, and why not directly."""
        peers: list[dict[str, Any]] = self.mesh.status(node)["peers"]
        nicknames = {peer["name"]: peer["nickname"] for peer in peers}
        for peer in peers:
            if peer["nickname"] == other:
                return nicknames.get(peer["via"], peer["via"]), peer["tunnel"], peer["why_not_direct"] or ""
        return None, "none", ""

    def meet(self, one: str, other: str, *, via: str) -> None:
        """Both come to agree that packets go this way, and they do."""
        wait_until(
            lambda: self.way(one, other)[:2] == self.way(other, one)[:2] == (via, "live"),
            seconds=60,
            what=f"{one} and {other} to talk {via}",
        )


@pytest.fixture(scope="module", params=CLOUDS, ids="+".join)
def clouds(_can_run: None, request: pytest.FixtureRequest) -> Iterator[Clouds]:
    with Cluster(NODES, name=cluster_name(), images=[project_image()], clouds=request.param) as cluster:
        mesh = Mesh(cluster)
        mesh.install()
        mesh.wait()
        mesh.wait_for_peers(NODES)
        yield Clouds(mesh, start_pods(cluster, web("far"), service("far")), request.param)


@pytest.fixture
def mesh(clouds: Clouds) -> Mesh:
    return clouds.mesh


def test_every_pod_reaches_every_pod(clouds: Clouds) -> None:
    assert {pod.node for pod in clouds.pods} == set(clouds.cluster.nodes)
    assert not unanswered(clouds.pods, [pod.address for pod in clouds.pods])


def test_services_lead_across_clouds(clouds: Clouds) -> None:
    address = clouds.cluster.kubectl("get", "service", "far", "-o", "jsonpath={.spec.clusterIP}")
    for pod in clouds.pods:
        wait_until_service(pod, address, {one.name for one in clouds.pods})


def test_status_in_the_pods_says_which_ways_are_direct_and_why_others_are_not(clouds: Clouds) -> None:
    assert [site.router.name for name in ("n2", "n4") if (site := clouds.cluster.site_of(name))] == ["cloud1"] * 2
    between = "direct" if is_direct_possible(*clouds.kinds) else PUBLIC
    for one, other, via in (
        ("n2", "n4", "direct"),
        ("n1", "n3", "direct"),
        ("n2", "n3", between),
        ("n4", "n5", between),
    ):
        clouds.meet(one, other, via=via)
        assert (clouds.way(one, other)[2] == "") == (via == "direct")
    shown = clouds.mesh.run("n2", "status", "connections", check=False)
    assert "WHY NOT DIRECT" in shown or between == "direct"
    assert "n3" in clouds.mesh.run("n2", "why", "n3")


def test_kubectl_reaches_pods_behind_translators(clouds: Clouds) -> None:
    for pod in clouds.pods:
        assert clouds.cluster.kubectl("exec", pod.name, "--", "hostname").strip() == pod.name


def test_a_capture_on_the_internet_holds_no_plaintext(clouds: Clouds, tmp_path: Path) -> None:
    """Besides the mesh, only the control plane's own TLS is on the wires between the clouds."""
    assert clouds.cluster.internet is not None
    core = clouds.cluster.internet.core
    with Capture(core, clouds.cluster.internet.leg(clouds.cluster.sites[0].router), tmp_path) as seen:
        for one in clouds.pods:
            for other in clouds.pods:
                one.run("ping", "-n", "-q", "-c2", "-i0.1", "-W2", "-p", MARKER.hex(), other.address)
                assert other.get(one.address, "/hostname") == one.name
    outside = {site.outside_port(host) for site in clouds.cluster.sites for host in site.hosts}
    verdict = seen.judge(port=PORT, marker=MARKER, translated=outside)
    assert verdict.wireguard > 0 and verdict.marker == 0
    assert seen.markers(MARKER[4:]) == seen.markers(b"GET /hostname") == 0
    # Streams that are older than the capture cannot be taken apart; that they are TLS is tested where they begin.
    assert set(verdict.plain) <= {"TCP stream that is not TLS", "IP/TCP"}, verdict
    assert tcp_ports(seen) <= {PORT, API_PORT}


def tcp_ports(seen: Capture) -> set[int]:
    """The servers' ports of all TCP that was captured."""
    packets = [dpkt.ethernet.Ethernet(frame).data for frame in seen.frames()]
    segments = [packet.data for packet in packets if isinstance(getattr(packet, "data", None), dpkt.tcp.TCP)]
    return {min(segment.sport, segment.dport) for segment in segments}
