"""weavemesh on a cluster: its manifest, with a secret and the image that was built; its agents and what they say."""

import json
from functools import partial
from typing import Any

from deploy.demo.lab import wait_until
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.folder import PROJECT
from tests.kubernetes.image import name_of, project_image
from weavemesh.manifest import render
from weavemesh.secret import ClusterSecret

NAMESPACE = "weavemesh"
MANIFESTS = PROJECT / "deploy" / "kubernetes"
READY_S = 90.0
ROLLOUT_S = 400.0
"""Kubernetes 1.20 takes most of it: it looks at a pod that has ended once in ten seconds, at one that is up when its
readiness probe is due."""


def manifest_with_secret(secret: str | None = None) -> str:
    """What a user applies, of the image in dist/; with a fresh secret, or this one."""
    plain = (MANIFESTS / "weavemesh.yaml").read_text()
    return render(plain, image=name_of(project_image()), secret=secret or ClusterSecret.generate().text())


def uninstalling_manifest() -> str:
    return render((MANIFESTS / "uninstall.yaml").read_text(), image=name_of(project_image()))


class Mesh:
    """weavemesh, installed on a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.secret = ClusterSecret.generate().text()
        self.manifest = manifest_with_secret(self.secret)

    def install(self) -> None:
        """Apply the manifest; returns at once."""
        self.cluster.apply(self.manifest)

    def wait(self) -> None:
        """Return when all nodes are Ready and all agents say that they are; Kubernetes may know of that later."""
        self.cluster.kubectl("wait", "--for=condition=Ready", "nodes", "--all", f"--timeout={READY_S:g}s")
        for name in self.cluster.nodes:
            wait_until(partial(self.is_ready, name), seconds=READY_S, what=f"the agent of {name}")

    def wait_for_rollout(self) -> None:
        """Return when each node has an agent of the present manifest that Kubernetes calls ready."""
        words = ("rollout", "status", "daemonset/weavemesh", f"--timeout={ROLLOUT_S:g}s")
        self.cluster.kubectl("-n", NAMESPACE, *words, timeout_s=ROLLOUT_S + 10)

    def agent_pod(self, node: str) -> str:
        """The name of the agent's pod on a node."""
        found = self.cluster.kubectl(
            *("-n", NAMESPACE, "get", "pods", f"--field-selector=spec.nodeName={node},status.phase=Running"),
            *("-l", "app.kubernetes.io/component=agent", "-o", "name"),
        ).split()
        return found[0] if found else ""

    def run(self, node: str, *arguments: str, check: bool = True) -> str:
        """`weavemesh …` in the agent's pod on a node, as a user runs it."""
        return self.cluster.kubectl(
            "-n", NAMESPACE, "exec", self.agent_pod(node), "--", "weavemesh", *arguments, check=check
        )

    def status(self, node: str) -> Any:
        """`weavemesh status --json`, decoded; run on the node, so that no API server is needed."""
        return self.cluster.nodes[node].machine.status()

    def is_ready(self, node: str) -> bool:
        """What the agent's probe says, run on the node."""
        machine = self.cluster.nodes[node].machine
        return machine.weavemesh("kubernetes", "ready", check=False).returncode == 0

    def agent_pid(self, node: str) -> int:
        """The process of the agent, in the numbering of the node."""
        (pid,) = self.cluster.nodes[node].machine.processes("weavemesh kubernetes agent$")
        return pid

    def wait_for_peers(self, count: int) -> None:
        """Return when each agent has tunnels to all others that carry packets."""
        for name in self.cluster.nodes:
            wait_until(partial(self._has_live, name, count - 1), seconds=READY_S, what=f"{count} peers of {name}")

    def rings(self) -> dict[str, str]:
        """Which ring the agent of each node is in, as it has written to its Node."""
        listed = json.loads(self.cluster.kubectl("get", "nodes", "-o", "json"))["items"]
        return {
            one["metadata"]["name"]: one["metadata"].get("annotations", {}).get("weavemesh.io/ring", "")
            for one in listed
        }

    def describe(self) -> str:
        """Pods, and the ends of the agents' logs."""
        run = partial(self.cluster.kubectl, check=False)
        agents = run("-n", NAMESPACE, "get", "pods", "-l", "app.kubernetes.io/component=agent", "-o", "name").split()
        logs = [f"{pod}:\n{run('-n', NAMESPACE, 'logs', '--tail=25', pod)}" for pod in agents]
        return "\n".join([run("get", "nodes,pods", "-A", "-o", "wide"), *logs])

    def _has_live(self, node: str, count: int) -> bool:
        peers = self.status(node)["peers"]
        return [peer["tunnel"] for peer in peers if not peer["ourselves"]] == ["live"] * count
