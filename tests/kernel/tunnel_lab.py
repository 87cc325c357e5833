"""Hosts as network namespaces on one wire, on which the real `Kernel` is opened, and the tunnels between them.

Kernel and userspace WireGuard are tried alike where the machine has both. wireguard-go's control socket belongs to the
file system, which the hosts share: so each has an interface name of its own.
"""

import asyncio
import os
import secrets
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Literal, Self, TypeVar

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.unit.weavemesh.overlay.overlay_sample import PORT, ULA, UNIVERSE, name
from weavemesh.error import UserError
from weavemesh.kernel.applier import Kernel
from weavemesh.kernel.netns import call_in
from weavemesh.kernel.removal import remove_everything
from weavemesh.overlay.plan import PlanInput, PlannedPeer, plan
from weavemesh.overlay.state import DesiredState, Endpoint, PresharedKey, PrivateKey, PublicKey
from weavemesh.overlay.tunnel import ApplyReport

T = TypeVar("T")
Datapath = Literal["kernel", "userspace"]
DATAPATHS: tuple[Datapath, ...] = ("kernel", "userspace")
_ROUTE_FOR_ALL = "cd /proc/sys/net/ipv4; echo 1 >ip_forward; echo 1 >conf/all/proxy_arp"
PRESHARED = PresharedKey(bytes([7] * 32))


def run(*command: str, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=check, text=True, capture_output=True, timeout=60, input=stdin)


@dataclass
class Host:
    """One namespace; its number gives its underlay address 192.0.2.N."""

    number: int
    namespace: str
    netns_fd: int
    datapath: Datapath
    interface: str = field(default_factory=lambda: f"wmk{secrets.token_hex(3)}")
    private_key: PrivateKey = field(default_factory=lambda: PrivateKey(X25519PrivateKey.generate().private_bytes_raw()))

    @property
    def public_key(self) -> PublicKey:
        key = X25519PrivateKey.from_private_bytes(bytes(self.private_key)).public_key()
        return PublicKey(key.public_bytes_raw())

    @property
    def address(self) -> IPv4Address:
        """In the mesh: the first of the host's own /24."""
        return IPv4Address(f"10.{32 + self.number}.0.1")

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return run("ip", "netns", "exec", self.namespace, *command, check=check)

    def start(self, *command: str) -> subprocess.Popen[str]:
        words = ["ip", "netns", "exec", self.namespace, *command]
        return subprocess.Popen(words, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """The result of a coroutine that runs inside the namespace, on a loop of its own."""

        async def main() -> T:
            return await work()

        return call_in(self.netns_fd, lambda: asyncio.run(main()))

    def with_kernel(self, work: Callable[[Kernel], Awaitable[T]]) -> T:
        """A `Kernel` opened, used and closed: each call is another life of the agent."""

        async def main() -> T:
            kernel = await Kernel.open(interface=self.interface, datapath=self.datapath)
            try:
                return await work(kernel)
            finally:
                await kernel.close()

        return self.call(main)

    def apply(self, desired: DesiredState) -> ApplyReport:
        return self.with_kernel(lambda kernel: kernel.apply(desired))

    def wish(self, ranges: dict["Host", str], *, port: int = PORT) -> DesiredState:
        """Tunnels to these hosts, each with the ranges that it owns, written with spaces between."""
        return plan(
            PlanInput(
                interface=self.interface,
                mtu=1420,
                listen_port=port,
                name=name(self.number),
                private_key=self.private_key,
                public_key=self.public_key,
                address=self.address,
                universe=UNIVERSE,
                ula_prefix=ULA,
                ranges={name(host.number): tuple(map(IPv4Network, text.split())) for host, text in ranges.items()},
                peers=tuple(
                    PlannedPeer(
                        name(host.number),
                        host.public_key,
                        PRESHARED,
                        (Endpoint(IPv4Address(f"192.0.2.{host.number}"), PORT),),
                    )
                    for host in ranges
                ),
            )
        )

    def join(self, *others: "Host") -> DesiredState:
        """The plain mesh: each host owns the /24 of its address. Returns what was applied."""
        desired = self.wish({other: f"10.{32 + other.number}.0.0/24" for other in others})
        report = self.apply(desired)
        assert not report.failures, report.failures
        return desired

    def pings(self, address: str) -> bool:
        return self.run("ping", "-n", "-c1", "-W5", address, check=False).returncode == 0

    def routes(self) -> str:
        return self.run("ip", "route").stdout + self.run("ip", "-6", "route").stdout

    def __hash__(self) -> int:
        return hash(self.namespace)


class Wire:
    """Some hosts on one wire; all of it is gone when it is left.

    Host N has 192.0.2.N. In the middle is a router that answers ARP for all: a bridge
    needs a module that not every machine has.
    """

    def __init__(self, hosts: int, datapath: Datapath) -> None:
        self._stack = ExitStack()
        self._count = hosts
        self._datapath = datapath
        self._mark = secrets.token_hex(2)

    def __enter__(self) -> Self:
        try:
            self._middle = self._namespace("x")
            run("ip", "netns", "exec", self._middle, "sh", "-c", _ROUTE_FOR_ALL)
            self.hosts = tuple(self._host(number) for number in range(1, self._count + 1))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _namespace(self, letter: str) -> str:
        namespace = f"wmk{self._mark}{letter}"
        run("ip", "netns", "add", namespace)
        self._stack.callback(run, "ip", "netns", "del", namespace)
        run("ip", "-n", namespace, "link", "set", "lo", "up")
        return namespace

    def _host(self, number: int) -> Host:
        namespace = self._namespace(str(number))
        netns_fd = os.open(f"/run/netns/{namespace}", os.O_RDONLY | os.O_CLOEXEC)
        self._stack.callback(os.close, netns_fd)
        host = Host(number, namespace, netns_fd, self._datapath)
        far = f"p{number}"
        run("ip", "-n", namespace, "link", "add", "eth0", "type", "veth", "peer", "name", far, "netns", self._middle)
        run("ip", "-n", self._middle, "link", "set", far, "up")
        delay = f"/proc/sys/net/ipv4/neigh/{far}/proxy_delay"
        run("ip", "netns", "exec", self._middle, "sh", "-c", f"echo 0 >{delay}")
        run("ip", "-n", self._middle, "route", "add", f"192.0.2.{number}", "dev", far)
        run("ip", "-n", namespace, "address", "add", f"192.0.2.{number}/24", "dev", "eth0")
        run("ip", "-n", namespace, "link", "set", "eth0", "up")
        self._stack.callback(host.call, lambda: remove_everything(host.interface))
        return host


def root_missing() -> str | None:
    """Which capability a test with namespaces lacks; None if none."""
    return None if os.geteuid() == 0 else "needs root: network namespaces"


def missing(datapath: Datapath) -> str | None:
    """Which capability a test of this data path lacks on this machine; None if none."""
    if reason := root_missing():
        return reason
    if datapath == "userspace":
        if shutil.which("wireguard-go") is None:
            return "needs wireguard-go in PATH"
        return None if os.path.exists("/dev/net/tun") else "needs /dev/net/tun"
    with Wire(1, "kernel") as wire:
        try:
            wire.hosts[0].with_kernel(_nothing)
        except UserError:
            return "needs a kernel with WireGuard"
    return None


async def _nothing(_: Kernel) -> None:
    return


class Pings:
    """200 pings at 100 a second, which end by themselves: one that is stopped counts the last on its way as lost."""

    def __init__(self, host: Host, address: str) -> None:
        self._process = host.start("ping", "-n", "-q", "-i", "0.01", "-c", "200", "-W", "5", address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def lost(self) -> int:
        """How many had no answer; waits for the end."""
        assert self._process.stdout is not None
        summary = next(line for line in self._process.stdout if "packets transmitted" in line).split()
        return int(summary[0]) - int(summary[3])
