"""The guests' kernel: one that the user names, one that was built before, or one built now from Debian's source.

The program is kept in the user's cache under a name that tells its configuration: another one is another kernel.
"""

import gzip
import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
KERNEL_VARIABLE = "WEAVEMESH_VM_KERNEL"
CACHE_VARIABLE = "WEAVEMESH_VM_CACHE"


_CANNOT_BUILD = 3
"""Status of build-kernel.sh on a machine of the wrong kind."""


class KernelMissing(Exception):
    """There is no kernel for guests, and none can be made; the text says why."""


class GuestsImpossible(KernelMissing):
    """This machine can have none: no fault of the project's."""


@dataclass(frozen=True, slots=True)
class GuestKernel:
    """What has to be executed to boot a guest."""

    program: Path
    shim: Path
    """Library to preload: see xstate.c."""


def cache_folder() -> Path:
    """Where kernels are kept; made if need be."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get(CACHE_VARIABLE) or Path(base) / "weavemesh" / "vm")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def find_kernel() -> GuestKernel | None:
    """The kernel that is at hand; None if it has to be built. KernelMissing if the named one cannot be used."""
    named = os.environ.get(KERNEL_VARIABLE)
    program = _named(Path(named)) if named else _built()
    return GuestKernel(program, _shim()) if program.exists() else None


def make_kernel() -> GuestKernel:
    """The kernel that is at hand, or else a new one: that takes minutes and tells its progress on stderr."""
    if found := find_kernel():
        return found
    status = subprocess.run([HERE / "build-kernel.sh", _built()], check=False).returncode
    if status != 0:
        kind = GuestsImpossible if status == _CANNOT_BUILD else KernelMissing
        raise kind(f"the guests' kernel could not be built; name a ready one with {KERNEL_VARIABLE}")
    return GuestKernel(_built(), _shim())


def _named(path: Path) -> Path:
    if not path.is_file():
        raise KernelMissing(f"{KERNEL_VARIABLE} names {path}, which is no file")
    if path.suffix != ".gz":
        return path.resolve()
    packed = path.read_bytes()
    unpacked = cache_folder() / f"given-{_digest(packed)}"
    if not unpacked.exists():
        _install(gzip.decompress(packed), unpacked)
    return unpacked


def _built() -> Path:
    return cache_folder() / f"linux-{_digest((HERE / 'kernel.config').read_bytes())}"


def _shim() -> Path:
    source = HERE / "xstate.c"
    library = cache_folder() / f"xstate-{_digest(source.read_bytes())}.so"
    if not library.exists():
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise KernelMissing("a C compiler is missing (Debian: gcc)")
        new = library.with_suffix(f".{os.getpid()}")
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", new, source], check=True)
        new.rename(library)
    return library


def _install(content: bytes, path: Path) -> None:
    new = path.with_suffix(f".{os.getpid()}")
    new.write_bytes(content)
    new.chmod(0o755)
    new.rename(path)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
