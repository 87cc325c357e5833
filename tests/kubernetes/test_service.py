"""What Kubernetes makes of the network, with both kinds of iptables and with nftables: Services, ports of nodes, hosts
and sources."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pytest

from deploy.demo.lab import Machine, wait_until
from tests.e2e.conftest import SECRET_FILE
from tests.e2e.nat_lab import pings
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.conftest import NODES, cluster_name
from tests.kubernetes.image import project_image
from tests.kubernetes.nftproxy import take_over
from tests.kubernetes.node import IptablesKind
from tests.kubernetes.pod import WEB_PORT, RunningPod, asks, service, start_pods, unanswered, wait_until_service, web
from tests.kubernetes.product import Mesh

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

HOST_PORT = 8090
NODE_PORTS = range(30000, 32768)
IPTABLES: tuple[IptablesKind, ...] = ("nft", "legacy")
NFTABLES = "nftables"
KINDS = (*IPTABLES, NFTABLES)
"""What Services are made of."""


@dataclass(frozen=True)
class Shop:
    """A web server on each node, at a Service and a host port, and one in each host's own network."""

    mesh: Mesh
    pods: list[RunningPod]
    on_hosts: list[RunningPod]

    @property
    def cluster(self) -> Cluster:
        return self.mesh.cluster

    def of_service(self, field: str) -> str:
        return self.cluster.kubectl("get", "service", "shop", "-o", f"jsonpath={{.spec.{field}}}")

    def on(self, node: str) -> RunningPod:
        return next(pod for pod in self.pods if pod.node == node)


@pytest.fixture(scope="module", params=KINDS)
def shop(_can_run: None, request: pytest.FixtureRequest) -> Iterator[Shop]:
    images = [project_image()]
    iptables: IptablesKind = "legacy" if request.param == "legacy" else "nft"
    with Cluster(NODES, name=cluster_name(), images=images, iptables=iptables) as cluster:
        mesh = Mesh(cluster)
        mesh.install()
        mesh.wait()
        mesh.wait_for_peers(NODES)
        pods = start_pods(
            cluster,
            web("shop", host_port=HOST_PORT),
            service("shop", node_port=True),
            web("bare", host_network=True, port=8085),
        )
        shop = Shop(
            mesh, [pod for pod in pods if pod.name.startswith("shop")], [pod for pod in pods if pod.name[:4] == "bare"]
        )
        for pod in shop.on_hosts:  # kube-proxy of each node
            wait_until_service(pod, shop.of_service("clusterIP"), {one.name for one in shop.pods})
        if request.param == NFTABLES:
            take_over(cluster)
        yield shop


@pytest.fixture
def mesh(shop: Shop) -> Mesh:
    return shop.mesh


def reached(ask: RunningPod | Machine, address: str, *, port: int, tries: int = 24) -> set[str]:
    """Which pods answer at an address that stands for several."""
    if isinstance(ask, Machine):
        return {asks(ask, address, "/hostname", port=port) for _ in range(tries)}
    return {ask.get(address, "/hostname", port=port) for _ in range(tries)}


def source_of(said: str) -> str:
    return said.rpartition(":")[0]


def test_services_are_made_of_what_is_wanted(shop: Shop, request: pytest.FixtureRequest) -> None:
    kind = request.node.callspec.params["shop"]
    for node in shop.cluster.nodes.values():
        run = node.machine.run
        saved: dict[str, int] = {
            one: run(f"iptables-{one}-save", "-t", "nat").stdout.count("KUBE-SVC-") for one in IPTABLES
        }
        saved[NFTABLES] = run("nft", "list", "tables").stdout.count("table ip kube-proxy")
        assert [one for one, count in saved.items() if count] == [kind]


def test_a_service_leads_pods_to_all_of_its_pods(shop: Shop) -> None:
    address = shop.of_service("clusterIP")
    for pod in shop.pods:
        assert reached(pod, address, port=80) == {one.name for one in shop.pods}


def test_a_service_leads_hosts_to_all_of_its_pods(shop: Shop) -> None:
    address = shop.of_service("clusterIP")
    for node in shop.cluster.nodes.values():
        assert reached(node.machine, address, port=80) == {one.name for one in shop.pods}


def test_a_node_port_of_every_node_leads_to_all_pods(shop: Shop) -> None:
    port = int(shop.of_service("ports[0].nodePort"))
    assert port in NODE_PORTS
    outside = shop.cluster.control.machine
    for node in shop.cluster.nodes.values():
        assert reached(outside, node.address, port=port) == {one.name for one in shop.pods}


def test_a_host_port_leads_to_the_pod_of_that_node(shop: Shop) -> None:
    outside = shop.cluster.control.machine
    others = {name: shop.on(name) for name in shop.cluster.nodes}
    for name, node in shop.cluster.nodes.items():
        assert asks(outside, node.address, "/hostname", port=HOST_PORT) == others[name].name
        for pod in shop.pods:
            assert pod.get(node.address, "/hostname", port=HOST_PORT) == others[name].name


def test_pods_see_who_asks(shop: Shop) -> None:
    address = shop.of_service("clusterIP")
    for one in shop.pods:
        for other in shop.pods:
            assert source_of(one.get(other.address, "/clientip")) == one.address
        # A pod that reaches itself through a Service is the one case in which kube-proxy changes the source.
        sources = {source_of(one.get(address, "/clientip", port=80)) for _ in range(12)}
        assert one.address in sources and len(sources) <= 2


def test_nodes_and_pods_reach_each_other(shop: Shop) -> None:
    for node in shop.cluster.nodes.values():
        for pod in shop.pods:
            assert asks(node.machine, pod.address, "/hostname") == pod.name
    hosts = [node.address for node in shop.cluster.nodes.values()]
    assert not unanswered(shop.pods, hosts)


def test_pods_in_the_network_of_hosts_reach_pods_and_are_reached(shop: Shop) -> None:
    assert {pod.address for pod in shop.on_hosts} == {node.address for node in shop.cluster.nodes.values()}
    for host in shop.on_hosts:
        for pod in shop.pods:
            assert host.get(pod.address, "/hostname") == pod.name
            assert pod.get(host.address, "/hostname", port=8085) == host.node


def test_what_the_kubelet_asks_reaches_pods(shop: Shop) -> None:
    """`kubectl logs`, `exec` and `port-forward` go by the kubelet, probes from it to the pod."""
    pod = shop.pods[0]
    assert "Started HTTP server" in shop.cluster.kubectl("logs", pod.name)
    assert shop.cluster.kubectl("exec", pod.name, "--", "hostname").strip() == pod.name


def test_a_host_outside_the_cluster_joins_and_reaches_pods(shop: Shop) -> None:
    host = shop.cluster.add_host("outside")
    host.write_file(SECRET_FILE, shop.mesh.secret)
    host.weavemesh("up", *(node.address for node in shop.cluster.nodes.values()))
    for pod in shop.pods:
        wait_until(partial(pings, host, pod.address), seconds=30, what=f"an answer of {pod.name}")
        (address,) = [
            one for peer in host.status()["peers"] if peer["ourselves"] for one in peer["addresses"] if ":" not in one
        ]
        assert source_of(asks(host, pod.address, "/clientip", port=WEB_PORT)) == address
    assert not unanswered(shop.pods, [address])
    assert host.weavemesh("status").returncode == 0
    host.weavemesh("down", "--leave")
    wait_until(
        lambda: all(len(shop.mesh.status(name)["peers"]) == NODES for name in shop.cluster.nodes),
        seconds=60,
        what="the host to have left",
    )
