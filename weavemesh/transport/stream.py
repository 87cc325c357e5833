"""Links over TCP and TLS 1.3 in the name of one identity: dialing, and the door to listening (`listener.py`).

What happens on an open link is in `connection.py`; its in-memory twin is `memory.py`.
"""

import asyncio
import errno
import ipaddress
import socket
from contextlib import suppress
from typing import Final, cast

from weavemesh.certificate import LeafIssuer
from weavemesh.transport.connection import StreamConnection
from weavemesh.transport.failure import Failure, LinkFailed
from weavemesh.transport.listener import ControlListener

DIAL_S: Final = 10.0
"""For one target, until somebody answers: its name and its addresses together. A handshake has its own time."""
DIAL_ADDRESSES_MAX: Final = 8
"""Addresses tried of a name that has many."""

Address = tuple[socket.AddressFamily, tuple[str, int]]
"""With an IPv6 address two more numbers follow the port, which only the kernel reads."""


class StreamTransport:
    """Opens links in the name of one identity; see `weavemesh.transport.link.Transport`."""

    def __init__(self, issuer: LeafIssuer) -> None:
        self._issuer = issuer

    async def listen(self, port: int, *, host: str | None = None) -> ControlListener:
        """Accept links, see `ControlListener.open`."""
        return await ControlListener.open(port, issuer=self._issuer, host=host)

    async def dial(self, host: str, port: int, *, timeout_s: float = DIAL_S) -> StreamConnection:
        """A link to whichever address of the host lets us in first, tried one after the other.

        LinkFailed: of several addresses' reasons the one that tells most. Cancelled: nothing is left open.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        addresses = await _resolve(host, port, timeout_s=timeout_s)
        failures: list[LinkFailed] = []
        for index, address in enumerate(addresses):
            share_s = (deadline - loop.time()) / (len(addresses) - index)
            try:
                return await self._dial_address(address, timeout_s=max(share_s, 0.0))
            except LinkFailed as failure:
                failures.append(failure)
        order = list(Failure)
        raise max(failures, key=lambda failure: order.index(failure.code))

    async def _dial_address(self, address: Address, *, timeout_s: float) -> StreamConnection:
        family, sockaddr = address
        loop = asyncio.get_running_loop()
        settling = _Settling()
        plain = socket.socket(family, socket.SOCK_STREAM)
        connection: StreamConnection | None = None
        try:
            plain.setblocking(False)
            async with asyncio.timeout(timeout_s):
                await loop.sock_connect(plain, sockaddr)
            _, connection = await loop.create_connection(
                lambda: StreamConnection(contexts=self._issuer.contexts(), outbound=True, observer=settling),
                sock=plain,
            )
            await settling.done.wait()
        except TimeoutError as error:
            raise LinkFailed(f"no answer within {timeout_s:.1f} s", Failure.TIMEOUT) from error
        except OSError as error:
            raise _unreached(error) from error
        finally:
            if connection is None:
                plain.close()
            elif not settling.done.is_set():
                connection.abort()
        if settling.failure is not None:
            raise settling.failure
        return connection


class _Settling:
    """Tells the dialer when, and with what result, its connection is settled."""

    def __init__(self) -> None:
        self.done = asyncio.Event()
        self.failure: LinkFailed | None = None

    def made(self, connection: StreamConnection) -> None:
        pass

    def settled(self, connection: StreamConnection) -> None:
        self.failure = connection.ending
        self.done.set()

    def gone(self, connection: StreamConnection) -> None:
        pass


async def _resolve(host: str, port: int, *, timeout_s: float) -> list[Address]:
    """The addresses of a host: numbers need no resolver, and so no thread."""
    loop = asyncio.get_running_loop()
    try:
        if _is_number(host):
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        else:
            async with asyncio.timeout(timeout_s):
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError as error:
        raise LinkFailed(f"the name server did not answer within {timeout_s:.1f} s", Failure.DNS) from error
    except socket.gaierror as error:
        why = "the name server does not answer" if error.errno == socket.EAI_AGAIN else "no host of that name is known"
        raise LinkFailed(why, Failure.DNS) from error
    except (OSError, UnicodeError) as error:
        raise LinkFailed(f"its name cannot be looked up ({error})", Failure.DNS) from error
    addresses: list[Address] = [(family, cast("tuple[str, int]", sockaddr)) for family, _, _, _, sockaddr in found]
    return list(dict.fromkeys(addresses))[:DIAL_ADDRESSES_MAX]


def _is_number(host: str) -> bool:
    with suppress(ValueError):
        ipaddress.ip_address(host)
        return True
    return False


def _unreached(error: OSError) -> LinkFailed:
    match error.errno:
        case errno.ECONNREFUSED:
            return LinkFailed("connection refused: no weavemesh listens there, or a firewall rejects", Failure.REFUSED)
        case errno.ETIMEDOUT:
            return LinkFailed("no answer", Failure.TIMEOUT)
        case errno.ECONNRESET | errno.EPIPE:
            return LinkFailed("it closed the connection at once", Failure.LOST)
        case _:
            return LinkFailed(f"cannot be reached: {error.strerror or error}", Failure.UNREACHABLE)
