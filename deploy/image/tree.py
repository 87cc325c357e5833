"""Builds the image's files in three folders, one for each layer: Debian's, the Python dependencies', our own.

The bytecode is made by the Debian Python that is in the image, so that it does not depend on the builder's; for another
architecture by the same Python for this one. Nothing here knows what an image looks like as a file.
"""

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from deploy.image import content, debian, wheel
from deploy.image.archive import Layer
from deploy.image.debian import ImageError


@dataclass(frozen=True, slots=True)
class Tree:
    """The three folders."""

    debian: Path
    python: Path
    weavemesh: Path

    def layers(self) -> tuple[Layer, Layer, Layer]:
        """From what changes least to what changes most."""
        return (
            Layer(self.debian, "Debian 12: Python, nftables, wireguard-go"),
            Layer(self.python, "Python packages that weavemesh needs"),
            Layer(self.weavemesh, "weavemesh"),
        )


def own_architecture() -> str:
    """This machine's."""
    for architecture, machine in content.MACHINES.items():
        if machine == platform.machine():
            return architecture
    raise ImageError(f"the image is not built on {platform.machine()} machines")


def build(architecture: str, work: Path, *, locked: bool = False) -> Tree:
    """Builds all in a folder that is there and empty; `locked` with the pinned packages or not at all."""
    tree = Tree(work / "debian", work / "python", work / "weavemesh")
    _build_debian(architecture, tree.debian, locked=locked)
    for file in wheel.fetch(architecture):
        wheel.unpack(file, tree.python)
    _build_own(architecture, tree.weavemesh, work)
    interpreter = tree.debian
    if architecture != own_architecture():
        interpreter = work / "interpreter"
        _build_debian(own_architecture(), interpreter, locked=locked)
    for folder in (tree.debian, tree.python, tree.weavemesh):
        _compile(folder, interpreter)
    for stale in interpreter.rglob("*.new-*"):
        stale.unlink()
    return tree


def merge(tree: Tree, root: Path) -> None:
    """Copies the layers over one another, as an engine would."""
    for layer in tree.layers():
        shutil.copytree(layer.folder, root, symlinks=True, dirs_exist_ok=True)
    (root / "tmp").chmod(0o1777)


def _build_debian(architecture: str, root: Path, *, locked: bool) -> None:
    try:
        files = debian.fetch(architecture, debian.read_lock(architecture))
    except debian.PackageGone as gone:
        if locked:
            raise
        # Debian's archive holds the newest only: an old lock must not keep anybody from having an image at all.
        print(f"image: {gone}; this one is built of what the archive has today", file=sys.stderr)
        files = debian.fetch(architecture, debian.newest(architecture))
    debian.unpack(files, root)
    for folder in content.FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    links = dict(content.LINKS) | ({"lib64": "usr/lib64"} if (root / "usr/lib64").is_dir() else {})
    for name, target in links.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).unlink(missing_ok=True)
        (root / name).symlink_to(target)
    for name, text in content.FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def _build_own(architecture: str, root: Path, work: Path) -> None:
    wheel.unpack(wheel.build_own(work), root)
    executable = _executable(content.MACHINES[architecture])
    folder = root / wheel.SITE / "weavemesh" / "share" / "cni"
    shutil.rmtree(folder, ignore_errors=True)  # those of the wheel are for the machine that builds
    folder.mkdir(parents=True)
    shutil.copy(executable, folder / "weavemesh")
    (folder / "weavemesh").chmod(0o755)
    (folder / "weavemesh-ipam").symlink_to("weavemesh")
    program = root / content.PROGRAM
    program.parent.mkdir(parents=True)
    program.write_text(content.PROGRAM_TEXT)
    program.chmod(0o755)


def _executable(machine: str) -> Path:
    """By the compiler of `make setup` for this machine, by one that takes a minute to install for others."""
    own = machine == platform.machine()
    path = wheel.PROJECT / "build" / ("cni" if own else f"cni-{machine}") / "weavemesh"
    source = wheel.PROJECT / "weavemesh" / "cni" / "shim.c"
    if own and not path.exists():
        raise ImageError("the CNI executable is not built; `make setup` does it")
    if own:
        return path
    if not path.exists() or path.stat().st_mtime < source.stat().st_mtime:
        # It also fails when only the other architecture cannot be built.
        subprocess.run([wheel.PROJECT / "scripts" / "executables.sh"], check=False, stdout=subprocess.DEVNULL)
    if not path.exists() or path.stat().st_mtime < source.stat().st_mtime:
        raise ImageError(f"the CNI executable for {machine} could not be built; `make executables` says why")
    return path


def _compile(root: Path, interpreter: Path) -> None:
    """Makes bytecode that is never compared with its source: the image's files do not change."""
    machine = content.MACHINES[own_architecture()]
    loader = interpreter / content.INTERPRETERS[own_architecture()]
    folders = [folder for folder in (root / "usr/lib" / content.PYTHON, root / wheel.SITE) if folder.is_dir()]
    command = [
        loader,
        "--library-path",
        interpreter / "usr/lib" / f"{machine}-linux-gnu",
        interpreter / "usr/bin" / content.PYTHON,
    ]
    command += ["-B", "-E", "-s", "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash"]
    environment = {"PATH": os.environ.get("PATH", ""), "PYTHONHASHSEED": "0", "LANG": "C.UTF-8"}
    done = subprocess.run(
        [*command, "-s", root, "-p", "/", *folders], env=environment, check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise ImageError(f"the bytecode could not be made: {done.stdout}{done.stderr}")
