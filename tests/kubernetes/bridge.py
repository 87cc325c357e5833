"""A plain bridge on each node and routes between the nodes: the control that shows what the harness itself can do."""

import json
from itertools import permutations
from pathlib import Path

from tests.kubernetes.cluster import Cluster

_CONFIGURATION = "/etc/cni/net.d/10-wmbridge.conflist"


def install_bridge(cluster: Cluster) -> None:
    """Write the configuration of Debian's bridge plugin on each node; for one network only."""
    ranges = _ranges(cluster)
    for one, other in permutations(cluster.nodes.values(), 2):
        one.machine.ip("route", "replace", ranges[other.name], "via", other.address)
    for name, node in cluster.nodes.items():
        ipam = {"type": "host-local", "ranges": [[{"subnet": ranges[name]}]], "routes": [{"dst": "0.0.0.0/0"}]}
        plugins = [
            {"type": "bridge", "bridge": "wmcni0", "isGateway": True, "hairpinMode": True, "ipam": ipam},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ]
        config = {"cniVersion": "0.4.0", "name": "wmbridge", "plugins": plugins}
        node.machine.write_file(_CONFIGURATION, json.dumps(config))


def remove_bridge(cluster: Cluster) -> None:
    """Take it away again, where no pod is in that network."""
    ranges = _ranges(cluster)
    for name, node in cluster.nodes.items():
        Path(f"/proc/{node.machine.init_pid}/root{_CONFIGURATION}").unlink()
        for other in cluster.nodes.keys() - {name}:
            node.machine.ip("route", "del", ranges[other])


def _ranges(cluster: Cluster) -> dict[str, str]:
    return {name: f"10.32.{name[1:]}.0/24" for name in cluster.nodes}
