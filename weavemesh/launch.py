"""Starts the agent in the background and waits until it is ready or says why it is not.

Not here: what happens in the new process (`weavemesh.foreground`, the counterpart: it reports on a pipe, so that no
log is read to learn how a start went), and how an agent is found and ended (`weavemesh.process`).
"""

import os
import select
import signal
import site
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct

import weavemesh
from weavemesh.api.client import AgentNotRunning, ApiClient
from weavemesh.api.message import SOCKET_NAME
from weavemesh.error import UserError
from weavemesh.file import PRIVATE_FOLDER_MODE, PRIVATE_MODE, make_folder, unwritable
from weavemesh.foreground import NOTIFY_ENV, REPORT_ENV, StartReport

LOG_NAME = "agent.log"
"""In the run folder: standard output and error of an agent in the background."""

LOG_BYTES_MAX = 8 * 1024 * 1024
"""A longer log is put aside at the next start; one old one is kept. The run folder is usually in memory."""

LOOK_S = 0.2
"""Between two looks at how far the start is."""

_REPORT_BYTES_MAX = 64 * 1024
_TAIL_BYTES = 4096


class Ready(Struct, frozen=True):
    """The agent is ready; its sentence."""

    sentence: str


class NotYet(Struct, frozen=True):
    """The agent runs but is not ready; what it waits for."""

    sentence: str


class Refused(Struct, frozen=True):
    """The agent runs but will never be ready; why, and what to do."""

    sentence: str
    remedy: str


class StartingAgent:
    """A new process that has not said yet how its start went."""

    def __init__(self, process: "subprocess.Popen[bytes]", pipe: int, run_dir: Path) -> None:
        self.pid = process.pid
        self._process = process
        self._pipe = pipe
        self._log = run_dir / LOG_NAME
        self._api = ApiClient(run_dir / SOCKET_NAME)
        self._known = 0
        self._last_step = "it is starting"

    @classmethod
    def start(cls, command: Sequence[str], *, run_dir: Path, environment: Mapping[str, str]) -> "StartingAgent":
        """Run the command in its own session, detached from this terminal. UserError if that cannot be."""
        make_folder(run_dir, mode=PRIVATE_FOLDER_MODE)
        log = _open_log(run_dir / LOG_NAME)
        ours, theirs = os.pipe()
        own = {name: value for name, value in environment.items() if name != NOTIFY_ENV}
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={**own, REPORT_ENV: str(theirs)},
                pass_fds=(theirs,),
                start_new_session=True,
            )
        except OSError as error:
            os.close(ours)
            raise UserError(f"cannot start {command[0]}: {error.strerror}", remedy="reinstall weavemesh") from error
        finally:
            os.close(log)
            os.close(theirs)
        return cls(process, ours, run_dir)

    def wait(self, *, patience_s: float, on_progress: Callable[[str], None] | None) -> Ready | NotYet | Refused:
        """Wait until the agent is ready or knows that it never will be, at most `patience_s` (it goes on alone then).

        UserError with the agent's own words if its start failed, or with the last line of its log if it just died.
        """
        until = time.monotonic() + patience_s
        while (left := until - time.monotonic()) > 0:
            if select.select([self._pipe], [], [], min(left, LOOK_S))[0]:
                return self._outcome()
            if (refused := self._look(on_progress)) is not None:
                return refused
        return NotYet(self._last_step)

    def give_up(self) -> None:
        """End the process that was started, with all it started."""
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def leave(self) -> None:
        """Let it run on without us."""
        os.close(self._pipe)
        self._process.returncode = 0  # else Popen complains at exit that nobody waited for a process that shall live

    def _look(self, on_progress: Callable[[str], None] | None) -> Refused | None:
        try:
            readiness = self._api.ready(known=self._known, wait_s=0.0)
        except UserError as error:
            if not isinstance(error, AgentNotRunning):
                self._last_step = str(error)
            return None
        self._known = readiness.known
        for step in readiness.steps:
            self._last_step = step
            if on_progress is not None and not readiness.ready:
                on_progress(step)
        refusal = readiness.refusal
        return None if refusal is None else Refused(refusal.sentence, refusal.remedy)

    def _outcome(self) -> Ready:
        with open(self._pipe, "rb", closefd=False) as pipe:
            line = pipe.read(_REPORT_BYTES_MAX)
        if not line:
            raise self._unreported(self._process.wait())
        report = msgspec.json.decode(line, type=StartReport)
        if report.remedy is None:
            return Ready(report.sentence)
        self._process.wait()
        raise UserError(report.sentence, remedy=report.remedy, exit_status=report.exit_status)

    def _unreported(self, status: int) -> UserError:
        """The end of a process that said nothing: told to stop, killed, or broken by a bug."""
        if status == 0:
            return UserError("the agent was told to stop before it was ready", remedy="start it again: `weavemesh up`")
        how = f"exit status {status}" if status > 0 else signal.strsignal(-status) or f"signal {-status}"
        return UserError(f"the agent ended unexpectedly ({how}): {_last_line(self._log)}", remedy=f"see {self._log}")


def agent_command(arguments: Sequence[str]) -> list[str]:
    """The command line of an agent in the background: `python -P -m weavemesh up --foreground …`.

    -P keeps the working folder out of the module path (an agent is root; whose folder that is, nobody knows).
    """
    return [sys.executable, "-P", "-m", "weavemesh", "up", "--foreground", *arguments]


def agent_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment in which that command finds this very package, also when it runs from a source folder."""
    home = str(Path(weavemesh.__file__).resolve().parent.parent)
    if home in site.getsitepackages():
        return dict(environment)
    rest = environment.get("PYTHONPATH")
    return {**environment, "PYTHONPATH": f"{home}{os.pathsep}{rest}" if rest else home}


def _open_log(path: Path) -> int:
    try:
        if path.exists() and path.stat().st_size > LOG_BYTES_MAX:
            path.replace(path.with_name(f"{path.name}.1"))
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(path, flags, PRIVATE_MODE)
    except OSError as error:
        raise unwritable(path, error) from error


def _last_line(path: Path) -> str:
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            lines = log.read().decode(errors="replace").split("\n")
    except OSError:
        lines = []
    return next((line.strip() for line in reversed(lines) if line.strip()), "its log is empty")
