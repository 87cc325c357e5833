"""Pods for the tests: manifests of what is run, and pods that run, with programs of this machine in their networks."""

import http.client
import json
import socket
import subprocess
from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from deploy.demo.lab import LabError, Machine, wait_until
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.image import AGNHOST
from tests.kubernetes.node import CGROUPS
from tests.kubernetes.tunnel import socket_in

WEB_PORT = 8080
"""Of agnhost's `netexec`: it says who asked (/clientip) and its own name (/hostname)."""
RUNNING_S = 90.0
HTTP_S = 5.0


def web(
    name: str,
    *,
    replicas: int | None = None,
    node: str = "",
    host_port: int | None = None,
    port: int = WEB_PORT,
    host_network: bool = False,
) -> dict[str, object]:
    """Web servers with the label app=NAME: one on each node, or so many (on this node)."""
    published: dict[str, object] = {"containerPort": port}
    if host_port is not None:
        published["hostPort"] = host_port
    container: dict[str, object] = {
        "name": "web",
        "image": AGNHOST,
        "imagePullPolicy": "Never",
        "args": ["netexec", f"--http-port={port}"],
        "ports": [published],
    }
    pod: dict[str, object] = {
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "hostNetwork": host_network,
        "containers": [container],
    }
    if node:
        pod["nodeSelector"] = {"kubernetes.io/hostname": node}
    kind = {"kind": "DaemonSet"} if replicas is None else {"kind": "Deployment"}
    spec: dict[str, object] = {
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
    }
    if replicas is not None:
        spec["replicas"] = replicas
    return {**kind, "apiVersion": "apps/v1", "metadata": {"name": name}, "spec": spec}


def service(name: str, *, node_port: bool = False) -> dict[str, object]:
    """A Service at port 80 for the web servers of this name."""
    spec: dict[str, object] = {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": WEB_PORT}]}
    if node_port:
        spec["type"] = "NodePort"
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def apply(cluster: Cluster, *objects: Mapping[str, object]) -> None:
    """Apply these."""
    cluster.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))


def delete(cluster: Cluster, *objects: Mapping[str, object]) -> None:
    """Delete these, and wait until they are gone, with their pods."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    cluster.kubectl("delete", "--ignore-not-found", "--cascade=foreground", "-f", "-", stdin=text)


@dataclass(frozen=True)
class RunningPod:
    """A pod with an address."""

    name: str
    node: str
    address: str
    pid: int
    """One of its processes, in our own numbering."""

    def command(self, *command: str) -> list[str]:
        """What runs a program of this machine in the pod's network."""
        return ["nsenter", "-t", str(self.pid), "-n", "--", *command]

    def run(self, *command: str, check: bool = False, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*command), capture_output=True, text=True, check=check, timeout=timeout_s)

    def start(self, *command: str, stdout: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*command), stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.STDOUT, text=True
        )

    def answers(self, address: str, *, seconds: float = 2) -> bool:
        """One ping to the address is answered."""
        return self.run("ping", "-n", "-c1", f"-W{seconds:g}", address).returncode == 0

    def get(self, address: str, path: str, *, port: int = WEB_PORT) -> str:
        """What a web server answers to this pod. OSError if it does not."""
        return get(self.pid, address, path, port=port)

    def reaches(self, address: str, *, port: int = WEB_PORT) -> bool:
        """A web server answers there."""
        with suppress(OSError):
            return bool(self.get(address, "/hostname", port=port))
        return False


def pods_of(cluster: Cluster, app: str, *, count: int | None = None) -> list[RunningPod]:
    """The running pods with this label, by node and name; waits until there are so many, or all that are wanted."""

    def found() -> list[RunningPod]:
        listed = json.loads(cluster.kubectl("get", "pods", "-l", f"app={app}", "-o", "json"))["items"]
        running = [pod for item in listed if (pod := _running(cluster, item))]
        return running if len(running) == (len(listed) if count is None else count) else []

    pods = wait_until(found, seconds=RUNNING_S, what=f"the pods of {app} to run")
    return sorted(pods, key=lambda pod: (pod.node, pod.name))


def start_pods(cluster: Cluster, *objects: dict[str, Any]) -> list[RunningPod]:
    """Apply these and wait for their pods."""
    apply(cluster, *objects)
    names = [one["metadata"]["name"] for one in objects if one["kind"] in ("DaemonSet", "Deployment")]
    counts = [one["spec"].get("replicas", len(cluster.nodes)) for one in objects if "template" in one["spec"]]
    return [pod for name, count in zip(names, counts, strict=True) for pod in pods_of(cluster, name, count=count)]


def wait_until_service(pod: RunningPod, address: str, names: Set[str], *, port: int = 80) -> None:
    """Return when a Service has led a pod to all of its pods: kube-proxy learns of them one by one."""
    seen: set[str] = set()

    def look() -> bool:
        with suppress(OSError):
            seen.add(pod.get(address, "/hostname", port=port))
        return seen == names

    wait_until(look, seconds=60, what=f"answers of {', '.join(sorted(names))} at {address}")


def unanswered(pods: Sequence[RunningPod], addresses: Iterable[str]) -> list[str]:
    """Each pod pings each address; the pairs without an answer, as `pod → address`."""
    wanted = list(addresses)
    script = 'for a in "$@"; do ping -n -q -c1 -W5 "$a" >/dev/null && echo "$a"; done; true'
    started = [pod.start("sh", "-c", script, "sh", *wanted, stdout=-1) for pod in pods]
    lacking = []
    for pod, process in zip(pods, started, strict=True):
        answered = process.communicate(timeout=120)[0].split()
        lacking += [f"{pod.name} on {pod.node} → {address}" for address in wanted if address not in answered]
    return lacking


def get(pid: int, address: str, path: str, *, port: int = WEB_PORT) -> str:
    """What a web server answers to somebody in the network of a process. OSError if it does not."""
    connection = http.client.HTTPConnection(address, port, timeout=HTTP_S)
    try:
        connection.sock = socket_in(
            f"/proc/{pid}/ns/net", lambda: socket.create_connection((address, port), timeout=HTTP_S)
        )
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def asks(machine: Machine, address: str, path: str, *, port: int = WEB_PORT) -> str:
    """`get` for a machine."""
    return get(machine.init_pid, address, path, port=port)


def _running(cluster: Cluster, item: dict[str, Any]) -> RunningPod | None:
    status, meta = item["status"], item["metadata"]
    if status.get("phase") != "Running" or not status.get("podIP") or "deletionTimestamp" in meta:
        return None
    if not all(container.get("ready") for container in status.get("containerStatuses", [])):
        return None
    node = item["spec"]["nodeName"]
    return RunningPod(meta["name"], node, status["podIP"], _pid_of(cluster, node, meta["uid"]))


def _pid_of(cluster: Cluster, node: str, uid: str) -> int:
    """A process of the pod: the kubelet names its control group after it."""
    root = CGROUPS / "pids" / cluster.nodes[node].cgroup
    for folder in root.rglob(f"pod{uid}"):
        for file in folder.glob("*/cgroup.procs"):
            if pids := file.read_text().split():
                return int(pids[0])
    raise LabError(f"no process of the pod {uid} is found on {node}")
