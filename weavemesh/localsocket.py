"""A unix socket for local callers: opened so that only root gets at it, and never taken from a live agent.

What is said over it is the business of `weavemesh.api.server` and `weavemesh.cni.server`.
"""

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from weavemesh.error import UserError

SOCKET_PATH_BYTES_MAX = 107
"""sun_path has 108 octets, the last one 0 (unix(7))."""

_BACKLOG = 4096  # the kernel takes the smaller of this and net.core.somaxconn
_BESIDE = ".new"
_NO_DESCRIPTORS_PAUSE_S = 0.1
_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class LocalSocket:
    """Listens from `open` to `close`."""

    def __init__(self, listener: socket.socket, path: Path) -> None:
        self._listener = listener
        self._path = path
        self._inode = path.stat().st_ino
        self._pause: asyncio.TimerHandle | None = None

    @classmethod
    def open(cls, path: Path) -> Self:
        """Listen at `path` (mode 0600). The socket of a dead agent is replaced.

        UserError: a live one listens there, the path is too long, or the folder refuses.
        """
        if len(os.fsencode(path)) > SOCKET_PATH_BYTES_MAX - len(_BESIDE):
            raise UserError(
                f"the path of the socket {path} is too long", remedy="choose a shorter run folder with --run-dir"
            )
        if _is_live(path):
            raise UserError(
                f"another weavemesh agent already listens on {path}",
                remedy="stop that one with `weavemesh stop`, or give this one another --run-dir",
            )
        try:
            return cls(_listen(path), path)
        except OSError as error:
            raise UserError(
                f"cannot listen on {path}: {error.strerror or error}", remedy="see that the run folder can be written"
            ) from error

    async def accept(self) -> socket.socket:
        """The next caller; waits while the process has no descriptor or memory left for one."""
        while True:
            try:
                connection, _ = await asyncio.get_running_loop().sock_accept(self._listener)
            except OSError as error:
                if error.errno not in _OUT_OF_RESOURCES:
                    raise
                await asyncio.sleep(_NO_DESCRIPTORS_PAUSE_S)
            else:
                connection.setblocking(False)
                return connection

    def attend(self, on_caller: Callable[[socket.socket], None]) -> None:
        """From now until `ignore`, call back with each caller: at once, with no task to be woken between.

        Instead of `accept`. Pauses while the process has no descriptor or memory left for another one.
        """
        asyncio.get_running_loop().add_reader(self._listener.fileno(), self._take, on_caller)

    def ignore(self) -> None:
        """Leave callers in the kernel's queue until `attend`; again does nothing."""
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._listener.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())

    def _take(self, on_caller: Callable[[socket.socket], None]) -> None:
        """One at a time: what is to be done for it goes before the next one."""
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:
            self.ignore()
            self._pause = asyncio.get_running_loop().call_later(_NO_DESCRIPTORS_PAUSE_S, self.attend, on_caller)
            return
        connection.setblocking(False)
        on_caller(connection)

    def close(self) -> None:
        """Listen no longer and remove the socket, unless another agent has put its own there; again does nothing."""
        self._listener.close()
        with suppress(FileNotFoundError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()


def _is_live(path: Path) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except BlockingIOError:
            return True  # alive, its backlog is full
        except OSError:
            return False
        return True


def _listen(path: Path) -> socket.socket:
    """Bound beside and renamed into place: the path is never without a socket nor one that others can open."""
    beside = path.with_name(f"{path.name}{_BESIDE}")
    beside.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.setblocking(False)
        mask = os.umask(0o177)
        try:
            listener.bind(os.fspath(beside))
        finally:
            os.umask(mask)
        listener.listen(_BACKLOG)
        beside.replace(path)
    except OSError:
        listener.close()
        raise
    return listener
