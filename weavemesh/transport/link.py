"""The face of a link and of what opens links: the same for real streams and for the in-memory twin.

`weavemesh.transport.stream` and `weavemesh.transport.memory` implement it; the agent uses nothing else.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol, Self

from gossip import PeerName
from weavemesh.transport.failure import LinkFailed

INBOX_BYTES_MAX: Final = 4 * 1024 * 1024
"""Beyond this the sender is held back: four of the largest frames."""
INBOX_FRAMES_MAX: Final = 1024
"""Beyond this too: many tiny frames cost more than their bytes."""


class Connection(Protocol):
    """One authenticated link with a member of the mesh."""

    @property
    def peer(self) -> PeerName:
        """Who is at the other end, proven."""
        ...

    @property
    def remote_address(self) -> str:
        """`ip:port` of the other end."""
        ...

    @property
    def local_address(self) -> str:
        """`ip:port` of this end: an address of ours at which the other end's network can perhaps reach us."""
        ...

    @property
    def features(self) -> frozenset[str]:
        """What the other end can do beyond the wire version."""
        ...

    @property
    def ending(self) -> LinkFailed | None:
        """Why the link ended; None while it is up."""
        ...

    @property
    def queued_bytes(self) -> int:
        """Bytes sent that are still waiting in this process."""
        ...

    def send(self, frame: bytes) -> None:
        """Hand over a frame, never waiting. Does nothing on a link that ended.

        A link whose other end does not take what it is sent ends (`Failure.OVERFLOW`), and the iteration with it.
        """
        ...

    def close(self, reason: str) -> None:
        """End the link and tell the other end why; frames sent before still go out. Again does nothing."""
        ...

    def watch_congestion(self, changed: Callable[[bool], None]) -> None:
        """From now call `changed` with True when much waits to be sent, with False when that is over; never at once."""
        ...

    async def wait_closed(self) -> None:
        """Return when nothing of the link is left, soon after its end."""
        ...

    def __aiter__(self) -> Self: ...

    async def __anext__(self) -> bytes:
        """The next frame; the iteration stops when the link has ended, see `ending`. One reader only."""
        ...


class Listener(Protocol):
    """Accepts links."""

    @property
    def port(self) -> int: ...

    async def accept(self) -> Connection:
        """The next link that a member opened. One caller only."""
        ...

    def close(self) -> None:
        """Accept no more; links that were accepted stay. Again does nothing."""
        ...


class Transport(Protocol):
    """Opens and accepts links in the name of one peer."""

    async def dial(self, host: str, port: int, *, timeout_s: float) -> Connection:
        """A link that both ends have agreed to. LinkFailed with the most telling reason if there is none."""
        ...

    async def listen(self, port: int) -> Listener:
        """Accept links on a TCP port of all addresses (0: any free one). UserError if it cannot be had."""
        ...


class Inbox:
    """Frames that arrived and were not read yet; tells when its sender must be held back."""

    def __init__(self, *, hold: Callable[[], None], release: Callable[[], None]) -> None:
        self._hold = hold
        self._release = release
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._held = False
        self._ended = False
        self._arrived = asyncio.Event()

    def put(self, frame: bytes) -> None:
        """Keep a frame for the reader."""
        if self._ended:
            return
        self._frames.append(frame)
        self._bytes += len(frame)
        self._arrived.set()
        if not self._held and (self._bytes > INBOX_BYTES_MAX or len(self._frames) > INBOX_FRAMES_MAX):
            self._held = True
            self._hold()

    def end(self, *, discard: bool) -> None:
        """Let the reader stop after what is there, or at once."""
        self._ended = True
        if discard:
            self._frames.clear()
            self._bytes = 0
        self._arrived.set()

    async def take(self) -> bytes:
        """The next frame. StopAsyncIteration after the last.

        Everybody else has a turn between two frames: a hub that is behind has dozens of links with frames waiting.
        """
        if self._frames:
            await asyncio.sleep(0)
        while not self._frames:
            if self._ended:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        frame = self._frames.popleft()
        self._bytes -= len(frame)
        if self._held and self._bytes <= INBOX_BYTES_MAX // 2 and len(self._frames) <= INBOX_FRAMES_MAX // 2:
            self._held = False
            if not self._ended:
                self._release()
        return frame
