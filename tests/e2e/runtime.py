"""containerd on a machine of the lab, as Debian packages it, with our plugin where it looks for plugins."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.demo.lab import Machine, running, wait_until
from tests.e2e.image import BUSYBOX, NAME, build_image

PLUGINS = Path("/usr/lib/cni")
"""Where Debian's containernetworking-plugins are."""
_CONFIG = """
version = 2
root = "/run/containerd/root"
state = "/run/containerd/state"
[grpc]
address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{image}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/opt/cni/bin"
conf_dir = "/etc/cni/net.d"
"""


def missing_programs(*wanted: str) -> str | None:
    """Which packages a test with real runtimes lacks; None if none."""
    needs = {"containerd": "containerd", "ctr": "containerd", "runc": "runc", "podman": "podman"}
    lacking = {needs[program] for program in wanted if shutil.which(program) is None}
    lacking |= set() if BUSYBOX.exists() else {"busybox-static"}
    lacking |= set() if (PLUGINS / "portmap").exists() else {"containernetworking-plugins"}
    return f"needs the packages {', '.join(sorted(lacking))}" if lacking else None


@dataclass
class Containerd:
    """A running containerd."""

    machine: Machine

    @property
    def socket(self) -> Path:
        """Its socket, seen from outside the machine."""
        return Path(f"/proc/{self.machine.init_pid}/root/run/containerd/containerd.sock")

    def ctr(self, *words: str, namespace: str = "default", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs containerd's own command line."""
        program = ("ctr", "-a", "/run/containerd/containerd.sock", "-n", namespace)
        return self.machine.run(*program, *words, check=check)

    def run_container(self, name: str, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A container with CNI that runs to its end and is removed; what it prints."""
        return self.ctr("run", "--rm", "--cni", "--snapshotter", "native", NAME, name, *command, check=check)


def prepare_plugins(machine: Machine) -> None:
    """Private folders for plugins and their configurations, with Debian's plugins in the first."""
    machine.run(
        "sh", "-c", f"mount -t tmpfs wm /opt && mkdir -p /opt/cni/bin && cp {PLUGINS}/* /opt/cni/bin; rm -rf /etc/cni"
    )


def add_portmap(machine: Machine) -> None:
    """Puts Debian's portmap behind our plugin in the installed configuration."""
    script = (
        "import json, pathlib; path = pathlib.Path('/etc/cni/net.d/10-weavemesh.conflist');"
        "config = json.loads(path.read_text());"
        "config['plugins'].append({'type': 'portmap', 'capabilities': {'portMappings': True}});"
        "path.write_text(json.dumps(config))"
    )
    machine.run("python3", "-c", script)


@contextmanager
def containerd(machine: Machine, *, namespaces: Sequence[str] = ("default", "k8s.io")) -> Iterator[Containerd]:
    """containerd, with the image of the tests in these namespaces of its own."""
    machine.write_file("/run/containerd.toml", _CONFIG.format(image=NAME))
    # The lab's machines have the host's cgroup file systems; only what is below /run is private.
    process = machine.start("sh", "-c", "exec containerd --config /run/containerd.toml >/run/containerd.log 2>&1")
    with running(process):
        runtime = Containerd(machine)
        wait_until(lambda: runtime.ctr("version", check=False).returncode == 0, seconds=20, what="containerd")
        Path(f"/proc/{machine.init_pid}/root/run/image.tar").write_bytes(build_image())
        for namespace in namespaces:
            runtime.ctr("image", "import", "--snapshotter", "native", "/run/image.tar", namespace=namespace)
        yield runtime
