"""A machine that is emulated, with the image as its root: Debian's stock kernel of the image's architecture on QEMU.

The rest of what it needs is Debian's too: the kernel's modules, and `ip` and `ping`, which the image has not. Its first
process is `first_process.py`. Everything is emulated, also where the architecture is this machine's: no right to
virtualise is needed, and all is some ten times slower.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.image.debian import Apt

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
END = "END OF WHAT WAS ASKED"
_MODULES = ("wireguard", "veth", "tun", "nft_chain_nat", "nft_masq", "nft_nat", "nft_ct", "nft_rt", "nft_counter")
_MEMORY_MIB = 1500


@dataclass(frozen=True, slots=True)
class Kind:
    """How QEMU makes a machine of one architecture."""

    program: str
    package: str
    """Debian's, of the program."""
    words: tuple[str, ...]
    console: str


KINDS = {
    "amd64": Kind("qemu-system-x86_64", "qemu-system-x86", ("-M", "q35", "-cpu", "qemu64,+rdrand"), "ttyS0"),
    "arm64": Kind("qemu-system-aarch64", "qemu-system-arm", ("-M", "virt", "-cpu", "cortex-a57"), "ttyAMA0"),
}


def missing_packages(architecture: str) -> list[str]:
    """Debian's packages that this machine lacks for it."""
    kind = KINDS[architecture]
    needed = {kind.program: kind.package, "modinfo": "kmod", "cpio": "cpio", "dpkg-deb": "dpkg"}
    return sorted({package for program, package in needed.items() if shutil.which(program) is None})


def what_happens_inside(architecture: str, work: Path, *, timeout_s: float) -> list[dict[str, Any]]:
    """What `first_process.py` tells of each command, in order; AssertionError with the console if it does not end."""
    root, kernel = _root(architecture, work), work / "kernel"
    unpack_kernel(architecture, kernel, "linux-image-cloud-" + architecture)
    _unpack(architecture, root, ["iproute2", "iputils-ping"], only=".*")
    put_modules(kernel, root, _MODULES)
    assert list((root / "modules").glob("*-wireguard.ko")), "the kernel's package has no module for WireGuard"
    first = work / "initramfs"
    pack_initramfs(root, HERE / "first_process.py", first)
    kind = KINDS[architecture]
    words = [kind.program, *kind.words, "-smp", "2", "-m", str(_MEMORY_MIB), "-nographic", "-no-reboot", "-nic", "none"]
    words += ["-kernel", str(kernel_of(kernel)), "-initrd", str(first)]
    words += ["-append", f"console={kind.console} panic=-1 quiet rdinit=/init"]
    done = subprocess.run(words, capture_output=True, stdin=subprocess.DEVNULL, timeout=timeout_s, check=False)
    console = done.stdout.decode(errors="replace")
    assert END in console, console[-3000:] + done.stderr.decode(errors="replace")
    return [json.loads(line) for line in console.splitlines() if line.startswith("{")]


def unpack_kernel(architecture: str, folder: Path, package: str) -> None:
    """Debian's kernel of today, by the package that stands for its newest one, with its modules."""
    _unpack(architecture, folder, [package], only="linux-image-[0-9].*")


def kernel_of(folder: Path) -> Path:
    """The kernel in a folder of `unpack_kernel`."""
    return next((folder / "boot").glob("vmlinuz-*"))


def pack_initramfs(root: Path, first_process: Path, file: Path) -> None:
    """Make a folder the first root of a kernel, with this as its first process."""
    shutil.copy(first_process, root / "init")
    (root / "init").chmod(0o755)
    names = "\0".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    words = ["cpio", "--create", "--format=newc", "--null", "--quiet", "--owner=0:0", "-F", str(file)]
    subprocess.run(words, cwd=root, input=names, text=True, check=True)


def _root(architecture: str, work: Path) -> Path:
    root = work / "root"
    words = [sys.executable, "-m", "deploy.image", "--arch", architecture, "--root", str(root)]
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("proc", "sys", "dev", "run", "tmp"):
        (root / name).mkdir(exist_ok=True)
    return root


def _unpack(architecture: str, folder: Path, names: list[str], *, only: str) -> None:
    """Put what the archive has of these packages today, and of all that they need, where `folder` has no such file."""
    apt = Apt(architecture)
    apt.update()
    needed = re.findall(r"^Inst (\S+)", apt.run("-s", "--no-install-recommends", "install", *names), re.MULTILINE)
    for name in [name for name in needed if re.fullmatch(only, name)]:
        apt.run("download", name)
    for file in apt.downloads.glob("*.deb"):
        fresh = folder.with_name("fresh")
        subprocess.run(["dpkg-deb", "-x", file, fresh], check=True)
        for part in ("bin", "sbin", "lib", "lib64"):
            if (fresh / part).is_dir():
                shutil.copytree(fresh / part, fresh / "usr" / part, symlinks=True, dirs_exist_ok=True)
                shutil.rmtree(fresh / part)
        folder.mkdir(exist_ok=True)
        subprocess.run(["cp", "-a", "--no-clobber", f"{fresh}/.", folder], check=True)
        shutil.rmtree(fresh)


def put_modules(kernel: Path, root: Path, wanted: Sequence[str]) -> None:
    """These modules, as far as they are none of the kernel's built-in parts, and those that they need, in the order in
    which they are loaded: as `modules/NNN-NAME.ko`."""
    files = {file.stem: file for file in kernel.rglob("*.ko")}
    order: list[str] = []

    def put(name: str) -> None:
        if name in order or name not in files:
            return
        for field in ("depends", "softdep"):
            told = subprocess.run(["modinfo", "-F", field, files[name]], check=True, capture_output=True, text=True)
            for needed in re.split(r"[\s,]+", told.stdout):
                put(needed)
                put(needed.replace("_", "-"))
        order.append(name)

    for name in wanted:
        put(name)
    (root / "modules").mkdir()
    for number, name in enumerate(order):
        shutil.copy(files[name], root / "modules" / f"{number:03}-{name}.ko")
