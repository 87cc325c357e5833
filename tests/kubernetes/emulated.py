"""A node with a kernel of its own: emulated, with Debian's stock kernel, and WireGuard in it.

The other nodes share the kernel of this machine, which may have no WireGuard. This one is a machine of QEMU's on the
network of the cluster. Its root is a layer over this machine's, by 9P, on a disk of its own that also holds the images:
so it runs the same containerd and Kubernetes. Control groups are of version 2 there. Nothing is virtualised, so that no
right to do so is needed; all is some ten times slower.
"""

import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from deploy.demo.lab import LabError, end
from tests.image.machine import KINDS, kernel_of, pack_initramfs, put_modules, unpack_kernel
from tests.kubernetes.cluster import GATEWAY, Cluster
from tests.kubernetes.folder import HERE, emulated_folder
from tests.kubernetes.image import copy_store
from tests.kubernetes.node import (
    CONTAINERD_COMMAND,
    configurations,
    iptables_links,
    kubelet_command,
    proxy_command,
)

_ARCHITECTURE = "amd64"
_MEMORY_MIB = 3000
_DISK_MIB = 4000
_MODULES = ("virtio_pci", "virtio_net", "virtio_blk", "9pnet_virtio", "9p", "crc32c_generic", "ext4", "overlay")
"""What finds the root. All others are loaded by whoever needs them."""
_BUSYBOX = Path("/bin/busybox")


@dataclass(frozen=True)
class EmulatedNode:
    """One that runs."""

    name: str
    address: str
    """InternalIP."""
    wire: str
    """The interface of the machine `control` that is the other end of its network card."""
    console: Path
    """What it prints."""
    process: subprocess.Popen[str]

    def check(self) -> None:
        """LabError with the end of what it printed if it has ended."""
        if self.process.poll() is not None:
            raise LabError(f"{self.name} has ended:\n{self.said()}")

    def said(self) -> str:
        """The end of what it printed."""
        return self.console.read_text(errors="replace")[-5000:]


@contextmanager
def emulated_node(cluster: Cluster, name: str) -> Iterator[EmulatedNode]:
    """Switch it on, and pull its plug afterwards. It registers by itself, in a minute; for one network only."""
    number = 10 + int(name[1:])
    address, wire, folder = f"10.200.0.{number}", f"port{number}", cluster.folder / "nodes" / name
    folder.mkdir(parents=True)
    kernel = _kernel()
    _make_disk(cluster, name, address, folder)
    _make_initramfs(kernel, folder)
    cluster.introduce(name, address)
    control = cluster.control.machine
    control.ip("tuntap", "add", wire, "mode", "tap")
    control.ip("link", "set", wire, "master", "wmbr0", "up")
    with (folder / "console").open("w") as log:
        command = _machine_command(kernel, folder, wire=wire, mac=f"02:00:0a:c8:00:{number:02x}")
        process = control.start(*command, stdout=log.fileno(), stderr=log.fileno())
    try:
        yield EmulatedNode(name, address, wire, folder / "console", process)
    finally:
        end(process)
        control.run("ip", "link", "delete", wire, check=False)
        shutil.rmtree(folder)


def _machine_command(kernel: Path, folder: Path, *, wire: str, mac: str) -> list[str]:
    kind = KINDS[_ARCHITECTURE]
    command = [kind.program, *kind.words, "-smp", "2", "-m", str(_MEMORY_MIB), "-nographic", "-no-reboot"]
    command += ["-kernel", str(kernel_of(kernel)), "-initrd", str(folder / "initramfs")]
    command += ["-append", f"console={kind.console} panic=-1 quiet rdinit=/init"]
    command += ["-drive", f"file={folder / 'disk'},format=raw,if=virtio,cache=unsafe"]
    command += ["-netdev", f"tap,id=net,ifname={wire},script=no,downscript=no"]
    command += ["-device", f"virtio-net-pci,netdev=net,mac={mac}"]
    for tag, path in {"root": Path("/"), "modules": kernel / "usr" / "lib" / "modules"}.items():
        command += ["-virtfs", f"local,path={path},mount_tag={tag},security_model=none,readonly=on,multidevs=remap"]
    return command


def _kernel() -> Path:
    """Debian's stock kernel: that of some day, in the cache."""
    folder = emulated_folder() / "kernel"
    if not folder.exists():
        with TemporaryDirectory(dir=emulated_folder()) as work:
            new = Path(work) / "kernel"
            unpack_kernel(_ARCHITECTURE, new, f"linux-image-{_ARCHITECTURE}")
            version = next((new / "usr" / "lib" / "modules").iterdir()).name
            subprocess.run(["depmod", "--basedir", new / "usr", version], check=True)
            new.rename(folder)
    return folder


def _make_disk(cluster: Cluster, name: str, address: str, folder: Path) -> None:
    """A disk with its layer and the images."""
    tree = folder / "tree"
    upper = tree / "upper"
    for part in ("work", "containerd", "upper/opt/iptables", "upper/etc/kubernetes", "upper/root"):
        (tree / part).mkdir(parents=True)
    copy_store(cluster.store, tree / "containerd")
    files = configurations(cluster.control.authority, name, address, cgroup_root="/", report_s=10)
    for file, text in files.items():
        (upper / "etc" / "kubernetes" / file).write_text(text)
    for link, program in iptables_links("nft").items():
        (upper / link.lstrip("/")).symlink_to(program)
    settings = {
        "NAME": name,
        "ADDRESS": address,
        "GATEWAY": GATEWAY,
        "FRESH": str(HERE / "fresh_node.sh"),
        "CONTAINERD": shlex.join(CONTAINERD_COMMAND),
        "KUBELET": shlex.join(kubelet_command(name, address)),
        "PROXY": shlex.join(proxy_command(name)),
    }
    lines = [f"{key}={shlex.quote(value)}\n" for key, value in settings.items()]
    (upper / "etc" / "wm-emulated").write_text("".join(lines))
    shutil.copy(HERE / "boot_emulated.sh", upper / "etc" / "wm-boot")
    (upper / "etc" / "wm-boot").chmod(0o755)
    command = ["mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(folder / "disk"), f"{_DISK_MIB}M"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(tree)


def _make_initramfs(kernel: Path, folder: Path) -> None:
    with TemporaryDirectory(dir=folder) as work:
        root = Path(work)
        (root / "bin").mkdir()
        shutil.copy(_BUSYBOX, root / "bin" / "busybox")
        put_modules(kernel, root, _MODULES)
        pack_initramfs(root, HERE / "first_emulated.sh", folder / "initramfs")
