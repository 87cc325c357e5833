"""What the packet filter does for pods, as one table of ours: their way to the outside, and others' way to them.

TCP connections through the tunnels, of pods and of whom this host forwards for, are told in their first packets how
large a segment may be: no more than the routes of both directions carry (RFC 879, RFC 6691; RFC 4459 §3.2 on tunnels).

Masquerading is for packets that leave the mesh; between pods, and between pods and hosts, source addresses are kept.
Our chain comes after everybody else's source NAT, which is thus never undone, and looks at no marks and sets none:
those are kube-proxy's and others'. Nothing is accepted or dropped here. Pure; `weavemesh.kernel.kepttable` applies it.
"""

from collections.abc import Sequence
from typing import Final

from weavemesh.kernel.nftables import PREFIX, Family, Table
from weavemesh.kernel.podmessage import IPNetwork
from weavemesh.kernel.podmodel import PodAddress

FAMILY: Final[Family] = "inet"
NAME: Final = f"{PREFIX}pods"

_MULTICAST: Final = {4: "224.0.0.0/4", 6: "ff00::/8"}
_WORD: Final = {4: "ip", 6: "ip6"}


def pod_table(
    mesh: Sequence[IPNetwork], interface: str, exposed: PodAddress | None, *, masquerade: bool = True
) -> Table:
    """The table for a mesh of these networks behind this tunnel device. Without `masquerade` no address is changed.

    With `exposed`, what others send into the mesh through this host gets that address of the host as its source: peers
    take packets only from addresses of the mesh.
    """
    rules = [_outwards(network, interface) for network in mesh]
    if exposed is not None:
        addresses = {address.version: address for address in exposed.all()}
        rules += [
            f"{_WORD[network.version]} saddr != {network} {_WORD[network.version]} daddr {network} "
            f'oifname "{interface}" snat {_WORD[network.version]} to {addresses[network.version]}'
            for network in mesh
            if network.version in addresses
        ]
    chains = [_chain("forward", "filter hook forward priority mangle", _segments(interface))]
    if masquerade:
        chains.append(_chain("postrouting", "nat hook postrouting priority srcnat + 10", rules))
    return Table(FAMILY, NAME, "\n".join(chains))


def _chain(name: str, kind: str, rules: Sequence[str]) -> str:
    lines = "\n".join(f"    {rule}" for rule in rules)
    return f"  chain {name} {{\n    type {kind}; policy accept;\n{lines}\n  }}"


def _segments(interface: str) -> list[str]:
    """`rt mtu` is the smaller one of the routes to both ends; a smaller size that is announced already stays."""
    return [
        f'{word} "{interface}" tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu'
        for word in ("oifname", "iifname")
    ]


def _outwards(network: IPNetwork, interface: str) -> str:
    word, others = _WORD[network.version], f"{{ {network}, {_MULTICAST[network.version]} }}"
    return f'{word} saddr {network} {word} daddr != {others} oifname != "{interface}" masquerade fully-random'
