"""The state folder: small named files that survive crash and power loss whole, and one agent at a time.

What is in the files is for those who write them to know. Keys lie in the same folder but are `weavemesh.identity`'s.
Every file is sealed: a line with format and checksum, then the content, so that a torn or altered file is recognised
instead of believed.
"""

import fcntl
import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from weavemesh.error import UserError
from weavemesh.file import (
    PRIVATE_FOLDER_MODE,
    PRIVATE_MODE,
    make_folder,
    read_private,
    sweep,
    unwritable,
    write_private,
)

DEFAULT_FOLDER: Final = Path("/var/lib/weavemesh")
LOCK_FILE: Final = "lock"
EPOCH_FILE: Final = "epoch"
SEAL_VERSION: Final = 1
_SEAL: Final = b"weavemesh-state"
FILE_BYTES_MAX: Final = 64 * 1024 * 1024
"""A ring of a thousand peers after much churn is about 1 MiB; whatever exceeds this is not ours."""


class SealBroken(ValueError):
    """The bytes are not what was sealed: torn, altered, or of something else."""


class SealTooNew(ValueError):
    """Sealed by a later release in a form that this one does not know."""


def seal(content: bytes) -> bytes:
    """The content with a first line that lets `unseal` tell whether it is whole."""
    digest = hashlib.sha256(content).hexdigest()
    return b"%s %d %d %s\n%s" % (_SEAL, SEAL_VERSION, len(content), digest.encode(), content)


def unseal(sealed: bytes) -> bytes:
    """What was sealed. SealTooNew or SealBroken if it cannot be had."""
    head, _, content = sealed.partition(b"\n")
    words = head.split(b" ")
    if len(words) < 2 or words[0] != _SEAL or not words[1].isdigit():
        raise SealBroken("it does not begin like a state file")
    if int(words[1]) > SEAL_VERSION:
        raise SealTooNew(f"format {int(words[1])}")
    if len(words) != 4 or words[2] != str(len(content)).encode():
        raise SealBroken("it is cut off or too long")
    if words[3] != hashlib.sha256(content).hexdigest().encode():
        raise SealBroken("its checksum is wrong")
    return content


class StateFolder:
    """An open, locked state folder. A context manager; another agent may open it after `close` or our death."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def open(cls, path: Path) -> Self:
        """Make the folder (mode 0700) if it is missing, lock it, sweep what an interrupted write left.

        A folder of ours that others may enter is closed to them: its files are 0600 each, so nothing was shown.
        UserError: another agent has it, it belongs to another user, or it cannot be made.
        """
        make_folder(path, mode=PRIVATE_FOLDER_MODE)
        _close_to_others(path)
        folder = cls(path, _lock(path))
        sweep(path)
        return folder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the folder up; again does nothing."""
        if self._lock >= 0:
            os.close(self._lock)  # ends the lock
            self._lock = -1

    def read(self, name: str) -> bytes | None:
        """What was last written under this name; None if nothing was. UserError if the file is damaged."""
        path = self.path / name
        sealed = read_private(path, what="the state", bytes_max=FILE_BYTES_MAX)
        if sealed is None:
            return None
        try:
            return unseal(sealed)
        except SealTooNew as error:
            raise UserError(
                f"{path} was written by a newer weavemesh ({error})", remedy="upgrade weavemesh on this host"
            ) from error
        except SealBroken as error:
            raise UserError(
                f"{path} is damaged: {error}",
                remedy="restore it from a backup, or run `weavemesh reset` to begin as a new peer (the "
                "others keep the old one's addresses)",
            ) from error

    def write(self, name: str, content: bytes) -> None:
        """Keep the content under this name; it is on disk when this returns, and the old content until then.

        Waits for the disk (fsync): milliseconds to seconds. UserError if the disk is full, read-only or failing.
        """
        write_private(self.path / name, seal(content), overwrite=True)

    def remove(self, name: str) -> None:
        """Forget what is kept under this name; nothing happens if nothing is."""
        with suppress(FileNotFoundError):
            (self.path / name).unlink()

    def next_epoch(self, unix_now: float) -> int:
        """The number of this life: above that of all lives before; kept before it is returned.

        It is the time, so that a folder restored from a backup outranks what its identity said after the backup was
        made; where a clock was set back, one more than at the last start.
        """
        last = self.read(EPOCH_FILE)
        if last is not None and not last.isdigit():
            raise UserError(f"{self.path / EPOCH_FILE} holds no number", remedy="remove that file")
        epoch = max(int(last or b"0") + 1, int(unix_now))
        self.write(EPOCH_FILE, b"%d" % epoch)
        return epoch


def _close_to_others(path: Path) -> None:
    status = path.stat()
    if status.st_uid not in (0, os.geteuid()):
        raise UserError(
            f"the state folder {path} belongs to user {status.st_uid}, neither to root nor to us",
            remedy=f"chown it to {os.geteuid()} if you trust what is in it, or name another with --state-dir",
        )
    if stat.S_IMODE(status.st_mode) & 0o077:
        try:
            path.chmod(PRIVATE_FOLDER_MODE)
        except OSError as error:
            raise UserError(f"the state folder {path} is open to others", remedy=f"chmod 700 {path}") from error


def _lock(path: Path) -> int:
    """A descriptor that holds the lock while it is open; children do not inherit it (PEP 446)."""
    file = path / LOCK_FILE
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE_MODE)
    except OSError as error:
        raise unwritable(file, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The number is for people only: on a full disk the lock holds without it.
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise UserError(
            f"another weavemesh agent uses the state folder {path}" + (f" (process {holder})" if holder else ""),
            remedy="stop that one first, or give this one another with --state-dir",
        ) from error
    except OSError as error:
        os.close(descriptor)
        raise unwritable(file, error) from error
    return descriptor
