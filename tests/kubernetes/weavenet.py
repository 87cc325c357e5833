"""What stands for Weave Net on a cluster: its objects and its configuration, by their names, on a plain bridge.

Not the real one, which no package has. What the page on migrating relies on is here: a DaemonSet `weave-net` in
`kube-system` whose pods write `10-weave.conflist` when they start; a bridge `weave`, with pods in Weave Net's
range; the accounts and roles.
"""

import json
from itertools import permutations

from tests.kubernetes.cluster import Cluster
from tests.kubernetes.image import BOX

CONFIGURATION = "/etc/cni/net.d/10-weave.conflist"
BRIDGE = "weave"
_LABELS = {"name": "weave-net"}
_RUN = """
printf '%s' "$CONFIG" | sed "s/NODE/${NODE#n}/" >/net.d/new
mv /net.d/new /net.d/10-weave.conflist
exec sleep 1000000
"""


def install_weave_net(cluster: Cluster) -> None:
    """Apply it; the routes between its bridges, which Weave Net does without, are the nodes'."""
    for one, other in permutations(cluster.nodes.values(), 2):
        one.machine.ip("route", "replace", f"10.32.{other.name[1:]}.0/24", "via", other.address)
    cluster.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": [*_accounts(), _daemon_set()]}))


def _accounts() -> list[dict[str, object]]:
    """Of the names that Weave Net's own manifest has."""
    here = {"name": "weave-net", "namespace": "kube-system"}
    rbac = "rbac.authorization.k8s.io"
    subjects = [{"kind": "ServiceAccount", **here}]
    rules = [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]}]
    found: list[dict[str, object]] = [{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": here}]
    for kind, metadata in (("Role", here), ("ClusterRole", {"name": "weave-net"})):
        reference = {"apiGroup": rbac, "kind": kind, "name": "weave-net"}
        role = {"apiVersion": f"{rbac}/v1", "metadata": metadata}
        found.append({**role, "kind": kind, "rules": rules})
        found.append({**role, "kind": f"{kind}Binding", "roleRef": reference, "subjects": subjects})
    return found


def _daemon_set() -> dict[str, object]:
    ipam = {"type": "host-local", "ranges": [[{"subnet": "10.32.NODE.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}
    plugins = [
        {"name": "weave", "type": "bridge", "bridge": BRIDGE, "isGateway": True, "hairpinMode": True, "ipam": ipam},
        {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
    ]
    config = json.dumps({"cniVersion": "0.3.0", "name": "weave", "plugins": plugins})
    environment = [
        {"name": "CONFIG", "value": config},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
    ]
    pod = {
        "serviceAccountName": "weave-net",
        "hostNetwork": True,
        "terminationGracePeriodSeconds": 0,
        "tolerations": [{"operator": "Exists"}],
        "containers": [
            {
                "name": "weave",
                "image": BOX,
                "imagePullPolicy": "Never",
                "command": ["sh", "-c", _RUN],
                "env": environment,
                "volumeMounts": [{"name": "net", "mountPath": "/net.d"}],
            }
        ],
        "volumes": [{"name": "net", "hostPath": {"path": "/etc/cni/net.d"}}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "weave-net", "namespace": "kube-system"},
        "spec": {
            "selector": {"matchLabels": _LABELS},
            "template": {"metadata": {"labels": _LABELS}, "spec": pod},
        },
    }
