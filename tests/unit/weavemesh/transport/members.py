"""Members of a mesh, strangers and raw sockets, for the tests of links."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from weavemesh.certificate import LeafIssuer, MembershipAuthority
from weavemesh.identity import Identity
from weavemesh.transport.connection import StreamConnection
from weavemesh.transport.link import Connection
from weavemesh.transport.listener import ControlListener
from weavemesh.transport.stream import StreamTransport

OURS = MembershipAuthority.from_seed(b"\x01" * 32)
THEIRS = MembershipAuthority.from_seed(b"\x02" * 32)
MONTH_S = 30 * 24 * 3600.0


def issuer(authority: MembershipAuthority = OURS, *, clock_off_s: float = 0.0) -> LeafIssuer:
    """A new peer with the secret behind this authority and a clock that is this much ahead."""
    return LeafIssuer(
        identity=Identity.generate(nickname="test"), authority=authority, clock=lambda: time.time() + clock_off_s
    )


@asynccontextmanager
async def listening(
    peer: LeafIssuer | None = None, *, host: str | None = "127.0.0.1"
) -> AsyncIterator[ControlListener]:
    """A peer that accepts links."""
    listener = await ControlListener.open(0, issuer=peer or issuer(), host=host)
    try:
        yield listener
    finally:
        listener.close()
        await until(lambda: listener.half_open == 0)


@asynccontextmanager
async def linked(
    dialer: LeafIssuer | None = None, acceptor: LeafIssuer | None = None
) -> AsyncIterator[tuple[StreamConnection, StreamConnection]]:
    """Both ends of an open link: the dialing one, the accepting one."""
    async with listening(acceptor) as listener:
        near = await StreamTransport(dialer or issuer()).dial("127.0.0.1", listener.port)
        far = await listener.accept()
        try:
            yield near, far
        finally:
            for end in (near, far):
                end.close("the test is over")
            for end in (near, far):
                await end.wait_closed()


@asynccontextmanager
async def raw(
    port: int, *, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Somebody who connects without knowing what a link is."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def until(condition: Callable[[], bool], *, within_s: float = 10.0) -> None:
    """Return when the condition holds; TimeoutError if it does not come to."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  # of things that tell nobody when they change
            await asyncio.sleep(0.002)


class _Enough(Exception):
    pass


async def received(connection: Connection, count: int | None = None) -> list[bytes]:
    """What comes until the link ends, or so many frames of it."""
    frames: list[bytes] = []

    def hear(frame: bytes) -> None:
        frames.append(frame)
        if len(frames) == count:
            raise _Enough

    with suppress(_Enough):
        await connection.read(hear)
    return frames
