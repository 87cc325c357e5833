"""What stands for kube-proxy's nftables mode, which is younger than Kubernetes 1.20: rules at the same places.

As that mode is described in Kubernetes' source (pkg/proxy/nftables, its README): a table `ip kube-proxy` of its own;
addresses of Services are exchanged at the priority `dstnat` in prerouting and output; what must come back the same way
is marked with 0x4000, and masqueraded at `srcnat` in postrouting; other ports of a Service are rejected in forward and
output at `filter`. Written once: it follows no later change.
"""

import json
from typing import Any

from tests.kubernetes.cluster import Cluster
from tests.kubernetes.control import POD_RANGE, SERVICE_RANGE
from tests.kubernetes.folder import binaries_folder

_TABLE = """
table ip kube-proxy {{
  chain mark-for-masquerade {{ meta mark set meta mark or 0x4000; }}
  chain masquerading {{
    meta mark and 0x4000 == 0 return
    meta mark set meta mark xor 0x4000
    masquerade fully-random
  }}
{chains}
  chain services {{
    ip daddr . meta l4proto . th dport vmap {{ {services} }}
    ip daddr {node} meta l4proto . th dport vmap {{ {node_ports} }}
  }}
  chain cluster-ips-check {{
    ip daddr {{ {addresses} }} reject
    ip daddr {range} drop
  }}
  chain nat-prerouting {{ type nat hook prerouting priority dstnat; jump services; }}
  chain nat-output {{ type nat hook output priority -100; jump services; }}
  chain nat-postrouting {{ type nat hook postrouting priority srcnat; jump masquerading; }}
  chain filter-forward {{ type filter hook forward priority filter; ct state new jump cluster-ips-check; }}
  chain filter-output {{ type filter hook output priority filter; ct state new jump cluster-ips-check; }}
}}
"""


def take_over(cluster: Cluster) -> None:
    """End kube-proxy on each node, let it take its rules away, and put those in their place."""
    services = _of(cluster, "services")
    endpoints = {_name(one): one for one in _of(cluster, "endpoints")}
    pairs = [(one, places) for one in services if (places := _places(endpoints.get(_name(one))))]
    for node in cluster.nodes.values():
        node.services.stop("kube-proxy")
        # It ends with an error wherever no ipset is installed, of which it would also take sets away.
        clean = ("env", f"PATH={node.environment['PATH']}", str(binaries_folder() / "kube-proxy"), "--cleanup")
        node.machine.run(*clean, check=False)
        node.machine.run("nft", "-f", "-", stdin=rules(pairs, node.address))


def rules(pairs: list[tuple[dict[str, Any], list[str]]], node: str) -> str:
    """The table for Services of one TCP port each, with the places (address:port) of their pods."""
    chains, services, node_ports = [], [], []
    for number, (service, places) in enumerate(pairs):
        address, port = service["spec"]["clusterIP"], service["spec"]["ports"][0]
        for index, place in enumerate(places):
            mark = f"ip saddr {place.partition(':')[0]} jump mark-for-masquerade"
            chains.append(f"  chain endpoint-{number}-{index} {{ {mark}; meta l4proto tcp dnat to {place}; }}")
        choice = ", ".join(f"{index} : goto endpoint-{number}-{index}" for index in range(len(places)))
        mark = f"ip daddr {address} ip saddr != {POD_RANGE} jump mark-for-masquerade"
        chains.append(f"  chain service-{number} {{ {mark}; numgen random mod {len(places)} vmap {{ {choice} }}; }}")
        chains.append(f"  chain external-{number} {{ jump mark-for-masquerade; goto service-{number}; }}")
        services.append(f"{address} . tcp . {port['port']} : goto service-{number}")
        if "nodePort" in port:
            node_ports.append(f"tcp . {port['nodePort']} : goto external-{number}")
    return _TABLE.format(
        chains="\n".join(chains),
        services=", ".join(services),
        node_ports=", ".join(node_ports),
        addresses=", ".join(service["spec"]["clusterIP"] for service, _ in pairs),
        node=node,
        range=SERVICE_RANGE,
    )


def _of(cluster: Cluster, kind: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = json.loads(cluster.kubectl("get", kind, "-A", "-o", "json"))["items"]
    return items


def _name(one: dict[str, Any]) -> tuple[str, str]:
    return one["metadata"]["namespace"], one["metadata"]["name"]


def _places(endpoints: dict[str, Any] | None) -> list[str]:
    return [
        f"{address['ip']}:{subset['ports'][0]['port']}"
        for subset in (endpoints or {}).get("subsets", [])
        for address in subset.get("addresses", [])
    ]
