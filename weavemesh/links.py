"""Control links: performs what the gossip core asks for over a transport, and tells it what came of it.

Holds no protocol: whom to dial and when to close is `gossip.Mesh`'s business, encryption and admission are
`weavemesh.transport`'s.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from itertools import count
from logging import INFO

from gossip import (
    CloseLink,
    Dial,
    DialFailed,
    FrameReceived,
    LinkBlocked,
    LinkClosed,
    LinkFree,
    LinkId,
    LinkOpened,
    SendFrame,
    Target,
)
from weavemesh.logs import Event, log
from weavemesh.transport.address import split_address
from weavemesh.transport.failure import LinkFailed
from weavemesh.transport.link import Connection, Listener, Transport

DIAL_TIMEOUT_S = 5.0
"""Until TCP answers; a path of 1 s round trip still gets through."""

LinkInput = LinkOpened | LinkClosed | LinkBlocked | LinkFree | DialFailed | FrameReceived
LinkOutput = Dial | SendFrame | CloseLink


class ControlLinks:
    """All links of this peer. `feed` takes what happens on them to the core."""

    def __init__(self, transport: Transport, feed: Callable[[LinkInput], None]) -> None:
        self._transport = transport
        self._feed = feed
        self._numbers = count(1)
        self._open: dict[LinkId, Connection] = {}
        self._group: asyncio.TaskGroup | None = None
        self._put_off: list[Target] = []
        """Dials asked for before `run` has begun."""
        self.failures: dict[Target, LinkFailed] = {}
        """Why the last dial of a target failed; a target that was reached since is not in it."""
        self.terminations = 0
        """Links that have ended."""

    async def run(self, listener: Listener) -> None:
        """Accept links until cancelled; then all links are closed with a goodbye."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for target in self._put_off:
                    group.create_task(self._dial(target))
                self._put_off.clear()
                while True:
                    connection = await listener.accept()
                    group.create_task(self._serve(connection, outbound=False, target=None))
        finally:
            self._group = None
            listener.close()
            for connection in self._open.values():
                connection.close("the agent stops")

    def connections(self) -> tuple[Connection, ...]:
        """The links that stand."""
        return tuple(self._open.values())

    def perform(self, output: LinkOutput) -> None:
        """Do it, without waiting. What is to be dialled before `run` begins is dialled then; after its end, nothing."""
        match output:
            case Dial(target=target):
                if self._group is not None:
                    self._group.create_task(self._dial(target))
                else:
                    self._put_off.append(target)
            case SendFrame(link=link, frame=frame):
                if connection := self._open.get(link):
                    connection.send(frame)
            case CloseLink(link=link, reason=reason):
                if connection := self._open.get(link):
                    connection.close(reason)

    def _congestion_changed(self, link: LinkId, is_congested: bool) -> None:  # noqa: FBT001 - as it is called
        if link in self._open:
            self._feed(LinkBlocked(link) if is_congested else LinkFree(link))

    async def _dial(self, target: Target) -> None:
        try:
            host, port = split_address(target)
            connection = await self._transport.dial(host, port, timeout_s=DIAL_TIMEOUT_S)
        except (LinkFailed, ValueError) as error:
            if isinstance(error, LinkFailed):
                if str(self.failures.get(target)) != str(error):
                    log(INFO, Event.DIAL_FAILED, target=target, reason=error.reason)
                self.failures[target] = error
            self._feed(DialFailed(target, str(error)))
            return
        self.failures.pop(target, None)
        await self._serve(connection, outbound=True, target=target)

    async def _serve(self, connection: Connection, *, outbound: bool, target: Target | None) -> None:
        link = LinkId(next(self._numbers))
        self._open[link] = connection
        address = connection.remote_address
        peer = connection.peer
        log(INFO, Event.LINK_OPENED, link=link, peer=peer, address=address, outbound=outbound)
        try:
            self._feed(LinkOpened(link, peer, address, outbound, target))
            connection.watch_congestion(partial(self._congestion_changed, link))
            await connection.read(lambda frame: self._feed(FrameReceived(link, frame)))
            reason = str(connection.ending)
            log(INFO, Event.LINK_CLOSED, link=link, peer=peer, reason=reason)
            self._feed(LinkClosed(link, reason))
        finally:
            connection.close("the agent stops")
            del self._open[link]
            self.terminations += 1
        await connection.wait_closed()
