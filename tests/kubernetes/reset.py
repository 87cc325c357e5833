"""Takes weavemesh away from a cluster, as its users are told to, and looks whether anything is left."""

from deploy.demo.lab import LabError, Machine, wait_until
from tests.kubernetes.product import NAMESPACE, Mesh, uninstalling_manifest

UNINSTALL_S = 120.0
_ANNOTATIONS = ("weavemesh.io/peer-", "weavemesh.io/address-", "weavemesh.io/ring-")


def begin_uninstall(mesh: Mesh) -> None:
    """The first two steps: no agents any more, and on each node the one that cleans it."""
    mesh.cluster.kubectl("-n", NAMESPACE, "delete", "daemonset", "weavemesh", "--cascade=foreground")
    mesh.cluster.apply(uninstalling_manifest())


def finish_uninstall(mesh: Mesh) -> None:
    """The others; returns when all nodes are clean, which needs all pods to be deleted."""
    kubectl = mesh.cluster.kubectl
    kubectl("-n", NAMESPACE, "rollout", "status", "daemonset/weavemesh-uninstall", f"--timeout={UNINSTALL_S:g}s")
    kubectl("delete", "namespace", NAMESPACE)
    kubectl("delete", "clusterrole,clusterrolebinding", "weavemesh")
    kubectl("annotate", "nodes", "--all", *_ANNOTATIONS)


def forget_everything(mesh: Mesh) -> None:
    """Uninstall from nodes that have no pods."""
    begin_uninstall(mesh)
    finish_uninstall(mesh)
    wait_until_clean(mesh)


def wait_until_clean(mesh: Mesh) -> None:
    """Return when nothing of ours is on any node. LabError with what there is."""
    machines = [node.machine for node in mesh.cluster.nodes.values()]
    try:
        wait_until(lambda: not any(map(leftovers, machines)), seconds=20, what="clean nodes")
    except LabError as error:
        raise LabError(f"{error}: {[leftovers(machine) for machine in machines]}") from error


def leftovers(machine: Machine) -> list[str]:
    """What of ours is on a node: links, routes, rules, programs, files."""
    links = [line.split()[1] for line in machine.ip("-o", "link").splitlines() if line.split()[1].startswith("wm")]
    routes = [line for family in ("-4", "-6") for line in _routes(machine, family)]
    rules = [line for line in machine.run("nft", "list", "tables").stdout.splitlines() if "weavemesh" in line]
    rules += [line for line in machine.run("iptables-save").stdout.splitlines() if "weavemesh" in line]
    programs = [f"process {pid}" for pid in machine.processes("wireguard-go|weavemesh kubernetes agent")]
    files = machine.run(
        *("find", "/var/lib/weavemesh", "/run/weavemesh", "/var/lib/cni", "/opt/cni/bin", "/etc/cni/net.d"),
        *("-not", "-type", "d", "(", "-path", "*weavemesh*", ")"),
        check=False,
    ).stdout.split()
    return [*links, *routes, *rules, *programs, *files]


def _routes(machine: Machine, family: str) -> list[str]:
    return machine.ip(family, "route", "show", "table", "all", "proto", "87").splitlines()
