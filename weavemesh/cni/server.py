"""The unix socket at which the CNI executable finds the agent: one call and one answer a connection.

Only frames, descriptors, limits and deadlines are here. What a call means is `weavemesh.cni.plugin`'s; who calls, while
an ADD is done, is `weavemesh.cni.caller`'s; the other end of the connection is shim.c.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Self

from weavemesh.cni.caller import Caller
from weavemesh.cni.frame import (
    DESCRIPTORS_MAX,
    REQUEST_HEADER,
    Answer,
    Call,
    FrameError,
    decode_request,
    request_bytes,
)
from weavemesh.cni.plugin import Plugin
from weavemesh.cni.result import NEWEST_VERSION, CniError, ErrorCode, encode_error
from weavemesh.localsocket import LocalSocket
from weavemesh.logs import Event, log

CALLS_MAX = 64
"""At once. More wait, unread, in the kernel's queue of connections."""
RECEIVE_DEADLINE_S = 5.0
"""The executable has read all of its stdin before it connects."""
SEND_DEADLINE_S = 5.0

_RECEIVE_BYTES = 8192
"""At a time: most requests have a few hundred."""


_log = logging.getLogger("weavemesh.cni")


class CniServer:
    """Listens on the socket from `open` to `close`; answers while `serve` runs."""

    def __init__(self, listener: LocalSocket, tombstones: Path) -> None:
        self._listener = listener
        self._tombstones = tombstones
        self._under_way = 0
        self._on_caller: Callable[[socket.socket], None] | None = None
        """While `serve` runs."""

    @classmethod
    def open(cls, path: Path, *, tombstones: Path) -> Self:
        """Listen at `path`; `tombstones` is the folder of DELs that found no agent.

        See LocalSocket.open for what can go wrong.
        """
        return cls(LocalSocket.open(path), tombstones)

    async def serve(self, plugin: Plugin) -> None:
        """Do the DELs that were left, then answer calls until cancelled; ADDs under way are then undone.

        Beside that, collect what is left of containers that are gone.
        """
        await plugin.replay_tombstones(self._tombstones)
        async with asyncio.TaskGroup() as calls:
            calls.create_task(plugin.collector.run())

            def on_caller(connection: socket.socket) -> None:
                self._under_way += 1
                if self._under_way == CALLS_MAX:
                    self._listener.ignore()
                calls.create_task(self._converse(connection, plugin))

            self._on_caller = on_caller
            self._listener.attend(on_caller)
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._on_caller = None
                self._listener.ignore()

    def close(self) -> None:
        """Listen no longer and remove the socket; again does nothing."""
        self._listener.close()

    async def _converse(self, connection: socket.socket, plugin: Plugin) -> None:
        descriptors: list[int] = []
        try:
            with connection:
                call = await _receive(connection, descriptors)
                answer = await self._answer(connection, call, plugin)
                if answer and not await _send(connection, answer):
                    await plugin.retract(answer)
        except (FrameError, OSError, TimeoutError) as error:
            reason = str(error) or "the request did not arrive in time"
            log(logging.WARNING, Event.CONTAINER_FAILED, reason=reason)
        except Exception:  # noqa: BLE001  # the guard of a task: a bug in one call must not end the agent
            _log.exception("the call of a container runtime failed")
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
            if self._under_way == CALLS_MAX and self._on_caller is not None:
                self._listener.attend(self._on_caller)
            self._under_way -= 1

    async def _answer(self, connection: socket.socket, call: Call, plugin: Plugin) -> Answer | None:
        """None if the caller is gone, or has the answer: an ADD that nobody waits for is undone, all else is done."""
        try:
            if call.environment.get("CNI_COMMAND") != "ADD":
                return await plugin.perform(call)
            if self._has_tombstones():
                # Left since we began to listen; perhaps of this very container, which is now made anew.
                await plugin.replay_tombstones(self._tombstones)
            caller = Caller(connection, call.offer)
            answer = await caller.unless_hung_up(plugin.perform(call, player=caller.player()))
            return None if caller.has_answer else answer
        except Exception:  # noqa: BLE001  # as above, but the runtime is told
            _log.exception("the call of a container runtime failed")
            error = CniError(ErrorCode.INTERNAL, "the weavemesh agent failed", "look into its log and report this")
            return Answer(1, encode_error(error, NEWEST_VERSION))

    def _has_tombstones(self) -> bool:
        if not os.access(self._tombstones, os.F_OK):  # as nearly always, and sooner told than by an exception
            return False
        try:
            with os.scandir(self._tombstones) as entries:
                return next(entries, None) is not None
        except OSError:
            return False


async def _receive(connection: socket.socket, descriptors: list[int]) -> Call:
    """One whole request. FrameError, OSError: none came; what descriptors came is in the list all the same."""
    frame = b""
    wanted = REQUEST_HEADER.size
    deadline = asyncio.get_running_loop().time() + RECEIVE_DEADLINE_S
    while len(frame) < wanted:
        try:
            chunk, arrived, flags, _ = socket.recv_fds(
                connection, _RECEIVE_BYTES, DESCRIPTORS_MAX, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            async with asyncio.timeout_at(deadline):
                await _readable(connection)
            continue
        descriptors += arrived
        if flags & socket.MSG_CTRUNC or len(descriptors) > DESCRIPTORS_MAX:
            raise FrameError("the request came with too many descriptors")
        if not chunk:
            raise FrameError("the request is cut off")
        frame += chunk
        if len(frame) >= REQUEST_HEADER.size:
            wanted = request_bytes(frame)
    return decode_request(frame, descriptors)


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    arrived = loop.create_future()
    descriptor = connection.fileno()

    def on_readable() -> None:
        if not arrived.done():
            arrived.set_result(None)

    loop.add_reader(descriptor, on_readable)
    try:
        await arrived
    finally:
        loop.remove_reader(descriptor)


async def _send(connection: socket.socket, answer: Answer) -> bool:
    """False if the caller is gone or does not read."""
    frame = answer.encode()
    try:
        try:
            sent = connection.send(frame)  # nearly always all of it
        except BlockingIOError:
            sent = 0
        if sent < len(frame):
            async with asyncio.timeout(SEND_DEADLINE_S):
                await asyncio.get_running_loop().sock_sendall(connection, frame[sent:])
    except (OSError, TimeoutError):
        return False
    return True
