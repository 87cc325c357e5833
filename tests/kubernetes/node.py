"""One node: a machine with its own root, containerd, kubelet and kube-proxy; NotReady until a CNI plugin comes."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from deploy.demo.lab import BIN, Lab, LabError, Machine, wait_until
from tests.kubernetes.control import POD_RANGE
from tests.kubernetes.folder import HERE, PROJECT, binaries_folder
from tests.kubernetes.image import PAUSE, copy_store
from tests.kubernetes.pki import Authority
from tests.kubernetes.service import Services

IptablesKind = Literal["nft", "legacy"]
CGROUPS = Path("/sys/fs/cgroup")
_HIERARCHIES = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd")
_CONTAINERD = f"""
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  stream_server_address = "127.0.0.1"
  # Root in a container or a small virtual machine may not lower the score of what the kernel kills first.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""
CONTAINERD_COMMAND = ("containerd", "--config", "/etc/kubernetes/containerd.toml")
_IPTABLES = ("iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore")


@dataclass
class Node:
    """A node and how to reach it; made by `Cluster`."""

    name: str
    machine: Machine
    address: str
    """InternalIP."""
    services: Services
    cgroup: str
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def socket(self) -> Path:
        """containerd's, seen from outside."""
        return Path(f"/proc/{self.machine.init_pid}/root/run/containerd/containerd.sock")

    def start_runtime(self) -> None:
        """Start containerd."""
        self.services.start("containerd", *CONTAINERD_COMMAND, environment=self.environment)

    def start_kubelet(self) -> None:
        """Start kubelet and kube-proxy; containerd must run, the API server need not."""
        wait_until(self._runtime_answers, seconds=30, what=f"containerd of {self.name}")
        self.services.start("kubelet", *kubelet_command(self.name, self.address), environment=self.environment)
        self.services.start("kube-proxy", *proxy_command(self.name), environment=self.environment)

    def end(self) -> None:
        """Pull the plug: everything on it ends at once. Its files stay."""
        with suppress(OSError):
            # The process that made it, which passes this on.
            stat = Path(f"/proc/{self.machine.init_pid}/stat").read_text()
            os.kill(int(stat.rpartition(")")[2].split()[1]), signal.SIGKILL)
        wait_until(lambda: not is_running(self.machine.init_pid), seconds=10, what=f"the end of {self.name}")
        remove_cgroups(self.cgroup)

    def forget(self) -> None:
        """Lose its disk; after `end`."""
        for name in ("upper", "work", "root", "containerd"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def _runtime_answers(self) -> bool:
        self.services.check()
        return self.machine.run("ctr", "version", check=False).returncode == 0


def make_machine(lab: Lab, name: str, folder: Path, store: Path) -> Machine:
    """The machine of a node: with a fresh disk, or the one that is in its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "containerd").exists():
        (folder / "containerd").mkdir()
        copy_store(store, folder / "containerd")
    return lab.machine(
        name,
        forwarding=True,
        folders=(HERE / "become_node.sh").read_text(),
        arguments=[str(folder), str(HERE / "fresh_node.sh"), str(PROJECT), str(binaries_folder()), str(BIN.parent)],
    )


def equip(
    machine: Machine, authority: Authority, address: str, *, cgroup: str, iptables: IptablesKind, report_s: int
) -> None:
    """Write the configurations of its programs; its kubelet tells its state every `report_s` seconds."""
    for name, text in configurations(
        authority, machine.name, address, cgroup_root=f"/{cgroup}", report_s=report_s
    ).items():
        machine.write_file(f"/etc/kubernetes/{name}", text)
    links = " && ".join(f"ln -sf {program} {link}" for link, program in iptables_links(iptables).items())
    machine.run("sh", "-c", f"mkdir -p /opt/iptables && {links}")


def configurations(authority: Authority, name: str, address: str, *, cgroup_root: str, report_s: int) -> dict[str, str]:
    """The files in a node's /etc/kubernetes, with keys of its own."""
    pair = authority.issue(f"system:node:{name}", names=[name, address])
    kubelet = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup_root,
        "clusterDNS": ["10.96.0.10"],
        "clusterDomain": "cluster.local",
        "failSwapOn": False,
        "nodeStatusUpdateFrequency": f"{report_s}s",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": "/etc/kubernetes/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": "/etc/kubernetes/kubelet.crt",
        "tlsPrivateKeyFile": "/etc/kubernetes/kubelet.key",
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "2%", "imagefs.available": "2%"},
        "imageGCHighThresholdPercent": 99,
        "imageGCLowThresholdPercent": 98,
    }
    return {
        "ca.crt": authority.certificate.decode(),
        "kubelet.crt": pair.certificate.decode(),
        "kubelet.key": pair.key.decode(),
        "kubelet.json": json.dumps(kubelet),
        "kubelet.kubeconfig": authority.kubeconfig(f"system:node:{name}", groups=["system:nodes"]),
        "proxy.kubeconfig": authority.kubeconfig("system:kube-proxy"),
        "containerd.toml": _CONTAINERD,
    }


def kubelet_command(name: str, address: str) -> list[str]:
    """What runs the kubelet on a node."""
    return [
        *(str(binaries_folder() / "kubelet"), "--container-runtime=remote", "--v=2"),
        "--container-runtime-endpoint=unix:///run/containerd/containerd.sock",
        *("--config=/etc/kubernetes/kubelet.json", "--kubeconfig=/etc/kubernetes/kubelet.kubeconfig"),
        *(f"--hostname-override={name}", f"--node-ip={address}"),
    ]


def proxy_command(name: str) -> list[str]:
    """What runs kube-proxy on a node."""
    return [
        *(str(binaries_folder() / "kube-proxy"), "--proxy-mode=iptables", "--v=2"),
        *("--kubeconfig=/etc/kubernetes/proxy.kubeconfig", f"--hostname-override={name}"),
        *(f"--cluster-cidr={POD_RANGE}", "--healthz-bind-address=127.0.0.1:10256"),
        # The size of the table of connections is the machine's, not a namespace's.
        *("--metrics-bind-address=127.0.0.1:10249", "--conntrack-max-per-core=0"),
    ]


def iptables_links(kind: IptablesKind) -> dict[str, str]:
    """The programs of this kind of iptables, under the names by which they are called."""
    return {f"/opt/iptables/{name}": f"/usr/sbin/{name.replace('tables', f'tables-{kind}', 1)}" for name in _IPTABLES}


def program_path() -> dict[str, str]:
    """PATH of a node's programs, with the kind of iptables that was chosen for it."""
    return {"PATH": "/opt/iptables:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


def make_cgroups(name: str) -> None:
    """A group of its own in each hierarchy, in which the kubelet makes those of the pods."""
    if not (CGROUPS / "memory").is_dir():
        raise LabError("this harness knows control groups of version 1 only (also in hybrid mode)")
    for hierarchy in _HIERARCHIES:
        if (CGROUPS / hierarchy).is_dir():
            (CGROUPS / hierarchy / name).mkdir(exist_ok=True)
    for file in ("cpuset.cpus", "cpuset.mems"):
        (CGROUPS / "cpuset" / name / file).write_text((CGROUPS / "cpuset" / file).read_text())


def remove_cgroups(name: str) -> None:
    """With everything below; what still has processes is tried again for a while, then left."""
    deadline = time.monotonic() + 5
    while found := [root / name for root in CGROUPS.iterdir() if (root / name).is_dir()]:
        for folder in found:
            subprocess.run(
                ["find", folder, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"], check=False, capture_output=True
            )
        if time.monotonic() > deadline:
            return
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    """Whether there is such a process that is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
