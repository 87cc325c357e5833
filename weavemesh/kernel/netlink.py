"""Links, addresses and routes of one network namespace: one function per thing that weavemesh does, off the event loop.

Each has been tried against a real namespace. It decides nothing. A request may wait for the kernel, so each runs in a
thread, one at a time. The messages are in `linkmessage.py` and `rtnetlink.py`.
"""

import asyncio
import errno
import os
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Final, Self, TypeVar

from weavemesh.kernel import linkmessage, rtnetlink
from weavemesh.kernel.linkmessage import Link, LinkAddress
from weavemesh.kernel.rtnetlink import KernelRoute
from weavemesh.overlay.state import IPInterface

T = TypeVar("T")

PROTOCOL: Final = 87
"""Our routes carry this routing protocol number (rtm_protocol; 5…255 are free for user programs)."""
MAIN_TABLE: Final = 254


class KernelError(Exception):
    """The kernel refused a request."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(reason)
        self.number = number
        """errno."""
        self.reason = reason
        """The kernel's own sentence where it gives one."""


class Netlink:
    """One namespace, open for requests from one event loop."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._speaking = threading.Lock()

    @classmethod
    async def open(cls) -> Self:
        """Requests to the network namespace of the calling thread. Raises OSError."""
        return cls(rtnetlink.open_socket())

    async def close(self) -> None:
        """Close the socket; again does nothing."""
        self._socket.close()

    # -- links ----------------------------------------------------------------------------------------

    async def link(self, name: str) -> Link | None:
        """The interface of that name, or None."""
        try:
            return await self._request(lambda: linkmessage.get_link(self._socket, name))
        except KernelError as error:
            if error.number == errno.ENODEV:
                return None
            raise

    async def links(self) -> tuple[Link, ...]:
        """All interfaces."""
        return await self._request(lambda: linkmessage.dump_links(self._socket))

    async def add_link(self, name: str, *, kind: str) -> int:
        """Make an interface that is down; its index. KernelError EOPNOTSUPP for a kind the kernel lacks."""
        await self._request(lambda: linkmessage.add_link(self._socket, name, kind))
        link = await self.link(name)
        if link is None:
            raise KernelError(errno.ENODEV, f"{name} has vanished")
        return link.index

    async def set_mtu(self, index: int, mtu: int) -> None:
        """Set the MTU in bytes."""
        await self._request(lambda: linkmessage.set_mtu(self._socket, index, mtu))

    async def bring_up(self, index: int) -> None:
        """Let an interface carry packets."""
        await self._request(lambda: linkmessage.bring_up(self._socket, index))

    async def disable_link_local(self, index: int) -> None:
        """No automatic IPv6 link-local address (addr_gen_mode none); takes effect when it next comes up."""
        await self._request(lambda: linkmessage.disable_link_local(self._socket, index))

    async def delete_link(self, index: int) -> None:
        """Delete an interface; one that is gone is fine."""
        await self._ensure(lambda: linkmessage.delete_link(self._socket, index), already=errno.ENODEV)

    # -- addresses ------------------------------------------------------------------------------------

    async def addresses(self, index: int | None = None) -> tuple[LinkAddress, ...]:
        """All addresses, or those of one interface."""
        found = await self._request(lambda: linkmessage.dump_addresses(self._socket))
        return tuple(entry for entry in found if index is None or entry.index == index)

    async def add_address(self, index: int, address: IPInterface) -> None:
        """Give an interface an address, without duplicate address detection; one that it has is fine."""
        await self._ensure(lambda: linkmessage.add_address(self._socket, index, address), already=errno.EEXIST)

    async def remove_address(self, index: int, address: IPInterface) -> None:
        """Take an address from an interface; one that it has not is fine."""
        await self._ensure(
            lambda: linkmessage.remove_address(self._socket, index, address), already=errno.EADDRNOTAVAIL
        )

    # -- routes ---------------------------------------------------------------------------------------

    async def routes(self, *, protocol: int | None = PROTOCOL) -> tuple[KernelRoute, ...]:
        """Routes of both families in all tables: ours, those with another protocol number, or (None) all."""
        return await self._request(lambda: rtnetlink.dump_routes(self._socket, protocol=protocol))

    async def add_routes(
        self, routes: Sequence[KernelRoute], *, replace: bool = False
    ) -> tuple[KernelError | None, ...]:
        """Add routes to the main table; for each what the kernel had against it.

        EEXIST if the same destination and metric is there, unless it is to be replaced.
        """
        return _errors(await self._request(lambda: rtnetlink.add_routes(self._socket, routes, replace=replace)))

    async def remove_routes(self, routes: Sequence[KernelRoute]) -> tuple[KernelError | None, ...]:
        """Take routes of ours away, as they were dumped; for each what the kernel had against it.

        One that is gone is fine.
        """
        outcomes = await self._request(lambda: rtnetlink.remove_routes(self._socket, routes))
        return _errors([0 if number == errno.ESRCH else number for number in outcomes])

    # -- the wire -------------------------------------------------------------------------------------

    async def _request(self, work: Callable[[], T]) -> T:
        """One at a time: also after a caller was cancelled, whose thread goes on to the end. KernelError if refused."""

        def run() -> T:
            with self._speaking:
                return work()

        try:
            return await asyncio.to_thread(run)
        except OSError as error:
            raise KernelError(error.errno or errno.EIO, error.strerror or "unknown") from error

    async def _ensure(self, work: Callable[[], None], *, already: int) -> None:
        """The same for a request whose refusal with the errno `already` means that nothing is left to do."""
        try:
            await self._request(work)
        except KernelError as error:
            if error.number != already:
                raise


def _errors(outcomes: Sequence[int]) -> tuple[KernelError | None, ...]:
    return tuple(KernelError(number, os.strerror(number)) if number else None for number in outcomes)
