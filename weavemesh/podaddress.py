"""The pool as the CNI plugin sees it (`weavemesh.cni.door.AddressSource`): each address with its IPv6 twin.

What it adds to the pool: the wishes of runtimes, which name either family, and what pods are told of the network.
"""

from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network

from weavemesh.kernel.podmodel import PodAddress
from weavemesh.overlay.plan import twin_address, twin_network
from weavemesh.overlay.state import IPAddress, IPNetwork
from weavemesh.pool import AddressPool
from weavemesh.status import HOST_IDENT
from weavemesh.verdict import REMOVED, REMOVED_REMEDY


class AddressUnfit(Exception):
    """An address that is wanted can never be had; the text is a sentence with the reason and the remedy."""


class PodAddresses:
    """Addresses of this host, for pods."""

    def __init__(self, pool: AddressPool, ula: Callable[[], IPv6Network | None]) -> None:
        """`ula` tells the /96 of pods' IPv6 addresses; None before there is a ring."""
        self._pool = pool
        self._ula = ula
        self._mesh: tuple[IPv6Network | None, tuple[IPNetwork, ...]] | None = None

    async def promise(self, ident: str, wanted: Sequence[IPAddress], *, deadline_s: float) -> PodAddress:
        """See AddressSource."""
        return self._with_twin(await self._pool.promise(ident, self._wanted(wanted), deadline_s=deadline_s))

    def durable(self) -> Awaitable[None]:
        """See AddressSource."""
        return self._pool.durable()

    async def release(self, ident: str) -> None:
        """See AddressSource."""
        await self._pool.release(ident)

    def address_of(self, ident: str) -> PodAddress | None:
        """See AddressSource."""
        address = self._pool.address_of(ident)
        return None if address is None else self._with_twin(address)

    def idents(self) -> tuple[str, ...]:
        """See AddressSource."""
        return tuple(self._pool.allocator.allocations())

    def mesh(self) -> tuple[IPNetwork, ...]:
        """See AddressSource."""
        universe, ula = self._pool.allocator.universe, self._ula()
        if self._mesh is None or self._mesh[0] is not ula:  # asked for at every ADD
            self._mesh = ula, (universe,) if ula is None else (universe, twin_network(ula, universe))
        return self._mesh[1]

    def subnet_of(self, address: IPAddress) -> int:
        """See AddressSource; the whole length where nobody owns it."""
        ipv4 = IPv4Address(int(address) & 0xFFFFFFFF)
        allocator = self._pool.allocator
        blocks = [network for owner in allocator.owners() for network in allocator.owned(owner) if ipv4 in network]
        return address.max_prefixlen - ipv4.max_prefixlen + (blocks[0].prefixlen if blocks else ipv4.max_prefixlen)

    def host(self) -> PodAddress | None:
        """See AddressSource."""
        return self.address_of(HOST_IDENT)

    def obstacle(self) -> str | None:
        """See AddressSource."""
        allocator = self._pool.allocator
        if allocator.is_removed:
            return f"{REMOVED}: {REMOVED_REMEDY}"
        if self._pool.problem is not None:
            return str(self._pool.problem)
        if self.host() is None:
            return "this host has no address in the mesh yet; `weavemesh status` says what it waits for"
        if any(owner.free is None or owner.free > 0 for owner in allocator.status().owners if owner.reachable):
            return None
        return "no peer that can be reached has a free address; see `weavemesh status ipam`"

    def _wanted(self, wanted: Sequence[IPAddress]) -> IPv4Address | None:
        """The IPv4 address that stands for what is wanted, of either family. AddressUnfit."""
        if not wanted:
            return None
        ula = self._ula()
        found: list[IPv4Address] = []
        for one in wanted:
            if isinstance(one, IPv6Address) and (ula is None or one not in ula):
                raise AddressUnfit(f"{one} is not in {ula}; ask for an IPv4 address, its IPv6 twin comes with it")
            found.append(IPv4Address(int(one) & 0xFFFFFFFF))
        if len(set(found)) > 1:
            raise AddressUnfit(f"{wanted[0]} and {wanted[1]} are not twins; ask for the IPv4 address alone")
        universe = self._pool.allocator.universe
        if found[0] not in universe:
            raise AddressUnfit(f"{found[0]} is not in {universe}; ask for an address in that range")
        return found[0]

    def _with_twin(self, address: IPv4Address) -> PodAddress:
        prefix = self._ula()
        return PodAddress(address, twin_address(prefix, address) if prefix else None)
