"""The CNI executable while the ADD that it called for is done: it may hang up, and it may be given a plan to play.

Not here: how its call arrives and is answered (`weavemesh.cni.server`), what a plan is (`weavemesh.kernel.podplan`).
"""

import asyncio
import logging
import os
import socket
from collections.abc import Coroutine, Sequence
from contextlib import suppress

from weavemesh.cni.frame import Answer, FrameError, decode_outcome, encode_end, encode_plan
from weavemesh.kernel.cpu import current_cpu
from weavemesh.kernel.podplan import Batch, Outcome, Player
from weavemesh.logs import Event, log

_RECEIVE_BYTES = 65536


class Caller:
    """One connection, from a whole request to its answer."""

    def __init__(self, connection: socket.socket, offer: int | None) -> None:
        """`offer`: under which number the executable has the container's namespace, if it offers to play."""
        self.netns_fd = -1 if offer is None else offer
        self.has_answer = False
        """It has been given its answer with the end of a plan, and nothing more is to be said."""
        self._connection = connection
        self._task: asyncio.Task[object] | None = None
        self._has_hung_up = False
        self._heard = bytearray()
        self._outcome: asyncio.Future[Outcome | None] | None = None
        """Of the plan that is played; None: it has hung up."""
        self._answer = b""
        """Sent with the end of the plan, and given if that goes well."""

    def player(self) -> Player | None:
        """This caller as somebody who plays a plan; None if it does not offer to."""
        return self if self.netns_fd >= 0 else None

    async def unless_hung_up(self, work: Coroutine[None, None, Answer]) -> Answer | None:
        """What `work` gives; cancelled, and None, when the executable hangs up, or speaks unasked."""
        self._task = task = asyncio.current_task()
        assert task is not None, "only a task converses"
        loop = asyncio.get_running_loop()
        # By number: of a socket that it does not know yet the loop makes a text first, with four system calls.
        descriptor = self._connection.fileno()
        loop.add_reader(descriptor, self._on_readable)
        try:
            return await work
        except asyncio.CancelledError:
            if not self._has_hung_up or task.uncancel() > 0:  # somebody else wants the task to end
                raise
            log(logging.WARNING, Event.CONTAINER_FAILED, reason="the runtime gave up an ADD; it is undone")
            return None
        finally:
            loop.remove_reader(descriptor)

    def send(self, batches: Sequence[Batch]) -> None:
        """See Player."""
        if self._outcome is None:
            self._outcome = asyncio.get_running_loop().create_future()
        self._say(encode_plan(batches, cpu=current_cpu()))
        os.sched_yield()  # it may have been woken on this CPU, and makes way then: the sooner, the sooner both work

    async def end(self, answer: bytes) -> Outcome:
        """See Player. When the executable hangs up, the one who waits here is cancelled."""
        played = self._outcome
        assert played is not None, "what has begun can end"
        self._answer = answer
        self._say(encode_end(answer))
        is_cancelled = False
        while not played.done():
            try:
                await asyncio.wait([played])
            except asyncio.CancelledError:
                is_cancelled = True  # but nobody may clean up beside it, and it may be giving the answer
        outcome = played.result()
        if outcome is None or (is_cancelled and not self.has_answer):
            raise asyncio.CancelledError
        return outcome

    async def stop(self) -> None:
        """See Player."""
        if self._outcome is not None and not self._outcome.done():
            with suppress(asyncio.CancelledError):  # whoever gives up is being cancelled already
                await self.end(b"")

    def _say(self, frame: bytes) -> None:
        """All at once: there is room for a hundred plans."""
        try:
            is_said = self._connection.send(frame) == len(frame)
        except OSError:
            is_said = False
        if not is_said:  # it has hung up, or is about to
            with suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)

    def _on_readable(self) -> None:
        try:
            chunk = self._connection.recv(_RECEIVE_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            chunk = b""
        waiting = self._outcome if self._outcome is not None and not self._outcome.done() else None
        if chunk and waiting is not None:
            self._heard += chunk
            with suppress(FrameError):
                if (outcome := decode_outcome(bytes(self._heard))) is not None:
                    self._hear(outcome, waiting)
                return
        self._listen_no_longer()
        self._has_hung_up = True
        if waiting is not None:
            waiting.set_result(None)
        assert self._task is not None, "it is read from only while somebody waits"
        self._task.cancel()

    def _hear(self, outcome: Outcome, waiting: asyncio.Future[Outcome | None]) -> None:
        waiting.set_result(outcome)
        if self._answer and not outcome.failure:
            self.has_answer = True
            self._listen_no_longer()  # it has what it came for, and goes

    def _listen_no_longer(self) -> None:
        asyncio.get_running_loop().remove_reader(self._connection.fileno())
