"""The agent's process as others see it: which one it is, whether it lives, and how it is ended.

The agent holds a lock on a file in its run folder as long as it lives, whatever kills it; the file tells its pid and
when that process started, so that nobody else is ever signalled because a pid was used again. The lock of the *state*
folder is another one (`weavemesh.store`): it protects the files, this one finds the process.
"""

import fcntl
import os
import select
import signal
from contextlib import suppress
from pathlib import Path
from typing import Self

import msgspec

from weavemesh.error import UserError
from weavemesh.file import PRIVATE_FOLDER_MODE, PRIVATE_MODE, make_folder, unwritable

LOCK_NAME = "agent.pid"
"""In the run folder."""

TERM_PATIENCE_S = 10.0
"""An agent ends in well under a second; one that takes this long hangs."""

KILL_PATIENCE_S = 5.0
"""The kernel ends a killed process at once, unless it hangs in a system call."""

_RECORD_BYTES_MAX = 4096
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    """Which process: pid and start time are unique during one boot."""

    pid: int
    started_ticks: int
    """Clock ticks after boot (proc(5), stat field 22)."""
    boot: str


class AgentLock:
    """Held by the running agent; closed by the kernel when it dies."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, run_dir: Path) -> Self:
        """Make the run folder (mode 0700) if needed and take the lock. UserError if a living agent has it."""
        make_folder(run_dir, mode=PRIVATE_FOLDER_MODE)
        path = run_dir / LOCK_NAME
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE_MODE)
            if not _lock(descriptor):
                record = _read(descriptor)
                os.close(descriptor)
                who = f" (process {record.pid})" if record else ""
                raise UserError(
                    f"another weavemesh agent runs already in {run_dir}{who}",
                    remedy="end it with `weavemesh stop`, or give this one another --run-dir and --state-dir",
                )
            record = _Record(pid=os.getpid(), started_ticks=_started_ticks(os.getpid()) or 0, boot=_boot())
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, msgspec.json.encode(record), 0)
        except OSError as error:
            raise unwritable(path, error) from error
        return cls(descriptor)

    def release(self) -> None:
        """Give it up. The file stays, empty: removing it could let two agents hold two locks of one name."""
        with suppress(OSError):
            os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


class RunningAgent:
    """A living agent, held by a descriptor that always means this very process (pidfd_open(2))."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid = pid
        self._descriptor = descriptor

    @classmethod
    def find(cls, run_dir: Path) -> Self | None:
        """The agent of this run folder, None if none lives.

        UserError if one does but cannot be seen from here (another pid namespace), or the lock cannot be read.
        """
        path = run_dir / LOCK_NAME
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise UserError(
                f"cannot look for the agent in {run_dir}: {error.strerror}", remedy="run as root"
            ) from error
        try:
            if _lock(descriptor):
                return None
            record = _read(descriptor)
        finally:
            os.close(descriptor)
        if record is not None and (process := _open_process(record)) is not None:
            return cls(record.pid, process)
        raise UserError(
            f"an agent runs in {run_dir} but its process cannot be seen from here",
            remedy="run this command where the agent runs (in its container, say)",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def end(self, *, patience_s: float = TERM_PATIENCE_S) -> str:
        """Ask it to end (SIGTERM); if it does not within `patience_s`, kill it. A sentence of what happened.

        UserError if even that does not end it.
        """
        self._signal(signal.SIGTERM)
        if self._ended(patience_s):
            return f"the agent (process {self.pid}) has ended"
        self._signal(signal.SIGKILL)
        if self._ended(KILL_PATIENCE_S):
            return f"the agent (process {self.pid}) did not end within {patience_s:.0f} s and was killed"
        raise UserError(
            f"the agent (process {self.pid}) cannot be killed: it hangs inside the kernel",
            remedy="look at the kernel's log; only a reboot ends such a process",
        )

    def _signal(self, number: signal.Signals) -> None:
        try:
            signal.pidfd_send_signal(self._descriptor, number)
        except ProcessLookupError:
            return  # ended in the meantime
        except PermissionError as error:
            raise UserError(f"no permission to end the agent (process {self.pid})", remedy="run as root") from error

    def _ended(self, patience_s: float) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)  # readable when the process has ended
        return bool(poll.poll(patience_s * 1000))


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(descriptor: int) -> _Record | None:
    try:
        return msgspec.json.decode(os.pread(descriptor, _RECORD_BYTES_MAX, 0), type=_Record)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _open_process(record: _Record) -> int | None:
    """A descriptor of the recorded process, None if that is not there: first held, then compared."""
    try:
        descriptor = os.pidfd_open(record.pid)
    except OSError:
        return None
    if record.boot == _boot() and record.started_ticks == _started_ticks(record.pid):
        return descriptor
    os.close(descriptor)
    return None


def _started_ticks(pid: int) -> int | None:
    try:
        line = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name in parentheses may contain anything; fields are counted from behind it, the first there is number 3.
    return int(line.rpartition(")")[2].split()[22 - 3])


def _boot() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
