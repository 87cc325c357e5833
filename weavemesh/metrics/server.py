"""Serves `GET /metrics` over TCP, to whoever reaches the address: so everything that a caller can cost is bounded.

Nothing is read but a head of a few KiB, nobody is listened to for longer than a few seconds, a flood of callers gets
one answer a second from the same text. Names are answered by `weavemesh.metrics.family`, in the format of
`weavemesh.metrics.exposition`.
"""

import asyncio
import errno
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Self

from weavemesh.error import UserError
from weavemesh.overlay.state import Endpoint
from weavemesh.status import StatusReport

PATH: Final = "/metrics"
HEAD_BYTES_MAX: Final = 8 * 1024
"""Prometheus sends about 300 octets."""
CONNECTIONS_MAX: Final = 16
"""At once: a few Prometheus servers and a person. Further callers are hung up on."""
RECEIVE_S: Final = 5.0
"""For the whole request."""
SEND_S: Final = 10.0
"""For the caller to take the answer, half a MiB in a mesh of a thousand peers."""
FRESH_S: Final = 1.0
"""For this time an answer is good for all that ask; Prometheus comes every 15 to 60 s."""

_BACKLOG: Final = 32
_RECEIVE_BYTES: Final = 4096
_PAUSE_S: Final = 0.1
_OUT_OF_RESOURCES: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

Write = Callable[[StatusReport], bytes]


class MetricsServer:
    """Listens from `open` to the end of the `with`; serves while `serve` runs."""

    def __init__(self, listener: socket.socket | None, write: Write | None, content_type: str) -> None:
        self._listener = listener
        self._write = write
        self._content_type = content_type
        self._open_connections = 0
        self._making = asyncio.Lock()
        self._made: tuple[float, bytes] = (float("-inf"), b"")

    @classmethod
    def open(cls, address: Endpoint | None) -> Self:
        """Listen at the address; one that never has callers for None. UserError if that cannot be."""
        if address is None:
            return cls(None, None, "")
        try:
            from weavemesh.metrics import exposition
        except ImportError as error:
            raise UserError(
                f"--metrics-addr needs the Python package prometheus-client, which is not installed ({error})",
                remedy="install it (`pip install prometheus-client`), or leave the option out",
            ) from error
        return cls(_listen(address), exposition.exposition, exposition.CONTENT_TYPE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Listen no longer; again does nothing."""
        if self._listener is not None:
            self._listener.close()

    @property
    def port(self) -> int | None:
        """On which it listens."""
        return None if self._listener is None else int(self._listener.getsockname()[1])

    async def serve(self, status: Callable[[], Awaitable[StatusReport]]) -> None:
        """Answer until cancelled."""
        if self._listener is None:
            await asyncio.Event().wait()
            return
        async with asyncio.TaskGroup() as connections:
            while True:
                connection = await _accept(self._listener)
                if self._open_connections >= CONNECTIONS_MAX:
                    connection.close()
                    continue
                self._open_connections += 1
                connections.create_task(self._converse(connection, status))

    async def _converse(self, connection: socket.socket, status: Callable[[], Awaitable[StatusReport]]) -> None:
        try:
            with connection, suppress(OSError, TimeoutError):
                async with asyncio.timeout(RECEIVE_S):
                    code, body = await _receive(connection)
                if code == 200:
                    body = await self._text(status)
                await _send(connection, code, body, self._content_type if code == 200 else "text/plain; charset=utf-8")
        finally:
            self._open_connections -= 1

    async def _text(self, status: Callable[[], Awaitable[StatusReport]]) -> bytes:
        """Made by one caller at a time, in a thread: the agent goes on meanwhile."""
        assert self._write is not None
        async with self._making:
            made_at, text = self._made
            if time.monotonic() - made_at < FRESH_S:
                return text
            text = await asyncio.to_thread(self._write, await status())
            self._made = (time.monotonic(), text)
            return text


def _listen(address: Endpoint) -> socket.socket:
    family = socket.AF_INET6 if address.address.version == 6 else socket.AF_INET
    listener: socket.socket | None = None
    try:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((str(address.address), address.port))
        listener.listen(_BACKLOG)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise UserError(
            f"metrics cannot be served at {address.text()}: {error.strerror or error}",
            remedy="choose another address or port with --metrics-addr (WEAVEMESH_METRICS_ADDR), or none",
        ) from error
    return listener


async def _accept(listener: socket.socket) -> socket.socket:
    """The next caller; waits while the process has no descriptor or memory left for one."""
    while True:
        try:
            connection, _ = await asyncio.get_running_loop().sock_accept(listener)
        except OSError as error:
            if error.errno not in (*_OUT_OF_RESOURCES, errno.ECONNABORTED):
                raise
            await asyncio.sleep(_PAUSE_S)
        else:
            connection.setblocking(False)
            return connection


async def _receive(connection: socket.socket) -> tuple[int, bytes]:
    """The head of one request, judged: 200, or what to answer. OSError if the caller went away."""
    import h11  # only when somebody asks: an agent that starts is in a hurry

    loop = asyncio.get_running_loop()
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)
    while True:
        try:
            event = parser.next_event()
        except h11.RemoteProtocolError as error:
            return error.error_status_hint, b"this is no HTTP request\n"
        if event is h11.NEED_DATA:
            parser.receive_data(await loop.sock_recv(connection, _RECEIVE_BYTES))
        elif isinstance(event, h11.Request):
            if event.target.partition(b"?")[0] != PATH.encode():
                return 404, b"there is only /metrics here\n"
            return (200, b"") if event.method == b"GET" else (405, b"use GET\n")
        else:  # opened and closed without a word
            raise ConnectionResetError


async def _send(connection: socket.socket, status: int, body: bytes, content_type: str) -> None:
    import h11  # see `_receive`

    headers = [("Content-Type", content_type), ("Content-Length", str(len(body))), ("Connection", "close")]
    # A fresh h11 state may answer before it has seen a request (RFC 9110, §15.5.9: a server may answer early).
    head = h11.Connection(h11.SERVER).send(h11.Response(status_code=status, headers=headers)) or b""
    async with asyncio.timeout(SEND_S):
        await asyncio.get_running_loop().sock_sendall(connection, head + body)
