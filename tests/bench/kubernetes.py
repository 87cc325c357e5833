"""The DaemonSet on a real Kubernetes of three nodes, as a table: how quick, how large, and how many packets are lost.

    python -m tests.bench.kubernetes [--api-down-s 300] [--rest-s 60]

Needs the image (`make image`) and Kubernetes' programs (`python -m tests.kubernetes build`); `make bench-kubernetes`
sees to both. Pings are a hundred a second between pods of two nodes.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tabulate import tabulate

from deploy.demo.lab import Machine, resident_mib, wait_until
from tests.e2e.nat_lab import Pings
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.direct import made_directly
from tests.kubernetes.image import PAUSE, measure_store, project_image
from tests.kubernetes.pod import RunningPod, apply, start_pods, web
from tests.kubernetes.product import NAMESPACE, Mesh

NODES = 3
PODS = 60
SANDBOXES = 10
KILLS = 3
SETTLE_S = 3.0
WHOLE = 1 << 20
"""Addresses of the default range."""


class Table:
    """Rows of what was measured, and what the project wants to hold."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, str, str]] = []

    def add(self, what: str, found: str, bar: str = "") -> None:
        self._rows.append((what, found, bar))
        print(f"  {what}: {found}", flush=True)

    def __str__(self) -> str:
        return str(tabulate(self._rows, headers=["", "measured", "bar"]))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.kubernetes")
    parser.add_argument("--api-down-s", type=float, default=300.0)
    parser.add_argument("--rest-s", type=float, default=60.0)
    options = parser.parse_args()
    table = Table()
    table.add("import of the image into containerd, once for all nodes", f"{measure_store([project_image()]):.1f} s")
    began = time.monotonic()
    with Cluster(NODES, name=f"wmbench{os.getpid()}", images=[project_image()]) as cluster:
        table.add("control plane and three nodes, until registered", f"{time.monotonic() - began:.1f} s")
        mesh = Mesh(cluster)
        measure_start(mesh, table)
        measure_pods(mesh, table)
        measure_rest(mesh, table, options.rest_s)
        pods = start_pods(cluster, web("steady"))
        wait_until(lambda: pods[0].answers(pods[1].address), seconds=30, what="a first answer")
        measure_losses(mesh, table, pods, options.api_down_s)
        measure_deletion(mesh, table)
    print(f"\n{table}\n{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at the end")


def measure_start(mesh: Mesh, table: Table) -> None:
    began, clock = time.monotonic(), time.time()
    mesh.install()
    mesh.cluster.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=120s")
    table.add("kubectl apply → all three nodes Ready", f"{time.monotonic() - began:.1f} s", "≤ 10 s")
    configured = max(_configuration(node.machine).stat().st_mtime for node in mesh.cluster.nodes.values())
    table.add("  of that, until the last CNI configuration is there", f"{configured - clock:.1f} s")
    mesh.wait()
    mesh.wait_for_peers(NODES)


def measure_pods(mesh: Mesh, table: Table) -> None:
    container = {"name": "pause", "image": PAUSE, "imagePullPolicy": "Never"}
    pod = {"terminationGracePeriodSeconds": 0, "automountServiceAccountToken": False, "containers": [container]}
    template = {"metadata": {"labels": {"app": "many"}}, "spec": pod}
    spec = {"replicas": PODS, "selector": {"matchLabels": {"app": "many"}}, "template": template}
    began = time.monotonic()
    apply(mesh.cluster, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "many"}, "spec": spec})
    mesh.cluster.kubectl("rollout", "status", "deployment/many", "--timeout=180s", timeout_s=200)
    table.add(f"{PODS} pods Running", f"{time.monotonic() - began:.1f} s", "≤ 30 s")


def measure_rest(mesh: Mesh, table: Table, rest_s: float) -> None:
    machines = {name: node.machine for name, node in mesh.cluster.nodes.items()}
    time.sleep(SETTLE_S * 3)
    agents = {name: mesh.agent_pid(name) for name in machines}
    carriers = {name: machine.processes("wireguard-go --foreground") for name, machine in machines.items()}
    before = {name: _processor_s(machines[name], pid) for name, pid in agents.items()}
    carried = {name: sum(_processor_s(machines[name], pid) for pid in pids) for name, pids in carriers.items()}
    time.sleep(rest_s)
    shares = [(_processor_s(machines[name], pid) - before[name]) / rest_s * 100 for name, pid in agents.items()]
    memory = [resident_mib(machines[name], [pid]) for name, pid in agents.items()]
    table.add(f"memory of an agent at rest, {PODS} pods", f"{max(memory):.1f} MiB", "≤ 80 MiB")
    table.add(f"processor of an agent at rest, over {rest_s:g} s", f"{max(shares):.2f} %", "≤ 1 %")
    if all(carriers.values()):
        more = [
            (sum(_processor_s(machines[name], pid) for pid in pids) - carried[name]) / rest_s * 100
            for name, pids in carriers.items()
        ]
        size = [resident_mib(machines[name], pids) for name, pids in carriers.items()]
        table.add("  wireguard-go beside it", f"{max(size):.1f} MiB, {max(more):.2f} %")


def measure_losses(mesh: Mesh, table: Table, pods: list[RunningPod], api_down_s: float) -> None:
    machine = mesh.cluster.nodes["n2"].machine

    def update() -> None:
        mesh.cluster.kubectl("-n", NAMESPACE, "rollout", "restart", "daemonset/weavemesh")
        mesh.wait_for_rollout()

    def kill() -> None:
        killed = mesh.agent_pid("n2")
        machine.run("kill", "-9", str(killed))
        wait_until(lambda: _is_another(mesh, killed), seconds=180, what="the agent to be started again")

    def kills() -> None:
        for _ in range(KILLS):
            kill()

    def api_down() -> None:
        with _api_down(mesh.cluster):
            began = time.monotonic()
            kill()
            with made_directly(mesh.cluster.nodes["n2"], SANDBOXES) as made:
                given = len({one.addresses[0] for one in made})
            table.add("  sandboxes made without the API server that have addresses", f"{given}", f"{SANDBOXES}")
            time.sleep(max(0.0, api_down_s - (time.monotonic() - began)))

    for what, act in (
        ("a rolling update of the DaemonSet", update),
        (f"{KILLS} times kill -9 of an agent", kills),
        (f"the API server down for {api_down_s:g} s, an agent killed meanwhile", api_down),
    ):
        lost, sent, took = _lost(pods, act)
        table.add(f"pings lost in {what}", f"{lost} of {sent} in {took:.0f} s", "0")


def measure_deletion(mesh: Mesh, table: Table) -> None:
    mesh.cluster.end_node("n3", keep_disk=False)
    began = time.monotonic()
    mesh.cluster.kubectl("delete", "node", "n3")
    wait_until(lambda: _owned(mesh) == WHOLE, seconds=180, what="the addresses to be owned by others")
    table.add("node deleted → its addresses are others'", f"{time.monotonic() - began:.1f} s", "≤ 30 s")


def _owned(mesh: Mesh) -> int:
    """What the two that are left own together, by both accounts."""
    counts: list[int] = []
    for name in mesh.cluster.nodes:
        entries = mesh.status(name)["ipam"]["entries"]
        counts.append(sum(int(entry["ips"]) for entry in entries if entry["nickname"] in mesh.cluster.nodes))
    return min(counts)


def _lost(pods: list[RunningPod], act: Callable[[], None]) -> tuple[int, int, float]:
    """Pings lost and sent while this is done, and how long it takes."""
    one = next(pod for pod in pods if pod.node == "n1")
    other = next(pod for pod in pods if pod.node == "n2")
    began = time.monotonic()
    with Pings(one, other.address) as flow:
        time.sleep(1)
        flow.mark()
        act()
        time.sleep(SETTLE_S)
    return flow.lost_since_mark(), len(flow.answers()), time.monotonic() - began


@contextmanager
def _api_down(cluster: Cluster) -> Iterator[None]:
    cluster.control.stop_api()
    try:
        yield
    finally:
        cluster.control.start_api()


def _is_another(mesh: Mesh, killed: int) -> bool:
    pids = mesh.cluster.nodes["n2"].machine.processes("weavemesh kubernetes agent$")
    return bool(pids) and killed not in pids and mesh.is_ready("n2")


def _configuration(machine: Machine) -> Path:
    return Path(f"/proc/{machine.init_pid}/root/etc/cni/net.d/10-weavemesh.conflist")


def _processor_s(machine: Machine, pid: int) -> float:
    fields = machine.run("cat", f"/proc/{pid}/stat").stdout.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
