"""Who founds a mesh together with this peer, as its command line says it: the electorate of the ring's election.

The election itself is `ipam_crdt`'s; who is really found at the addresses, `weavemesh.membership` tells it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from ipaddress import IPv6Address, ip_address
from socket import SOCK_STREAM

from ipam_crdt import Electorate
from weavemesh.config import INITIAL_PEERS_MAX, AgentConfig
from weavemesh.overlay.state import IPAddress
from weavemesh.transport.address import split_address

RESOLVE_S = 3.0
"""For all names together; one that has no address by then counts as another host."""

Resolve = Callable[[str], Awaitable[frozenset[IPAddress]]]
"""The addresses of a host; OSError if it has none."""


async def resolve(host: str) -> frozenset[IPAddress]:
    """The addresses of a host as the system knows them; OSError if it has none."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=SOCK_STREAM)
    return frozenset(_plain(str(address[0])) for *_, address in found)


async def electorate(
    config: AgentConfig, own_addresses: Collection[IPAddress], *, resolve: Resolve = resolve
) -> Electorate | None:
    """Who founds a mesh with us; None: never we, we wait for one.

    Without any target we are alone. More targets than there can be initial peers are surely those of a mesh that is
    there already.
    """
    if config.observer:
        return None
    if config.initial_peers is not None:
        return Electorate.counted(config.initial_peers)
    others = await count_others(config.targets, own_addresses, port=config.port, resolve=resolve)
    return Electorate.addressed(others) if others < INITIAL_PEERS_MAX else None


async def count_others(
    targets: Collection[str], own_addresses: Collection[IPAddress], *, port: int, resolve: Resolve = resolve
) -> int:
    """How many hosts other than this one are at the targets. Two names with equal addresses and ports are one host.

    A target is this host if its port is ours and every address of it: a name that stands for several hosts, ours among
    them, counts as another, since too many expected only make the others wait. So does a name without an address.
    """
    addresses: dict[str, frozenset[IPAddress]] = {}

    async def look_up(target: str) -> None:
        try:
            async with asyncio.timeout(RESOLVE_S):
                addresses[target] = await resolve(split_address(target)[0])
        except (OSError, UnicodeError):  # TimeoutError is an OSError
            addresses[target] = frozenset()

    async with asyncio.TaskGroup() as group:
        for target in targets:
            group.create_task(look_up(target))
    others: set[object] = set()
    for target in targets:
        found, target_port = addresses[target], split_address(target)[1]
        is_this_host = bool(found) and all(address.is_loopback or address in own_addresses for address in found)
        if not (is_this_host and target_port == port):
            others.add((found, target_port) if found else target)
    return len(others)


def _plain(text: str) -> IPAddress:
    address = ip_address(text.partition("%")[0])
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
