"""Tells when the host's addresses or routes may have changed: the kernel's own messages, not a clock."""

import asyncio
import socket
from typing import Final, Self

_GROUPS: Final = 0x10 | 0x40 | 0x100 | 0x400  # rtnetlink(7): addresses and routes of IPv4 and IPv6
_RECEIVE_BYTES: Final = 1 << 16


class AddressWatch:
    """Belongs to the network namespace of the thread that opened it."""

    def __init__(self, receiver: socket.socket) -> None:
        self._socket = receiver
        self._changed = asyncio.Event()
        asyncio.get_running_loop().add_reader(receiver, self._hear)

    @classmethod
    def open(cls) -> Self:
        """From now on. OSError where the kernel does not let us."""
        receiver = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        receiver.setblocking(False)
        receiver.bind((0, _GROUPS))
        return cls(receiver)

    async def changed(self) -> None:
        """Returns when something has changed since the last return."""
        await self._changed.wait()
        self._changed.clear()

    def close(self) -> None:
        """Watch no more."""
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _hear(self) -> None:
        try:
            while self._socket.recv(_RECEIVE_BYTES):
                self._changed.set()
        except BlockingIOError:
            return
        except OSError:  # more than it could hold: then something has changed
            self._changed.set()
