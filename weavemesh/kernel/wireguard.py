"""WireGuard in the kernel, through generic netlink: the socket. The messages are in `wgmessage.py`.

Every request has its own sequence number, and requests that fail because of one peer are the caller's to repeat peer by
peer. What the kernel does takes time in proportion to the peers: requests run in a thread, one at a time.
"""

import asyncio
import errno
import os
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from weavemesh.kernel import wgmessage
from weavemesh.kernel.device import DeviceError, DeviceState
from weavemesh.kernel.netlink import KernelError, Netlink
from weavemesh.kernel.rtnetlink import ACKNOWLEDGE, DUMP, INTERRUPTED, request
from weavemesh.overlay.diff import SetPeer
from weavemesh.overlay.state import DISCARD_KEY, IPNetwork, PrivateKey, PublicKey

T = TypeVar("T")

SYS_NET: Final = Path("/sys/class/net")
_NETLINK_GENERIC: Final = 16
_CONTROLLER: Final = 16
"""Message type of generic netlink's own family (GENL_ID_CTRL)."""
_DUMP_ATTEMPTS: Final = 5
_RECEIVE_BUFFER_BYTES: Final = 1 << 20


class KernelWireGuard:
    """One `wireguard` interface of the namespace in which this was made."""

    datapath = "kernel"
    link_kind = "wireguard"

    def __init__(self, interface: str, netlink: Netlink) -> None:
        self._interface = interface
        self._netlink = netlink
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_GENERIC)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        self._family = 0
        self._speaking = threading.Lock()
        self._threaded = False
        self.requests = 0
        """How many requests that change the device were sent."""

    async def create(self) -> None:
        """See Device."""
        try:
            await self._netlink.add_link(self._interface, kind=self.link_kind)
        except KernelError as error:
            raise DeviceError(error.reason) from error
        self._threaded = False

    async def is_served(self) -> bool:
        """See Device: the kernel itself serves it."""
        return True

    async def read(self) -> DeviceState:
        """See Device. A dump that the kernel calls interrupted is repeated."""
        return await self._in_thread(self._dump)

    async def configure(self, *, private_key: PrivateKey | None, listen_port: int | None) -> None:
        """See Device."""
        message = wgmessage.configure(self._interface, private_key=private_key, listen_port=listen_port)
        await self._change([message])

    async def set_peers(self, changes: Sequence[SetPeer]) -> None:
        """See Device."""
        await self._change(list(wgmessage.set_peers(self._interface, changes)))
        if not self._threaded:
            await self._in_thread(lambda: _thread_napi(self._interface))
            self._threaded = True

    async def renew_peer(self, peer: SetPeer) -> None:
        """See Device."""
        await self._change(list(wgmessage.renew_peer(self._interface, peer)))

    async def discard_allowed_ips(self, allowed_ips: tuple[IPNetwork, ...]) -> None:
        """See Device."""
        taker = SetPeer(DISCARD_KEY, exists=False, preshared_key=None, endpoint=None, allowed_ips=allowed_ips)
        await self.set_peers([taker])
        await self.remove_peer(DISCARD_KEY)

    async def remove_peer(self, public_key: PublicKey) -> None:
        """See Device."""
        await self._change([wgmessage.remove_peer(self._interface, public_key)])

    async def close(self) -> None:
        """See Device."""
        self._socket.close()

    async def _change(self, messages: list[bytes]) -> None:
        def send() -> None:
            for message in messages:
                self.requests += 1
                for _ in request(self._socket, self._family_number(), ACKNOWLEDGE, message):
                    pass

        await self._in_thread(send)

    def _dump(self) -> DeviceState:
        for _ in range(_DUMP_ATTEMPTS):
            question = wgmessage.ask_device(self._interface)
            answers = list(request(self._socket, self._family_number(), DUMP, question))
            if not any(flags & INTERRUPTED for _, flags, _ in answers):
                return wgmessage.decode_device(payload for _, _, payload in answers)
        raise DeviceError("the device changes faster than it can be read")

    def _family_number(self) -> int:
        if not self._family:
            for _, _, payload in request(self._socket, _CONTROLLER, ACKNOWLEDGE, wgmessage.ask_family()):
                self._family = wgmessage.family_in(payload) or self._family
        return self._family

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """One at a time: also after a caller was cancelled, whose thread goes on to the end."""

        def run() -> T:
            with self._speaking:
                return work()

        try:
            return await asyncio.to_thread(run)
        except OSError as error:
            raise DeviceError(_reason(error)) from error


def _thread_napi(interface: str) -> None:
    """Let each peer's packets be decrypted in a thread of its own, which the scheduler can place: for speed only.

    The kernel takes that of a device with peers alone, whose later peers then follow. The files may be those of another
    network namespace (a container that was not given its own): the number tells.
    """
    folder = SYS_NET / interface
    with suppress(OSError):
        if (folder / "ifindex").read_text().strip() == str(socket.if_nametoindex(interface)):
            (folder / "threaded").write_text("1")


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the UDP port is taken by another program"
    return os.strerror(error.errno or errno.EIO)
