"""The face of a link and of what opens links: the same for real streams and for the in-memory twin.

`weavemesh.transport.stream` and `weavemesh.transport.memory` implement it; the agent uses nothing else.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

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

        A link whose other end does not take what it is sent ends (`Failure.OVERFLOW`), and `read` with it.
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

    async def read(self, hear: Callable[[bytes], None]) -> None:
        """Hand each frame to `hear` as it comes; return when the link has ended, see `ending`. One reader only.

        Raises what `hear` raises, and hands over nothing more.
        """
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
    """Frames that arrived and were not read yet; tells when its sender must be held back.

    A frame that finds nobody before it goes to the reader at once: most of what a mesh at rest says are heartbeats, and
    a turn of the event loop costs as much as the heartbeat itself. Of frames that come together each waits a turn after
    the one before: a hub that is behind has dozens of links with frames waiting, and all are to have their turns.
    """

    def __init__(self, *, hold: Callable[[], None], release: Callable[[], None]) -> None:
        self._hold = hold
        self._release = release
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._held = False
        self._ended = False
        self._hear: Callable[[bytes], None] | None = None
        self._turn: asyncio.Handle | None = None
        """The next frame goes out in it."""
        self._read: asyncio.Future[None] | None = None

    def put(self, frame: bytes) -> None:
        """Keep a frame for the reader, until `hand_over`."""
        if self._ended:
            return
        self._frames.append(frame)
        self._bytes += len(frame)
        if not self._held and (self._bytes > INBOX_BYTES_MAX or len(self._frames) > INBOX_FRAMES_MAX):
            self._held = True
            self._hold()

    def hand_over(self) -> None:
        """Give the reader a frame, unless it has yet to take those before: see above."""
        if self._turn is None:
            self._give()

    def end(self, *, discard: bool) -> None:
        """Let the reader stop after what is there, or at once."""
        self._ended = True
        if discard:
            self._frames.clear()
            self._bytes = 0
        if not self._frames:
            self._finish(None)

    async def read(self, hear: Callable[[bytes], None]) -> None:
        """See `Connection.read`."""
        self._hear, self._read = hear, asyncio.get_running_loop().create_future()
        self._give()
        try:
            await self._read
        finally:
            self._hear = None
            if self._turn is not None:
                self._turn.cancel()
                self._turn = None

    def _give(self) -> None:
        """Hand over one frame, and see to what is left."""
        self._turn = None
        if self._hear is None:
            return
        if self._frames:
            frame = self._frames.popleft()
            self._bytes -= len(frame)
            try:
                self._hear(frame)
            except Exception as error:  # noqa: BLE001 - it is the reader's, who waits in `read`
                self._finish(error)
                return
        if self._frames:
            self._turn = asyncio.get_running_loop().call_soon(self._give)
        elif self._ended:
            self._finish(None)
        # Last of all: what was held back may come at once.
        if self._held and self._bytes <= INBOX_BYTES_MAX // 2 and len(self._frames) <= INBOX_FRAMES_MAX // 2:
            self._held = False
            if not self._ended:
                self._release()

    def _finish(self, error: Exception | None) -> None:
        if self._read is None or self._read.done():
            return
        self._hear = None
        if error is None:
            self._read.set_result(None)
        else:
            self._read.set_exception(error)
