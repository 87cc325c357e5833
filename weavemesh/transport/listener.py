"""The accepting side of links: whoever is no member costs little, learns nothing and does not fill the log.

Anyone in the world can connect here. What comes out of `accept` are members of the mesh, everything else ends here.
Counterpart: `StreamTransport.dial`.
"""

import asyncio
import errno
import logging
import socket
import time
from collections import Counter, OrderedDict
from typing import Final, Self

from msgspec import Struct
from msgspec.structs import replace

from weavemesh.certificate import LeafIssuer
from weavemesh.error import UserError
from weavemesh.logs import Event, log
from weavemesh.transport.address import CONTROL_PORT
from weavemesh.transport.connection import StreamConnection
from weavemesh.transport.failure import Failure, LinkFailed

HALF_OPEN_MAX: Final = 128
"""Handshakes at once. One takes about 5 ms of a core, so that many are two thirds of a second of work; a hub that a
hundred hosts are told to join at once is to turn none of them away, for they would only dial again.
"""
ACCEPTED_MAX: Final = 64
"""Links that the agent has not taken over yet; it takes them over at once unless it hangs."""
BACKLOG: Final = 1024
"""Connections that wait in the kernel, which may take fewer (net.core.somaxconn)."""
ACCEPT_AT_ONCE: Final = 8
"""Connections taken from the kernel between two looks at the others: else a flood drowns who has just come."""
REFUSALS_MAX: Final = 256
"""Addresses remembered for `status` and for keeping the log short; the one seen longest ago is forgotten."""
LOG_EVERY_S: Final = 60.0
"""A refused address is logged again after this time."""
LOG_LINES_MAX: Final = 20
"""In LOG_EVERY_S, over all addresses: whoever commands a whole network has as many addresses as he likes."""


class Refusal(Struct, frozen=True):
    """Somebody who was not let in."""

    host: str
    """IP address."""
    code: Failure
    reason: str
    """The latest one."""
    times: int
    last_at: float
    """Unix time in seconds."""


class ControlListener:
    """Accepts links on one TCP port; see `weavemesh.transport.link.Listener`."""

    def __init__(self, *, issuer: LeafIssuer, port: int) -> None:
        self.port = port
        self._issuer = issuer
        self._server: asyncio.Server | None = None
        self._half_open: dict[StreamConnection, str] = {}
        """In order of arrival, with the remote host."""
        self._accepted: asyncio.Queue[StreamConnection] = asyncio.Queue(ACCEPTED_MAX)
        self._refusals = RefusalBook()
        self._closed = False

    @classmethod
    async def open(cls, port: int, *, issuer: LeafIssuer, host: str | None = None) -> Self:
        """Listen on a port (0: any free one) of all addresses, IPv6 and IPv4, or of one.

        UserError if the port is taken, may not be used or the address is not ours.
        """
        listening = _listening_socket(host, port)
        listener = cls(issuer=issuer, port=listening.getsockname()[1])
        listener._server = await asyncio.get_running_loop().create_server(
            listener._begin, sock=listening, backlog=ACCEPT_AT_ONCE
        )
        listening.listen(BACKLOG)  # create_server made it as short as its own steps
        return listener

    @property
    def half_open(self) -> int:
        """Connections that are not links: in the handshake, or refused and not gone yet."""
        return len(self._half_open)

    def refusals(self) -> tuple[Refusal, ...]:
        """Who was not let in, latest last."""
        return self._refusals.all()

    async def accept(self) -> StreamConnection:
        return await self._accepted.get()

    def close(self) -> None:
        self._closed = True
        if self._server is not None:
            self._server.close()
        for connection in list(self._half_open):
            connection.abort()
        while not self._accepted.empty():
            self._accepted.get_nowait().close("the agent stops")

    # Observer.

    def made(self, connection: StreamConnection) -> None:
        """Admit to the handshake; where that makes too many, one of the busiest host goes: the oldest that is silent.

        So a flood from one host does not keep others out, and one from many keeps out only who is slower than it.
        """
        self._half_open[connection] = connection.remote_address.rpartition(":")[0].strip("[]")
        if len(self._half_open) > HALF_OPEN_MAX:
            [(busiest, _)] = Counter(self._half_open.values()).most_common(1)
            candidates = [candidate for candidate, host in self._half_open.items() if host == busiest]
            victim = next((one for one in candidates if not one.has_heard), candidates[0])
            victim.fail(LinkFailed(f"more than {HALF_OPEN_MAX} unfinished handshakes", Failure.BUSY))
            victim.abort()
            self._half_open.pop(victim, None)

    def settled(self, connection: StreamConnection) -> None:
        """Hand a link on, note a refusal. A refused one counts as half open until it is gone."""
        host = self._half_open.get(connection, "unknown")
        if connection.ending is not None:
            if not self._closed:
                self._refusals.note(host, connection.ending)
            return
        self._half_open.pop(connection, None)
        try:
            self._accepted.put_nowait(connection)
        except asyncio.QueueFull:
            connection.close("this agent is too busy to take over more links")

    def gone(self, connection: StreamConnection) -> None:
        self._half_open.pop(connection, None)

    def _begin(self) -> StreamConnection:
        return StreamConnection(contexts=self._issuer.contexts(), outbound=False, observer=self)


class RefusalBook:
    """Who was refused, for `status`; and which refusals are worth a line in the log."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, Refusal] = OrderedDict()
        self._logged_at: dict[str, float] = {}
        self._window_start = 0.0
        self._window_lines = 0

    def all(self) -> tuple[Refusal, ...]:
        return tuple(self._entries.values())

    def note(self, host: str, failure: LinkFailed) -> None:
        """Remember, and log the first of an address and then one in LOG_EVERY_S."""
        now = time.time()
        known = self._entries.pop(host, None) or Refusal(host, failure.code, failure.reason, 0, now)
        entry = replace(known, code=failure.code, reason=failure.reason, times=known.times + 1, last_at=now)
        self._entries[host] = entry
        if len(self._entries) > REFUSALS_MAX:
            forgotten, _ = self._entries.popitem(last=False)
            self._logged_at.pop(forgotten, None)
        if self._is_worth_a_line(host):
            log(
                # Who connects and goes away says nothing: a health check of somebody's.
                logging.INFO if failure.code is Failure.LOST else logging.WARNING,
                Event.LINK_REFUSED,
                address=host,
                code=failure.code.value,
                reason=failure.reason,
                times=entry.times,
            )

    def _is_worth_a_line(self, host: str) -> bool:
        now = time.monotonic()
        if now - self._logged_at.get(host, -LOG_EVERY_S) < LOG_EVERY_S:
            return False
        if now - self._window_start >= LOG_EVERY_S:
            self._window_start, self._window_lines = now, 0
        if self._window_lines >= LOG_LINES_MAX:
            return False
        self._window_lines += 1
        self._logged_at[host] = now
        return True


def _listening_socket(host: str | None, port: int) -> socket.socket:
    """On all addresses: IPv6 and IPv4 in one, or IPv4 alone where the kernel has no IPv6."""
    if host is None:
        try:
            return _bind("::", port)
        except OSError as error:
            if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise _unusable(port, error) from error
            host = "0.0.0.0"  # what `::` means where there is no IPv6
    try:
        return _bind(host, port)
    except OSError as error:
        raise _unusable(port, error, host=host) from error


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listening.bind((host, port))
        # Now and not later: of two that bound the same port, the second to listen fails.
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening


def _unusable(port: int, error: OSError, *, host: str = "") -> UserError:
    match error.errno:
        case errno.EADDRINUSE:
            return UserError(
                f"TCP port {port} is taken by another program",
                remedy=f"stop that program (`ss -tlnp sport = :{port}` shows it) or choose another port with --port; "
                f"weavemesh's own is {CONTROL_PORT}",
            )
        case errno.EACCES | errno.EPERM:
            return UserError(f"no permission to use TCP port {port}", remedy="run weavemesh as root")
        case errno.EADDRNOTAVAIL:
            return UserError(f"{host} is no address of this host", remedy="name one that `ip address` shows")
        case _:
            return UserError(
                f"cannot listen on TCP port {port}: {error.strerror or error}", remedy="choose another port"
            )
