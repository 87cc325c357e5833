"""DELs that arrived while no agent was there: files of one request frame each, left by the CNI executable.

Reading and removing them is here; what a DEL does is `weavemesh.cni.plugin`'s. The writer is shim.c, which names a file
by a hash of what is in it, so that a DEL repeated is one file.
"""

import os
import time
from pathlib import Path

from msgspec import Struct

from weavemesh.cni.frame import ENVIRONMENT_BYTES_MAX, REQUEST_HEADER, STDIN_BYTES_MAX, Call, FrameError, decode_request

FOLDER = Path("/var/lib/cni/weavemesh-tombstones")
"""Where the executable notes a DEL that found no agent; the same on every host, as a runtime cannot be told."""
SUFFIX = ".tombstone"
TOMBSTONES_MAX = 4096
"""Read at a time; the executable refuses to leave more."""
UNFINISHED_AGE_S = 3600.0
"""A file under another name is one that the executable is writing, or was killed while writing."""

_BYTES_MAX = REQUEST_HEADER.size + ENVIRONMENT_BYTES_MAX + STDIN_BYTES_MAX


class Tombstone(Struct, frozen=True):
    """One DEL to be done; `call` is None if the file is not what it should be."""

    path: Path
    call: Call | None

    def remove(self) -> None:
        """Removes the file; nothing if it is gone. OSError: it cannot be removed and will be done again."""
        self.path.unlink(missing_ok=True)


def read_tombstones(folder: Path) -> list[Tombstone]:
    """What lies in the folder, in the order of time; nothing if it is not there or cannot be read.

    Sweeps up what was never finished.
    """
    found: list[tuple[float, Tombstone]] = []
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)[: 2 * TOMBSTONES_MAX]
    except OSError:  # most often: nobody has made it yet
        return []
    for entry in entries:
        try:
            modified = entry.stat(follow_symlinks=False).st_mtime
            if entry.name.endswith(SUFFIX):
                found.append((modified, Tombstone(Path(entry.path), _read(Path(entry.path)))))
            elif modified < time.time() - UNFINISHED_AGE_S and entry.is_file(follow_symlinks=False):
                Path(entry.path).unlink(missing_ok=True)
        except OSError:
            continue  # gone meanwhile, or unreadable: it stays for the next time
    found.sort(key=lambda pair: pair[0])
    return [tombstone for _, tombstone in found[:TOMBSTONES_MAX]]


def _read(path: Path) -> Call | None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        content = file.read(_BYTES_MAX + 1)
    try:
        return decode_request(content, [])
    except FrameError:
        return None
