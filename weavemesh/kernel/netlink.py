"""Links, addresses and routes of one network namespace: a typed face on pyroute2.

pyroute2 (0.9.7) has no types, ignores keywords that it does not know, and filters dumps only after the
kernel has sent everything; this module has one explicit function per thing that weavemesh does, each tried
against a real namespace. It decides nothing. Requests that block (deleting links, large dumps) are handed to
a thread, see `rtnetlink.py`.
"""

import asyncio
import errno
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_interface
from typing import Any, Final, Self, TypeVar

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from weavemesh.kernel import rtnetlink
from weavemesh.kernel.rtnetlink import KernelRoute
from weavemesh.overlay.state import IPInterface

T = TypeVar("T")

PROTOCOL: Final = 87
"""Our routes carry this routing protocol number (rtm_protocol; 5…255 are free for user programs)."""
MAIN_TABLE: Final = 254

_NODAD, _TEMPORARY, _DEPRECATED, _TENTATIVE = 0x02, 0x01, 0x20, 0x40
_ADDRESS_GENERATION_NONE: Final = 1
_BUSY_ATTEMPTS: Final = 20
"""A dump that was given up half-way makes the next ones EBUSY until the kernel has sent its rest."""


class KernelError(Exception):
    """The kernel refused a request."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(reason)
        self.number = number
        """errno."""
        self.reason = reason
        """The kernel's own sentence where it gives one."""


@dataclass(frozen=True, slots=True)
class Link:
    """One network interface."""

    index: int
    name: str
    kind: str
    """`veth`, `wireguard`, `tun`, …; empty for hardware and loopback."""
    mtu: int
    up: bool


@dataclass(frozen=True, slots=True)
class LinkAddress:
    """An address of an interface."""

    index: int
    address: IPInterface
    scope: int
    """0 global, 253 link, 254 host."""
    passing: bool
    """True for an address that is temporary, deprecated or not yet usable."""


class Netlink:
    """One namespace, open for requests from one event loop."""

    def __init__(self, route: AsyncIPRoute, raw: socket.socket) -> None:
        self._route: Any = route
        self._raw = raw
        self._dumping = asyncio.Lock()
        self._blocking = threading.Lock()

    @classmethod
    async def open(cls) -> Self:
        """Requests to the network namespace of the calling thread. Raises OSError."""
        route = AsyncIPRoute(ext_ack=True, strict_check=True)
        await route.setup_endpoint()
        return cls(route, rtnetlink.open_socket())

    async def close(self) -> None:
        """Close the sockets; again does nothing."""
        self._route.close()
        self._raw.close()

    # -- links ----------------------------------------------------------------------------------------

    async def link(self, name: str) -> Link | None:
        """The interface of that name, or None."""
        try:
            answers = await self._request("link", "get", ifname=name)
        except KernelError as error:
            if error.number == errno.ENODEV:
                return None
            raise
        return _link(answers[0])

    async def links(self) -> tuple[Link, ...]:
        """All interfaces."""
        return tuple(_link(message) for message in await self._dump("link"))

    async def add_link(self, name: str, *, kind: str) -> int:
        """Make an interface that is down; its index. KernelError EOPNOTSUPP for a kind the kernel lacks."""
        await self._request("link", "add", ifname=name, kind=kind)
        link = await self.link(name)
        if link is None:
            raise KernelError(errno.ENODEV, f"{name} has vanished")
        return link.index

    async def set_mtu(self, index: int, mtu: int) -> None:
        """Set the MTU in bytes."""
        await self._request("link", "set", index=index, mtu=mtu)

    async def bring_up(self, index: int) -> None:
        """Let an interface carry packets."""
        await self._request("link", "set", index=index, state="up")

    async def disable_link_local(self, index: int) -> None:
        """No automatic IPv6 link-local address (addr_gen_mode none); takes effect when it next comes up."""
        inet6 = {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", _ADDRESS_GENERATION_NONE)]}
        await self._request("link", "set", index=index, IFLA_AF_SPEC={"attrs": [("AF_INET6", inet6)]})

    async def delete_link(self, index: int) -> None:
        """Delete an interface; one that is gone is fine."""
        try:
            await self._in_thread(lambda: rtnetlink.delete_link(self._raw, index))
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise KernelError(error.errno or errno.EIO, error.strerror or "unknown") from error

    # -- addresses ------------------------------------------------------------------------------------

    async def addresses(self, index: int | None = None) -> tuple[LinkAddress, ...]:
        """All addresses, or those of one interface."""
        messages = await self._dump("addr")
        return tuple(_address(m) for m in messages if index is None or m["index"] == index)

    async def add_address(self, index: int, address: IPInterface) -> None:
        """Give an interface an address, without duplicate address detection; one that it has is fine."""
        values = {"flags": _NODAD} if address.version == 6 else {}
        try:
            await self._request(
                "addr", "add", index=index, address=str(address.ip), prefixlen=_length(address), **values
            )
        except KernelError as error:
            if error.number != errno.EEXIST:
                raise

    async def remove_address(self, index: int, address: IPInterface) -> None:
        """Take an address from an interface; one that it has not is fine."""
        try:
            await self._request("addr", "del", index=index, address=str(address.ip), prefixlen=_length(address))
        except KernelError as error:
            if error.number != errno.EADDRNOTAVAIL:
                raise

    # -- routes ---------------------------------------------------------------------------------------

    async def routes(self, *, protocol: int | None = PROTOCOL) -> tuple[KernelRoute, ...]:
        """Routes of both families in all tables: ours, those with another protocol number, or (None) all."""
        return await self._in_thread(lambda: rtnetlink.dump_routes(self._raw, protocol=protocol))

    async def add_routes(
        self, routes: Sequence[KernelRoute], *, replace: bool = False
    ) -> tuple[KernelError | None, ...]:
        """Add routes to the main table; for each what the kernel had against it.

        EEXIST if the same destination and metric is there, unless it is to be replaced.
        """
        outcomes = await self._in_thread(lambda: rtnetlink.add_routes(self._raw, routes, replace=replace))
        return tuple(KernelError(number, os.strerror(number)) if number else None for number in outcomes)

    async def remove_route(self, route: KernelRoute) -> None:
        """Take a route of ours away, as it was dumped; one that is gone is fine."""
        values: dict[str, object] = {
            "dst": str(route.destination),
            "proto": route.protocol,
            "table": route.table,
            "family": socket.AF_INET if route.destination.version == 4 else socket.AF_INET6,
        }
        if route.kind == "unicast" and route.index is not None:
            values["oif"] = route.index
        else:
            values["type"] = route.kind
        if route.metric:
            values["priority"] = route.metric
        if route.destination.version == 4:
            values["scope"] = "nowhere"  # matches any scope
        try:
            await self._request("route", "del", **values)
        except KernelError as error:
            if error.number != errno.ESRCH:
                raise

    # -- the wire -------------------------------------------------------------------------------------

    async def _request(self, noun: str, verb: str, **values: object) -> list[Any]:
        call: Callable[..., Awaitable[Any]] = getattr(self._route, noun)
        try:
            return list(await call(verb, **values))
        except NetlinkError as error:
            raise _kernel_error(error) from error

    async def _dump(self, noun: str) -> list[Any]:
        """All answers. One dump at a time on a socket, always read to its end, repeated when interrupted."""
        call: Callable[..., Awaitable[Any]] = getattr(self._route, noun)
        async with self._dumping:
            for attempt in range(_BUSY_ATTEMPTS):
                try:
                    messages = [message async for message in await call("dump")]
                except NetlinkError as error:
                    if error.code != errno.EBUSY:
                        raise _kernel_error(error) from error
                    await asyncio.sleep(0.01 * (attempt + 1))
                    continue
                if not any(message["header"]["flags"] & 0x10 for message in messages):  # NLM_F_DUMP_INTR
                    return messages
        raise KernelError(errno.EBUSY, f"the kernel's {noun} table changes faster than it can be read")

    async def _in_thread(self, function: Callable[[], T]) -> T:
        """One blocking request at a time: also after a caller was cancelled, whose thread goes on to the end."""

        def run() -> T:
            with self._blocking:
                return function()

        return await asyncio.to_thread(run)


def _kernel_error(error: NetlinkError) -> KernelError:
    return KernelError(int(error.code), str(error.args[1]))


def _length(address: IPInterface) -> int:
    return address.network.prefixlen


def _link(message: Any) -> Link:
    info = message.get_attr("IFLA_LINKINFO")
    return Link(
        index=int(message["index"]),
        name=str(message.get_attr("IFLA_IFNAME")),
        kind=str((info.get_attr("IFLA_INFO_KIND") if info else None) or ""),
        mtu=int(message.get_attr("IFLA_MTU")),
        up=bool(message["flags"] & 1),
    )


def _address(message: Any) -> LinkAddress:
    # IFA_LOCAL is the address itself; IFA_ADDRESS is the far end on point-to-point interfaces.
    text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    flags = int(message.get_attr("IFA_FLAGS") or message["flags"])
    return LinkAddress(
        index=int(message["index"]),
        address=ip_interface(f"{text}/{message['prefixlen']}"),
        scope=int(message["scope"]),
        passing=bool(flags & (_TEMPORARY | _DEPRECATED | _TENTATIVE)) and message["family"] == socket.AF_INET6,
    )
