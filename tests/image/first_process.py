#!/usr/bin/python3 -I
"""The first process of an emulated machine whose root is the image: two hosts in namespaces, a mesh, a pod on each.

It prints a line of JSON for each command and shuts the machine down. Runs with the image's own Python and nothing else.
"""

import ctypes
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

END = "END OF WHAT WAS ASKED"
_CLONE_NEWNS, _CLONE_NEWNET, _MS_REC, _MS_PRIVATE = 0x20000, 0x40000000, 0x4000, 0x40000
_FINIT_MODULE = {"x86_64": 313, "aarch64": 273}
_POWER_OFF = 0x4321FEDC
_PATIENCE_S = 300.0
LIBC = ctypes.CDLL(None, use_errno=True)
PIDS: dict[str, int] = {}
"""Of a process on each host."""


def check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def mount(source: str, target: str, kind: str | None = None, flags: int = 0) -> None:
    Path(target).mkdir(parents=True, exist_ok=True)
    result = LIBC.mount(source.encode(), target.encode(), kind.encode() if kind else None, flags, None)
    check(result, f"mount {target}")


def make_host(name: str) -> None:
    """A process that waits for ever, with a network, /run and state of its own."""
    ready, told = os.pipe()
    PIDS[name] = os.fork()
    if PIDS[name] == 0:
        check(LIBC.unshare(_CLONE_NEWNS | _CLONE_NEWNET), "unshare")
        mount("none", "/", flags=_MS_REC | _MS_PRIVATE)
        for folder in ("/run", "/var/lib", "/opt", "/etc/cni"):
            mount("tmpfs", folder, "tmpfs")
        os.write(told, b"!")
        time.sleep(1e9)
    os.read(ready, 1)


def on(host: str) -> Callable[[], None]:
    """What a child does to be on a host."""

    def enter() -> None:
        for kind in ("net", "mnt"):
            check(LIBC.setns(os.open(f"/proc/{PIDS[host]}/ns/{kind}", os.O_RDONLY), 0), "setns")

    return enter


def run(host: str | None, *words: str, stdin: str = "", **environment: str) -> str:
    """Run a command, on a host; tell of it; its output."""
    done = subprocess.run(
        words,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=_PATIENCE_S,
        env={**os.environ, **environment},
        preexec_fn=on(host) if host else None,
    )
    told = {"host": host, "command": " ".join(words), "status": done.returncode}
    say(json.dumps({**told, "out": done.stdout, "err": done.stderr}))
    return done.stdout


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def start_kernel() -> None:
    for source, target, kind in (("proc", "/proc", "proc"), ("sys", "/sys", "sysfs"), ("dev", "/dev", "devtmpfs")):
        mount(source, target, kind)
    for folder in ("/run", "/tmp"):
        mount("tmpfs", folder, "tmpfs")
    console = os.open("/dev/console", os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(console, number)
    os.environ.update(PATH="/usr/sbin:/usr/bin", HOME="/root", LANG="C.UTF-8")
    for file in sorted(Path("/modules").iterdir()):
        module = os.open(file, os.O_RDONLY)
        check(LIBC.syscall(_FINIT_MODULE[os.uname().machine], module, b"", 0), str(file))
        os.close(module)


def main() -> None:
    start_kernel()
    for host in "ab":
        make_host(host)
    run(None, *f"ip link add eth0 netns {PIDS['a']} type veth peer name eth0 netns {PIDS['b']}".split())
    run(None, "weavemesh", "secret", "--write")
    for host, address in (("a", "192.0.2.1"), ("b", "192.0.2.2")):
        for words in ("link set lo up", f"addr add {address}/24 dev eth0", "link set eth0 up"):
            run(host, "ip", *words.split())
        targets = ["192.0.2.1"] if host == "b" else []
        run(host, "weavemesh", "up", "--nickname", host, "--wait", f"{_PATIENCE_S:g}", *targets)
    addresses = [add_pod(host) for host in "ab"]
    for host, other in (("a", addresses[1]), ("b", addresses[0])):
        run(host, "ip", "netns", "exec", "pod", "ping", "-c", "3", "-i", "0.2", "-W", "5", other)
    run("b", "weavemesh", "status", "--json")
    for host in "ba":
        run(host, "weavemesh", "down")
        run(host, "ip", "-json", "link")


def add_pod(host: str) -> str:
    """By the CNI executable, as a runtime does it; its address."""
    run(host, "weavemesh", "cni", "install")
    run(host, "ip", "netns", "add", "pod")
    network = {"cniVersion": "1.0.0", "name": "weavemesh", "type": "weavemesh"}
    answer = run(
        host,
        "/opt/cni/bin/weavemesh",
        stdin=json.dumps(network),
        CNI_COMMAND="ADD",
        CNI_CONTAINERID="pod",
        CNI_NETNS="/run/netns/pod",
        CNI_IFNAME="eth0",
        CNI_PATH="/opt/cni/bin",
    )
    address: str = json.loads(answer)["ips"][0]["address"].split("/")[0]
    return address


try:
    main()
finally:
    if sys.exc_info()[0] is not None:
        traceback.print_exc(file=sys.stdout)
    say(END)
    LIBC.reboot(_POWER_OFF)
