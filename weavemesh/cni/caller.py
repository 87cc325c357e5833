"""The CNI executable while the ADD that it called for is done: it may hang up, and it may be given a plan to play.

Not here: how its call arrives and is answered (`weavemesh.cni.server`), what a plan is (`weavemesh.kernel.podplan`).
"""

import asyncio
import logging
import socket
from collections.abc import Coroutine, Sequence
from contextlib import suppress

from weavemesh.cni.frame import Answer, FrameError, decode_outcome, encode_plan
from weavemesh.kernel.podplan import Batch, Player
from weavemesh.logs import Event, log

_RECEIVE_BYTES = 65536


class Caller:
    """One connection, from a whole request to its answer."""

    def __init__(self, connection: socket.socket, offer: int | None) -> None:
        """`offer`: under which number the executable has the container's namespace, if it offers to play."""
        self.netns_fd = -1 if offer is None else offer
        self._connection = connection
        self._task: asyncio.Task[object] | None = None
        self._has_hung_up = False
        self._heard = bytearray()
        self._played: asyncio.Future[bytes] | None = None
        """Waits for the outcome of the plan that is played."""

    def player(self) -> Player | None:
        """This caller as somebody who plays a plan; None if it does not offer to."""
        return self if self.netns_fd >= 0 else None

    async def unless_hung_up(self, work: Coroutine[None, None, Answer]) -> Answer | None:
        """What `work` gives; cancelled, and None, when the executable hangs up, or speaks unasked."""
        self._task = task = asyncio.current_task()
        assert task is not None, "only a task converses"
        loop = asyncio.get_running_loop()
        loop.add_reader(self._connection, self._on_readable)
        try:
            return await work
        except asyncio.CancelledError:
            if not self._has_hung_up or task.uncancel() > 0:  # somebody else wants the task to end
                raise
            log(logging.WARNING, Event.CONTAINER_FAILED, reason="the runtime gave up an ADD; it is undone")
            return None
        finally:
            loop.remove_reader(self._connection)

    async def play(self, batches: Sequence[Batch]) -> bytes:
        """See Player. Nothing comes of it when the executable hangs up: then the one who waits here is cancelled."""
        loop = asyncio.get_running_loop()
        played: asyncio.Future[bytes] = loop.create_future()
        self._played = played
        try:
            with suppress(OSError):  # it has hung up, which is about to be seen
                await loop.sock_sendall(self._connection, encode_plan(batches))
            return await played
        except asyncio.CancelledError:
            if not self._has_hung_up and (played.cancelled() or not played.done()):
                await self._stop()
            raise

    async def _stop(self) -> None:
        """Has the executable send no further batch, and waits until the one that it may be at is done."""
        self._played = stopped = asyncio.get_running_loop().create_future()
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)
        await asyncio.wait([stopped])

    def _on_readable(self) -> None:
        try:
            chunk = self._connection.recv(_RECEIVE_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            chunk = b""
        waiting = self._played if self._played is not None and not self._played.done() else None
        if chunk and waiting is not None:
            self._heard += chunk
            with suppress(FrameError):
                if (outcome := decode_outcome(bytes(self._heard))) is not None:
                    waiting.set_result(outcome)
                return
        asyncio.get_running_loop().remove_reader(self._connection)
        self._has_hung_up = True
        if waiting is not None:
            waiting.set_result(b"")
        assert self._task is not None, "it is read from only while somebody waits"
        self._task.cancel()
