"""Private files: read only if nobody else could have read or written them, written whole or not at all.

What is in them is not known here; counterparts are `weavemesh.store` (state), `weavemesh.identity` (keys) and
`weavemesh.secret` (the cluster secret).
"""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from weavemesh.error import UserError

PRIVATE_MODE = 0o600
PRIVATE_FOLDER_MODE = 0o700
TEMPORARY_SUFFIX = ".wm-tmp"
"""Ends the name of every file that is not finished yet, so that the leftovers of a `kill -9` can be swept."""

_FULL = (errno.ENOSPC, errno.EDQUOT)


def read_private(path: Path, *, what: str, bytes_max: int) -> bytes | None:
    """The content of a file that only its owner, root or we, can read; None if there is no such file.

    `what` names the file in errors ("the cluster secret"). UserError: it is a folder or another special file, is
    readable or writable by others, belongs to somebody else, is larger than `bytes_max`, or cannot be read.
    """
    try:
        # Without O_NONBLOCK a named pipe in this place would stop us here for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unreadable(path, what, error) from error
    try:
        _refuse_shared(path, what, os.fstat(descriptor))
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(bytes_max + 1)
    except OSError as error:
        raise _unreadable(path, what, error) from error
    finally:
        os.close(descriptor)
    if len(content) > bytes_max:
        raise UserError(
            f"{what} in {path} is larger than {bytes_max} bytes", remedy="name the right file, or restore this one"
        )
    return content


def write_private(path: Path, content: bytes, *, overwrite: bool) -> None:
    """Make or replace a file of mode 0600, on disk when this returns; at every moment the old or the new one is whole.

    FileExistsError if it is there and `overwrite` is false. UserError if the disk is full, read-only or failing: then
    the old file is as it was and nothing is left over. One writer per path at a time.
    """
    temporary: str | None = None
    folder, file = os.path.split(path)
    try:
        descriptor, temporary = _make_beside(folder, file)
        try:
            remaining = memoryview(content)
            while remaining:
                remaining = remaining[os.write(descriptor, remaining) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if overwrite:
            os.replace(temporary, path)
            temporary = None
        else:
            os.link(temporary, path)  # unlike a rename, fails when the name is taken
        _sync_folder(folder or os.curdir)
    except FileExistsError:
        raise
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)


def _make_beside(folder: str, file: str) -> tuple[int, str]:
    """A new file of mode 0600 in the folder. Not by `tempfile`, whose names cost more than the file."""
    name = f"{folder or os.curdir}/.{file}.{os.getpid()}{TEMPORARY_SUFFIX}"
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, PRIVATE_MODE), name
    except FileExistsError:  # of a process of that number that was killed, or put there by somebody: never written to
        os.unlink(name)
        return os.open(name, flags, PRIVATE_MODE), name


def sweep(folder: Path) -> None:
    """Remove what an interrupted `write_private` left in the folder; call it before anyone writes there."""
    for leftover in folder.glob(f".*{TEMPORARY_SUFFIX}"):
        with suppress(OSError):
            leftover.unlink()


def make_folder(path: Path, *, mode: int) -> None:
    """Make a folder and those above it; nothing happens if it is there. UserError if it cannot be made."""
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
    except FileExistsError as error:
        raise UserError(f"{path} is not a folder", remedy="remove it or name another") from error
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> UserError:
    """The failure to write at `path`, with what to do about it."""
    place = path.parent
    if error.errno in _FULL:
        return UserError(
            f"the disk that holds {place} is full, {path.name} was not written",
            remedy="free some space there and start again; what was stored before is unharmed",
        )
    if error.errno == errno.EROFS:
        return UserError(f"{place} is on a read-only file system", remedy="name a folder that can be written")
    if isinstance(error, PermissionError):
        return UserError(f"no permission to write {path}", remedy="run weavemesh as root")
    return UserError(f"cannot write {path}: {error.strerror or error}", remedy="check the disk and the folder")


def _sync_folder(folder: str) -> None:
    """The new name itself is durable only after the folder is (fsync(2), Description)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_shared(path: Path, what: str, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise UserError(f"{path} should hold {what} but is a folder", remedy="name the file inside it")
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path} should hold {what} but is not a regular file", remedy="name a regular file")
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        can = "readable" if mode & 0o044 else "writable" if mode & 0o022 else "executable"
        raise UserError(f"{what} in {path} is {can} by others (mode {mode:04o})", remedy=f"chmod 600 {path}")
    if status.st_uid not in (0, os.geteuid()):
        raise UserError(
            f"{what} in {path} belongs to user {status.st_uid}, neither to root nor to us",
            remedy=f"chown {os.geteuid()} {path} if you trust what is in it",
        )


def _unreadable(path: Path, what: str, error: OSError) -> UserError:
    remedy = "run weavemesh as root" if isinstance(error, PermissionError) else "check the disk and the path"
    return UserError(f"cannot read {what} from {path}: {error.strerror or error}", remedy=remedy)
