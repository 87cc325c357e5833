"""Machines for demonstrations and tests: Linux namespaces that behave like hosts of their own.

Each machine has its own network, mounts, host name and process ids, and private copies of /run, /etc and /var/lib,
so that the commands of the README run on it unchanged. What it is not: a container engine. Everything ends with the
process that made it, also when that is killed: a machine is the process group of its own process 1.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_interface
from pathlib import Path
from typing import Any, Self, TypeVar

T = TypeVar("T")

PROJECT = Path(__file__).resolve().parents[2]
_ENVIRONMENT = {"PYTHONDONTWRITEBYTECODE": ""}
"""Of every command: its bytecode is kept, as that of an installed program is."""
BIN = Path(sys.executable).parent
CNI_PLUGIN = PROJECT / "build" / "cni" / "weavemesh"
CNI_CONFIG = {"cniVersion": "1.0.0", "name": "weavemesh", "type": "weavemesh"}

_PRIVATE_FOLDERS = """
set -e
mount -t tmpfs wm /run
for folder in /etc /var/lib; do
    over=/run/wm-private$folder; mkdir -p $over/upper $over/work
    mount -t overlay wm -o lowerdir=$folder,upperdir=$over/upper,workdir=$over/work $folder
done
rm -rf /etc/weavemesh /var/lib/weavemesh /var/lib/cni
mkdir /run/wm-private/cgroup; mount --rbind /sys/fs/cgroup /run/wm-private/cgroup
mount -t sysfs wm /sys; mount --rbind /run/wm-private/cgroup /sys/fs/cgroup
"""
"""What the real host has of ours is hidden, and /sys shows the machine's own interfaces."""
_STAY = """
ip link set lo up
exec "$0" -I -S -c '
import signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
open("/run/wm-private/ready", "w").close()
while True:
    signal.pause()
'
"""
"""Process 1 ignores SIGCHLD: the kernel then reaps what is orphaned to it."""
_UNSHARE = [
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--mount", "--uts", "--net", "--ipc", "--pid", "--fork", "--mount-proc", "--kill-child"),
]
"""Whoever makes a machine takes it along when it dies."""
_READY_FILE = "run/wm-private/ready"


class LabError(Exception):
    """The lab cannot be built here, or a command in it failed; the text says which and what it printed."""


def wait_until(condition: Callable[[], T], *, seconds: float, what: str) -> T:
    """Return the first true value of `condition`; LabError after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        if time.monotonic() > deadline:
            raise LabError(f"waited {seconds:g} s in vain for: {what}")
        time.sleep(0.05)


@dataclass
class Machine:
    """One machine; commands run on it as on a host."""

    name: str
    init_pid: int
    environment: dict[str, str] = field(default_factory=dict)
    """Added to the environment of every command."""

    def command(self, *command: str) -> list[str]:
        """The command line that runs `command` on this machine, seen from outside."""
        return ["nsenter", "-t", str(self.init_pid), "-m", "-u", "-n", "-i", "-p", "--", *command]

    def run(
        self,
        *command: str,
        check: bool = True,
        stdin: str = "",
        timeout_s: float = 60,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end; LabError on a status other than 0 unless `check` is off."""
        result = subprocess.run(
            self.command(*command),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env={**os.environ, **_ENVIRONMENT, **self.environment, **(env or {})},
            check=False,
        )
        if check and result.returncode != 0:
            raise LabError(f"{self.name}: {' '.join(command)} → {result.returncode}\n{result.stdout}{result.stderr}")
        return result

    def start(
        self, *command: str, stdout: int = subprocess.DEVNULL, stderr: int = subprocess.DEVNULL
    ) -> subprocess.Popen[str]:
        """Start and return at once; the machine's end ends it too."""
        return subprocess.Popen(
            self.command(*command),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            text=True,
            env={**os.environ, **_ENVIRONMENT, **self.environment},
        )

    def weavemesh(self, *arguments: str, check: bool = True, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run the command line of the project, exactly as a user would."""
        return self.run(str(BIN / "weavemesh"), *arguments, check=check, timeout_s=timeout_s)

    def status(self) -> Any:
        """`weavemesh status --json`, decoded."""
        return json.loads(self.weavemesh("status", "--json", check=False).stdout)

    def ip(self, *arguments: str) -> str:
        return self.run("ip", *arguments).stdout

    def write_file(self, path: str, text: str, *, mode: int = 0o600) -> None:
        """Write a file with this mode; its folder is made. The text goes in by a pipe, not by arguments."""
        script = 'umask 077; mkdir -p "$(dirname "$1")"; cat >"$1"; chmod "$2" "$1"'
        self.run("sh", "-c", script, "sh", path, f"{mode:o}", stdin=text)

    def processes(self, pattern: str) -> list[int]:
        """Process ids on this machine (its own numbering) whose command line matches."""
        found = self.run("pgrep", "-f", pattern, check=False).stdout.split()
        return [int(pid) for pid in found]

    def add_pod(self, name: str) -> "Pod":
        """Make a pod's network namespace and attach it through the CNI executable, as a container runtime does."""
        self.ip("netns", "add", name)
        pod = Pod(self, name)
        pod.result = json.loads(pod.cni("ADD").stdout)
        return pod


@dataclass
class Pod:
    """A network namespace on a machine, with what the CNI plugin answered."""

    machine: Machine
    name: str
    result: Any = None

    @property
    def ipv4(self) -> IPv4Address:
        return next(a for a in self._addresses() if isinstance(a, IPv4Address))

    @property
    def ipv6(self) -> IPv6Address:
        return next(a for a in self._addresses() if isinstance(a, IPv6Address))

    def cni(
        self, verb: str, *, check: bool = True, config: Mapping[str, object] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the CNI executable for this pod with environment and stdin as containerd gives them."""
        environment = {
            "CNI_COMMAND": verb, "CNI_CONTAINERID": f"wm-{self.name}", "CNI_NETNS": f"/run/netns/{self.name}",
            "CNI_IFNAME": "eth0", "CNI_PATH": str(CNI_PLUGIN.parent),
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=demo;K8S_POD_NAME={self.name}",
        }  # fmt: skip
        stdin = json.dumps({**CNI_CONFIG, **(config or {})})
        return self.machine.run(str(CNI_PLUGIN), stdin=stdin, env=environment, check=check)

    def command(self, *command: str) -> list[str]:
        return self.machine.command("nsenter", f"--net=/run/netns/{self.name}", "--", *command)

    def run(self, *command: str, check: bool = True, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        return self.machine.run(
            "nsenter", f"--net=/run/netns/{self.name}", "--", *command, check=check, timeout_s=timeout_s
        )

    def start(self, *command: str, stdout: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*command), stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.STDOUT, text=True
        )

    def answers(self, address: str, *, seconds: float = 2) -> bool:
        """One ping to the address is answered."""
        return self.run("ping", "-n", "-c1", f"-W{seconds:g}", address, check=False).returncode == 0

    def _addresses(self) -> list[IPv4Address | IPv6Address]:
        return [ip_interface(entry["address"]).ip for entry in self.result["ips"]]


class Lab:
    """Makes machines and the wires between them; a context manager that leaves nothing behind."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for program in ("unshare", "nsenter", "setpriv", "ip"):
            if shutil.which(program) is None:
                raise LabError(f"{program} is missing; run `make setup`")
        if os.geteuid() != 0:
            raise LabError("namespaces need root; run this as root (sudo make …)")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def machine(
        self, name: str, *, forwarding: bool = False, folders: str = _PRIVATE_FOLDERS, arguments: Sequence[str] = ()
    ) -> Machine:
        """A new machine without any wire. `folders` is the script that gives it its private folders, called with these
        arguments; it makes /run/wm-private in what it makes its root."""
        process = subprocess.Popen(
            [*_UNSHARE, "sh", "-c", folders + _STAY, sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._stack.callback(self._end, process)

        def init_pid() -> int | None:
            if process.poll() is not None:
                raise LabError(f"cannot make machine {name}: unshare ended with {process.returncode}")
            children = children_of(process.pid)
            return children[0] if children and Path(f"/proc/{children[0]}/root/{_READY_FILE}").exists() else None

        machine = Machine(name, wait_until(init_pid, seconds=10, what=f"machine {name}") or 0)
        machine.run("hostname", name)
        if forwarding:
            machine.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
        return machine

    def wire(self, one: Machine, one_end: str, other: Machine, other_end: str) -> None:
        """Join two machines by a veth pair; an end is `interface=address/prefix`, of either family, both are set up."""
        ends = [end.partition("=")[::2] for end in (one_end, other_end)]
        # Not by one.ip(): the other machine's process id means nothing inside the first.
        pair = [
            "ip",
            "link",
            "add",
            ends[0][0],
            "type",
            "veth",
            "peer",
            "name",
            ends[1][0],
            "netns",
            str(other.init_pid),
        ]
        subprocess.run(["nsenter", "-t", str(one.init_pid), "-n", *pair], check=True)
        for machine, (interface, address) in zip((one, other), ends, strict=True):
            # A link that was just made has nobody else on it: no duplicate address detection.
            nodad = ("nodad",) if ip_interface(address).version == 6 else ()
            machine.ip("address", "add", str(ip_interface(address)), "dev", interface, *nodad)
            machine.ip("link", "set", interface, "up")

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGKILL)  # --kill-child passes it on to process 1, which takes the machine along
        process.wait()


@contextmanager
def running(process: subprocess.Popen[str], *, stop: int = signal.SIGTERM) -> Iterator[subprocess.Popen[str]]:
    """The process, ended (with this signal, in the end with SIGKILL) when the block is left."""
    try:
        yield process
    finally:
        end(process, stop=stop)


def interrupt(process: subprocess.Popen[str], *, stop: int = signal.SIGINT) -> None:
    """Send a signal to a process that was started on a machine: it is the child of nsenter."""
    for pid in children_of(process.pid) or [process.pid]:
        os.kill(pid, stop)


def children_of(pid: int) -> list[int]:
    """Process ids of its children. Not from /proc/PID/task/PID/children, which small kernels lack."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # ended meanwhile
            # proc(5): after the name in parentheses, which may hold anything, come the state and the parent.
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def end(process: subprocess.Popen[str], *, stop: int = signal.SIGTERM) -> None:
    """End a process that was started on a machine, with this signal, after ten seconds with SIGKILL."""
    if process.poll() is None:
        interrupt(process, stop=stop)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def resident_mib(machine: Machine, pids: Sequence[int]) -> float:
    """Resident memory (VmRSS) of these processes of the machine together, in MiB."""
    total = 0
    for pid in pids:
        for line in machine.run("cat", f"/proc/{pid}/status").stdout.splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1])
    return total / 1024
