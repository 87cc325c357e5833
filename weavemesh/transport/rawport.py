"""UDP datagrams from and to ports that belong to another: those of the WireGuard device, and relay ports.

Through raw sockets: what is sent has the device's port as its source, so that every translator and firewall on the way
takes it for the device's own; what arrives there is seen beside the device. A filter in the kernel passes only
datagrams that begin with the magic of knocks, to our ports. Needs the right to open raw sockets (CAP_NET_RAW).
"""

import asyncio
import ctypes
import errno
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Self

from weavemesh.error import UserError
from weavemesh.overlay.state import Endpoint

QUEUE_MAX: Final = 4096
"""Datagrams that wait to be read; more are lost, as on any wire."""
_RECEIVE_BYTES: Final = 2048
_RECEIVED_AT_ONCE_MAX: Final = 512
"""More than the kernel keeps for one socket, as it comes; others have their turn after them."""
_UDP = struct.Struct(">HHHH")
_SO_ATTACH_FILTER: Final = 26
_IPV6_CHECKSUM: Final = 7
_IP_PKTINFO: Final = 8
_IPV6_RECVPKTINFO, _IPV6_PKTINFO = 49, 50
_DONT_FRAGMENT: Final = 3  # IP_PMTUDISC_PROBE: set DF, whatever is thought of the path


class RawPort:
    """Raw sockets of both families, as far as the host has them. Iterate to receive; one reader."""

    def __init__(self, sockets: dict[int, socket.socket], *, port: int) -> None:
        self._sockets = sockets
        self._port = port
        self._arrived: asyncio.Queue[tuple[bytes, Endpoint, Endpoint]] = asyncio.Queue(QUEUE_MAX)
        self.lost = 0
        """Datagrams that the kernel would not send, or that nobody read in time."""
        loop = asyncio.get_running_loop()
        for version, one in sockets.items():
            loop.add_reader(one, self._receive, version, one)

    @classmethod
    def open(cls, *, port: int, others: range, magic: bytes) -> Self:
        """For datagrams at this port and at these others that begin with four bytes of magic. UserError without the
        right to do so."""
        sockets: dict[int, socket.socket] = {}
        try:
            for version, family in ((4, socket.AF_INET), (6, socket.AF_INET6)):
                with suppress(_NoFamily):
                    sockets[version] = _open(version, family, port, others, magic)
        except PermissionError as error:
            for one in sockets.values():
                one.close()
            raise UserError(
                "paths to other peers cannot be looked for: raw sockets are not allowed here",
                remedy="run it as root (it needs CAP_NET_RAW)",
            ) from error
        return cls(sockets, port=port)

    def send(self, content: bytes, to: Endpoint, *, local: Endpoint | None = None) -> None:
        """Send from our port, or from `local`: an address of ours and one of the other ports. Never waits."""
        one = self._sockets.get(to.address.version)
        if one is None:
            self.lost += 1
            return
        source = self._port if local is None else local.port
        # No checksum in IPv4 (RFC 768), where it depends on an address that only routing knows; IPv6 fills it in.
        datagram = _UDP.pack(source, to.port, _UDP.size + len(content), 0) + content
        try:
            one.sendmsg([datagram], _from(local), 0, (str(to.address), 0))
        except OSError:
            self.lost += 1

    async def __aiter__(self) -> AsyncIterator[tuple[bytes, Endpoint, Endpoint]]:
        """Each datagram with where it came from and where it arrived."""
        while True:
            yield await self._arrived.get()

    def close(self) -> None:
        """Let go of the sockets; again does nothing."""
        loop = asyncio.get_running_loop()
        for one in self._sockets.values():
            loop.remove_reader(one)
            one.close()
        self._sockets = {}

    def _receive(self, version: int, one: socket.socket) -> None:
        """Take all that is there: what is left for the next turn is the older the less this host gets to do, and a
        question that has waited too long is answered in vain."""
        for _ in range(_RECEIVED_AT_ONCE_MAX):
            try:
                content, ancillary, _, address = one.recvmsg(_RECEIVE_BYTES, 128)
            except BlockingIOError:
                return
            except OSError:
                continue  # the failure of an earlier one
            self._take(version, content, ancillary, address)

    def _take(
        self, version: int, content: bytes, ancillary: list[tuple[int, int, bytes]], address: tuple[str, int]
    ) -> None:
        local: IPv4Address | IPv6Address
        if version == 4:
            header = (content[0] & 15) * 4
            local, source_address = IPv4Address(content[16:20]), IPv4Address(content[12:16])
            content = content[header:]
            source: IPv4Address | IPv6Address = source_address
        else:
            packed = next((data for _, kind, data in ancillary if kind == _IPV6_PKTINFO), bytes(20))
            local, source = IPv6Address(packed[:16]), IPv6Address(address[0].partition("%")[0])
        source_port, local_port, length, _ = _UDP.unpack_from(content)
        if source_port == 0:
            return
        try:
            self._arrived.put_nowait(
                (content[_UDP.size : length], Endpoint(source, source_port), Endpoint(local, local_port))
            )
        except asyncio.QueueFull:
            self.lost += 1


class _NoFamily(Exception):
    """This kernel lacks the family."""


def _open(version: int, family: int, port: int, others: range, magic: bytes) -> socket.socket:
    try:
        one = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_UDP)
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT:
            raise _NoFamily from error
        raise
    one.setblocking(False)
    program = _filter(version, port, others, magic)
    buffer = ctypes.create_string_buffer(program)
    one.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(program) // 8, ctypes.addressof(buffer)))
    if version == 4:
        one.setsockopt(socket.IPPROTO_IP, 10, _DONT_FRAGMENT)  # IP_MTU_DISCOVER
    else:
        one.setsockopt(socket.IPPROTO_IPV6, _IPV6_CHECKSUM, 6)
        one.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
    return one


def _filter(version: int, port: int, others: range, magic: bytes) -> bytes:
    """Classic BPF (linux/filter.h): a raw IPv4 socket shows the IP header first, an IPv6 one begins with UDP's."""
    word, half = (0x40, 0x48) if version == 4 else (0x20, 0x28)  # relative to X, or absolute
    first = [(0xB1, 0, 0, 0)] if version == 4 else [(0x00, 0, 0, 0)]  # X = length of the IP header; else nothing
    low, high = (others.start, others.stop - 1) if others else (port, port)
    steps = [
        *first,
        (word, 0, 0, 8),
        (0x15, 0, 5, int.from_bytes(magic, "big")),
        (half, 0, 0, 2),
        (0x15, 2, 0, port),
        (0x35, 0, 2, low),
        (0x25, 1, 0, high),
        (0x06, 0, 0, 0x40000),
        (0x06, 0, 0, 0),
    ]
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def _from(local: Endpoint | None) -> list[tuple[int, int, bytes]]:
    """The control message that makes an address of ours the source."""
    if local is None:
        return []
    if local.address.version == 4:
        return [(socket.IPPROTO_IP, _IP_PKTINFO, struct.pack("=i4s4x", 0, local.address.packed))]
    return [(socket.IPPROTO_IPV6, _IPV6_PKTINFO, struct.pack("=16si", local.address.packed, 0))]
