"""Runs the agent in this process: takes the lock, remembers the options, and tells who waits how the start went.

Those who wait: systemd (sd_notify(3)), or `weavemesh up` at the other end of a pipe (`weavemesh.launch`). What an
agent does is not known here: it is handed in, `weavemesh.daemon.run_agent` in earnest.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import msgspec

from weavemesh.config import AgentConfig
from weavemesh.error import UserError
from weavemesh.option import Options, save_options, saved_options
from weavemesh.process import AgentLock
from weavemesh.store import LOCK_FILE, StateFolder

REPORT_ENV = "WEAVEMESH_REPORT_FD"
"""Number of the descriptor on which the starter waits for a `StartReport`."""

NOTIFY_ENV = "NOTIFY_SOCKET"
"""sd_notify(3)."""


class StartReport(msgspec.Struct, frozen=True, kw_only=True):
    """How the start went: a sentence, and for a failure the remedy. One line of JSON on the pipe."""

    sentence: str
    remedy: str | None = None
    exit_status: int = 0


class RunAgent(Protocol):
    """The agent itself: runs until it is told to stop, raises UserError if it cannot start."""

    def __call__(self, config: AgentConfig, *, on_ready: Callable[[str], None]) -> Awaitable[None]: ...


def run_in_foreground(
    config: AgentConfig,
    options: Options,
    run_agent: RunAgent,
    *,
    environment: MutableMapping[str, str],
    say: Callable[[str], None],
) -> None:
    """Run the agent until it ends. UserError if it could not start; then the lock is free, the saved options are as
    they were before, and whoever waits has been told."""
    starter = _Starter(environment)
    os.umask(0o077)  # nothing that an agent writes is for others
    with suppress(OSError):
        Path("/proc/self/comm").write_text("weavemesh")  # what `ps -e`, `top` and `pgrep` show
    try:
        _run(config, options, run_agent, starter, say)
    except UserError as error:
        starter.tell(StartReport(sentence=error.sentence, remedy=error.remedy, exit_status=error.exit_status))
        raise
    finally:
        starter.notify("STOPPING=1")


def _run(
    config: AgentConfig, options: Options, run_agent: RunAgent, starter: "_Starter", say: Callable[[str], None]
) -> None:
    lock = AgentLock.take(config.run_dir)
    try:
        with _Remembered(config.state_dir, options) as remembered:

            def on_ready(sentence: str) -> None:
                remembered.keep = True
                starter.tell(StartReport(sentence=sentence))
                starter.notify(f"READY=1\nSTATUS={sentence}")
                say(sentence)

            starter.notify("STATUS=starting")
            asyncio.run(_guarded(run_agent, config, on_ready))
            remembered.keep = True
    finally:
        lock.release()


async def _guarded(run_agent: RunAgent, config: AgentConfig, on_ready: Callable[[str], None]) -> None:
    """A UserError raised in a task of the agent arrives in a group; one sentence is enough for a person."""
    try:
        await run_agent(config, on_ready=on_ready)
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            if error.split(UserError)[1] is not None:
                raise  # a bug among them: all of it is shown
            error = error.exceptions[0]
        raise error from None


class _Remembered:
    """Options are saved before the start, because an agent that waits for its first peer must find its targets again
    after a reboot; a start that fails takes them back. UserError if another agent has the state folder."""

    def __init__(self, state_dir: Path, options: Options) -> None:
        self._state_dir = state_dir
        self._options = options
        self.keep = False

    def __enter__(self) -> "_Remembered":
        self._was_there = self._state_dir.exists()
        self._before: Options | None = None
        with StateFolder.open(self._state_dir):
            with suppress(UserError):  # unreadable ones are replaced on purpose: `up` has asked for it
                self._before = saved_options(self._state_dir)
            try:
                save_options(self._state_dir, self._options)
            except UserError:
                self._sweep()
                raise
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        if self.keep or failure is None or not issubclass(failure, UserError):
            return
        with suppress(UserError), StateFolder.open(self._state_dir):
            save_options(self._state_dir, self._before)
            self._sweep()

    def _sweep(self) -> None:
        """Remove a folder that is there only for our lock; other files in it are whole, and wanted at the next try."""
        if not self._was_there and [entry.name for entry in self._state_dir.iterdir()] == [LOCK_FILE]:
            (self._state_dir / LOCK_FILE).unlink()
            self._state_dir.rmdir()


class _Starter:
    """Whoever waits for the start, if anybody does; taken out of the environment, so that no child speaks for us."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        self._notify_path = environment.pop(NOTIFY_ENV, None)
        number = environment.pop(REPORT_ENV, "")
        self._pipe: int | None = int(number) if number.isdigit() else None
        if self._pipe is not None:
            os.set_inheritable(self._pipe, False)

    def tell(self, report: StartReport) -> None:
        """The first report goes to the pipe and closes it; later ones go nowhere."""
        if self._pipe is None:
            return
        with suppress(OSError):  # the starter has gone away
            os.write(self._pipe, msgspec.json.encode(report) + b"\n")
        os.close(self._pipe)
        self._pipe = None

    def notify(self, state: str) -> None:
        """One datagram to systemd; it may have gone away."""
        if not self._notify_path:
            return
        path = f"\0{self._notify_path[1:]}" if self._notify_path.startswith("@") else self._notify_path
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
            notifier.connect(path)
            notifier.send(state.encode())
