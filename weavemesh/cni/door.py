"""The two doors that the plugin works through: where addresses come from, and what wires pods. Protocols only."""

from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol

from weavemesh.kernel.podmessage import IPAddress
from weavemesh.kernel.podmodel import Order, PodAddress, PodLink, WiredPod
from weavemesh.kernel.podplan import Player


class AddressSource(Protocol):
    """Where pods' addresses come from: `weavemesh.podaddress`."""

    async def promise(self, ident: str, wanted: Sequence[IPAddress], *, deadline_s: float) -> PodAddress:
        """The address of `ident`, the same again; with `wanted`, that one. Nobody may rely on it before `durable`.

        AllocationRefused: the reason. AddressUnfit: what is wanted can never be had.
        """

    def durable(self) -> Awaitable[None]:
        """Done when all that was promised before is on disk, which begins at this call. NotDurable."""

    async def release(self, ident: str) -> None:
        """Gives it back, for good when this returns; nothing if it has none. Ends an allocation that is still being
        waited for. NotDurable: it is given back, but a crash would undo that.
        """

    def address_of(self, ident: str) -> PodAddress | None:
        """What `ident` has now."""

    def idents(self) -> tuple[str, ...]:
        """Everybody who has an address here."""

    def mesh(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """All addresses of the mesh, one network a family."""

    def subnet_of(self, address: IPAddress) -> int:
        """The prefix length of the part of the mesh that is this host's and holds the address."""

    def host(self) -> PodAddress | None:
        """The host's own address; None while it has none."""

    def obstacle(self) -> str | None:
        """Why no address can be had now, a sentence with the remedy; None if one can."""


class Wiring(Protocol):
    """The part of `weavemesh.kernel.pod.PodWiring` that a plugin needs; each call is explained there."""

    async def attach(
        self,
        order: Order,
        promise: Callable[[], Awaitable[PodAddress]],
        settle: Callable[[WiredPod], Awaitable[bytes]],
        *,
        player: Player | None = None,
    ) -> WiredPod: ...

    async def detach(self, ident: str, address: PodAddress | None) -> bool: ...

    async def detach_link(self, name: str) -> bool: ...

    def sweep(self) -> None: ...

    async def check(self, ident: str, *, netns_fd: int, ifname: str, address: PodAddress) -> tuple[str, ...]: ...

    async def list_pod_links(self) -> tuple[PodLink, ...]: ...
