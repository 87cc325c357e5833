"""How soon nodes are Ready after `kubectl apply`, and how much of that is Kubernetes' own: three nodes, as a table.

    python -m tests.bench.kubernetes_start [ROUNDS] [--report-s 10]

Needs the image (`make image`) and Kubernetes' programs (`python -m tests.kubernetes build`). Each round has a cluster
of its own, at rest. A kubelet looks at its network every five seconds and tells the API server every ten (`--report-s`;
10 is Kubernetes' default), so when exactly the manifest is applied decides over seconds: it is left to chance.

The reference is the configuration of the bridge plugin, put on all nodes at once, with nothing to be started.
"""

import argparse
import os
import random
import time
from pathlib import Path
from statistics import median

from tabulate import tabulate

from deploy.demo.lab import Machine
from tests.kubernetes.bridge import install_bridge, remove_bridge
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.image import measure_store, project_image
from tests.kubernetes.product import Mesh

NODES = 3
REST_S = (10.0, 20.0)
BARS = {"apply": "≤ 10 s"}
ROWS = {
    "bridge": "the bridge's configuration there → all Ready (reference)",
    "conf": "`kubectl apply` → the first node's configuration is there",
    "confs": "`kubectl apply` → the last node's configuration is there",
    "apply": "`kubectl apply` → all Ready",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.kubernetes_start")
    parser.add_argument("rounds", nargs="?", type=int, default=5, metavar="ROUNDS")
    parser.add_argument("--report-s", type=int, default=10)
    options = parser.parse_args()
    measure_store([project_image()])  # once, for all nodes
    found: dict[str, list[float]] = {row: [] for row in ROWS}
    for number in range(options.rounds):
        with Cluster(
            NODES, name=f"wmstart{os.getpid()}", images=[project_image()], report_s=options.report_s
        ) as cluster:
            for row, seconds in measure(cluster).items():
                found[row].append(seconds)
        print(f"  round {number + 1}: {', '.join(f'{row} {found[row][-1]:.1f} s' for row in ROWS)}", flush=True)
    rows = [
        (what, f"{median(found[row]):.1f} s", f"{min(found[row]):.1f} to {max(found[row]):.1f} s", BARS.get(row, ""))
        for row, what in ROWS.items()
    ]
    print(f"\n{tabulate(rows, headers=['', f'median of {options.rounds}', '', 'bar'])}")
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at the end, reports every {options.report_s} s")


def measure(cluster: Cluster) -> dict[str, float]:
    """One cluster, first with the reference, which is taken away again."""
    rest()
    began = time.time()
    install_bridge(cluster)
    wait_ready(cluster)
    found = {"bridge": time.time() - began}
    remove_bridge(cluster)
    cluster.kubectl("wait", "--for=condition=Ready=false", "nodes", "--all", "--timeout=120s")
    rest()
    began = time.time()
    Mesh(cluster).install()
    wait_ready(cluster)
    found["apply"] = time.time() - began
    made = [configuration(node.machine).stat().st_mtime for node in cluster.nodes.values()]
    return {**found, "conf": min(made) - began, "confs": max(made) - began}


def rest() -> None:
    time.sleep(random.uniform(*REST_S))


def wait_ready(cluster: Cluster) -> None:
    cluster.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=120s")


def configuration(machine: Machine) -> Path:
    """Of the mesh's plugin, on a node."""
    return Path(f"/proc/{machine.init_pid}/root/etc/cni/net.d/10-weavemesh.conflist")


if __name__ == "__main__":
    main()
