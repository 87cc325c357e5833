"""Tells when the host's addresses or routes may have changed: the kernel's own messages, not a clock."""

import asyncio
import socket
from contextlib import suppress
from typing import Final, Self

_GROUPS: Final = 0x10 | 0x40 | 0x100 | 0x400  # rtnetlink(7): addresses and routes of IPv4 and IPv6
_RECEIVE_BYTES: Final = 1 << 16


class AddressWatch:
    """Belongs to the network namespace of the thread that opened it."""

    def __init__(self, receiver: socket.socket) -> None:
        self._socket = receiver

    @classmethod
    def open(cls) -> Self:
        """From now on. OSError where the kernel does not let us."""
        receiver = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        receiver.setblocking(False)
        receiver.bind((0, _GROUPS))
        return cls(receiver)

    async def changed(self, *, settle_s: float) -> None:
        """Returns when something has changed since the last return, so many seconds after the first change.

        Messages are read only in here, and then: what a pod's coming or going brings about wakes nobody who does not
        wait, and keeps nobody from the container that is waited for.
        """
        loop = asyncio.get_running_loop()
        arrived = loop.create_future()
        loop.add_reader(self._socket.fileno(), self._on_readable, arrived)
        try:
            await arrived
        finally:
            loop.remove_reader(self._socket.fileno())
        await asyncio.sleep(settle_s)
        # Not BlockingIOError alone: it may hold no more (ENOBUFS), and something has changed then too.
        with suppress(OSError):
            while self._socket.recv(_RECEIVE_BYTES):
                pass

    def _on_readable(self, arrived: asyncio.Future[None]) -> None:
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        if not arrived.done():
            arrived.set_result(None)

    def close(self) -> None:
        """Watch no more."""
        self._socket.close()
