"""UDP, as the probes inside the tunnels need it: a thin door over asyncio-dgram.

A datagram that cannot be sent is like one that got lost: counted, not raised. No reliability, no encryption (that is
the tunnel's).
"""

import errno
import socket
from collections.abc import AsyncIterator
from typing import Final, Self, cast

import asyncio_dgram

from weavemesh.error import UserError
from weavemesh.transport.address import plain_host

DATAGRAM_BYTES_MAX: Final = 65507
"""What UDP over IPv4 can carry (RFC 768; 65,535 less two headers)."""


_PMTUDISC_PROBE = 3
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER = 10, 23  # linux/in.h, linux/in6.h


def send_whole(plain: socket.socket) -> None:
    """Have a socket send each datagram whole or not at all, whatever the kernel thinks of the path (IPv4: with DF)."""
    if plain.family == socket.AF_INET:
        plain.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE)
    else:
        plain.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE)


class DatagramSocket:
    """An open UDP socket. Iterate over it to receive; one reader, who must not dawdle: what waits is not bounded."""

    def __init__(self, stream: asyncio_dgram.aio.DatagramServer, *, port: int) -> None:
        self._stream = stream
        self._port = port
        self.lost = 0
        """Datagrams that the kernel would not send, or reported as not delivered."""

    @classmethod
    async def bind(cls, address: str, port: int, *, interface: str | None = None, whole: bool = False) -> Self:
        """A socket on an address and port of ours (0: any), of one interface if that is given.

        `whole`: what it sends is not fragmented (IPv4; see `send_whole`).
        UserError if the port is taken or the address is not ours.
        """
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        plain = socket.socket(family, socket.SOCK_DGRAM)
        try:
            plain.setblocking(False)
            if interface is not None:
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
            if whole:
                send_whole(plain)
            plain.bind((address, port))
        except OSError as error:
            plain.close()
            why = (
                "is taken by another program"
                if error.errno == errno.EADDRINUSE
                else f"cannot be used: {error.strerror}"
            )
            raise UserError(f"UDP port {port} of {address} {why}", remedy="free it or choose another port") from error
        port = plain.getsockname()[1]
        stream = await asyncio_dgram.from_socket(plain)
        assert isinstance(stream, asyncio_dgram.aio.DatagramServer)
        return cls(stream, port=port)

    @property
    def port(self) -> int:
        return self._port

    async def send(self, content: bytes, to: tuple[str, int]) -> None:
        """Send one datagram to an IP address and port; waits only while the kernel's buffer is full."""
        assert len(content) <= DATAGRAM_BYTES_MAX, f"a datagram of {len(content)} bytes"
        while True:
            try:
                return await self._stream.send(content, to)
            except asyncio_dgram.TransportClosed:
                return None
            except OSError:
                # The failure of an earlier one (asyncio-dgram 3.0, `DatagramStream.exception`): this one was not tried.
                self.lost += 1

    async def __aiter__(self) -> AsyncIterator[tuple[bytes, tuple[str, int]]]:
        """Each datagram with the IP address and port it came from; ends when the socket is closed."""
        while True:
            try:
                content, source = await self._stream.recv()
            except asyncio_dgram.TransportClosed:
                return
            except OSError:
                self.lost += 1
                continue
            host, port, *_ = cast("tuple[str, int]", source)
            yield content, (plain_host(host), port)

    def close(self) -> None:
        """Free the port; again does nothing."""
        self._stream.close()


def refuse_taken_port(port: int) -> None:
    """UserError if another program has this UDP port of the host, in IPv4 or IPv6.

    For the tunnel device, which would fail only later and less clearly; another may still be faster.
    """
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as plain:
                if family == socket.AF_INET6:
                    plain.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                plain.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise UserError(
                    f"UDP port {port} is taken by another program",
                    remedy="free it or choose another with --port, which moves TCP and UDP together",
                ) from error
