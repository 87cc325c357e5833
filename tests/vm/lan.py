"""Wires between guests: multicast groups inside a network namespace that nobody else has.

Every guest's interface sends its frames, whole, to the group of its wire. No interface, bridge or address of the host
is touched; whoever listens on the namespace's loopback sees all frames of all wires (`capture`).
"""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Self

from tests.vm.guest import GuestError

_GROUP = "239.77.0"
_PORT_BASE = 17000
_READY = "ready"
_HOLD = f"ip link set lo up multicast on && ip route add 224.0.0.0/4 dev lo && echo {_READY} && exec sleep infinity"


class Lans:
    """A private network namespace for wires; a context manager that leaves nothing behind."""

    def __enter__(self) -> Self:
        for program in ("unshare", "nsenter", "setpriv", "ip"):
            if shutil.which(program) is None:
                raise GuestError(f"{program} is missing (Debian: util-linux, iproute2)")
        if os.geteuid() != 0:
            raise GuestError("guests that are wired together need root, for a network namespace")
        self._holder = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sh", "-c", _HOLD],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline().strip() != _READY:
            self.__exit__()
            raise GuestError("the namespace of the guests' wires could not be made")
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.send_signal(signal.SIGKILL)
        self._holder.communicate()

    @property
    def prefix(self) -> tuple[str, ...]:
        """What has to stand before a command for it to run beside the wires."""
        return ("nsenter", "-t", str(self._holder.pid), "--net", "--")

    def capture(self, path: Path) -> subprocess.Popen[str]:
        """A tcpdump that writes all frames of all wires to a file, each in its envelope of IP and UDP."""
        command = ["tcpdump", "-i", "lo", "-n", "-U", "-w", str(path), "udp and dst net 239.77.0.0/16"]
        process = subprocess.Popen([*self.prefix, *command], stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        for line in process.stderr:
            if "listening on" in line:
                return process
        raise GuestError("tcpdump did not start; is it installed?")


def wire(interface: int, *, lan: int, host: int) -> str:
    """The kernel's argument for the guest's interface `eth<interface>` on a wire, as its host number `host` (1…254)."""
    return f"eth{interface}=mcast,{mac(lan, host)},{_GROUP}.{lan},{_PORT_BASE + lan},1"


def mac(lan: int, host: int) -> str:
    """The hardware address of that interface."""
    return f"02:77:00:00:{lan:02x}:{host:02x}"
