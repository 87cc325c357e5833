"""Benchmark: what our network costs between pods on two hosts, beside the same path made by hand and the bare tunnel.

Claims: at least 0.97 of the path made by hand, at least 0.90 of the bare tunnel, in throughput and in packets. All
three are there at once on the same two machines, each with a TCP connection and a UDP socket that stay, and are
measured by turns in slices of a tenth of a second: a noisy machine changes its pace from second to second, and
neighbouring slices see the same pace. What is claimed is the median of the ratios of neighbours; the interval that
holds it is shown.
`make bench`, or `python tests/bench/throughput.py [ROUNDS [SECONDS]]` as root in the project's environment.
"""

import math
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tabulate import tabulate

from deploy.demo.lab import Lab, Machine, wait_until
from weavemesh.kernel.netns import call_in

ROUNDS, SECONDS = 150, 0.1
MTU = 1420
BY_HAND_PORT, PORT = 51820, 5201
SMALL_BYTES = 64
CHUNK_BYTES, TAKE_BYTES = 1 << 17, 1 << 18
DRAIN_S = 0.02
"""So long after the last small packet is waited for those on their way."""
HOST_MAC, POD_MAC = "ee:ee:ee:ee:ee:ee", "02:00:00:00:00:01"


@dataclass
class Way:
    """One way from a source to a destination, and what was measured on it."""

    name: str
    source: int
    """Descriptor of its network namespace."""
    destination: int
    address: str
    mbit_s: list[float] = field(default_factory=list)
    packets_s: list[float] = field(default_factory=list)


class Bulk:
    """A TCP connection on a way; whoever takes what arrives is a thread."""

    def __init__(self, way: Way) -> None:
        with call_in(way.destination, lambda: socket.create_server(("0.0.0.0", PORT))) as server:
            self._out = call_in(way.source, lambda: socket.create_connection((way.address, PORT), timeout=30))
            self._in, _ = server.accept()
        self._taken = 0
        self._wanted = math.inf
        self._complete = threading.Event()
        threading.Thread(target=self._take, daemon=True).start()

    def mbit_s(self, seconds: float) -> float:
        """Of a slice: from the first byte sent to the last taken."""
        self._complete.clear()
        sent, chunk = 0, bytes(CHUNK_BYTES)
        before, began = self._taken, time.perf_counter()
        while time.perf_counter() - began < seconds:
            self._out.sendall(chunk)
            sent += len(chunk)
        self._wanted = before + sent
        if self._taken < self._wanted:
            self._complete.wait()
        self._wanted = math.inf
        return sent * 8 / 1e6 / (time.perf_counter() - began)

    def _take(self) -> None:
        buffer = bytearray(TAKE_BYTES)
        while count := self._in.recv_into(buffer):
            self._taken += count
            if self._taken >= self._wanted:
                self._complete.set()


class Small:
    """Small UDP packets on a way, as fast as they go."""

    def __init__(self, way: Way) -> None:
        self._in = call_in(way.destination, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._in.bind(("0.0.0.0", PORT))
        self._out = call_in(way.source, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._out.connect((way.address, PORT))
        self._taken = 0
        threading.Thread(target=self._take, daemon=True).start()

    def packets_s(self, seconds: float) -> float:
        """Of a slice: those that arrived."""
        before, began, packet = self._taken, time.perf_counter(), bytes(SMALL_BYTES)
        while time.perf_counter() - began < seconds:
            with suppress(OSError):
                self._out.send(packet)
        took = time.perf_counter() - began
        seen = -1
        while seen != (seen := self._taken):
            time.sleep(DRAIN_S)
        return (self._taken - before) / took

    def _take(self) -> None:
        buffer = bytearray(SMALL_BYTES)
        while self._in.recv_into(buffer):
            self._taken += 1


def namespace_of(machine: Machine, pod: str | None = None) -> int:
    """A descriptor of the network namespace of a machine, or of a pod on it."""
    folder = f"/proc/{machine.init_pid}"
    return os.open(f"{folder}/root/run/netns/{pod}" if pod else f"{folder}/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def run(command: list[str], stdin: str = "") -> str:
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True).stdout


def build_by_hand(machines: tuple[Machine, Machine]) -> tuple[Way, Way]:
    """wireguard-go, veth pairs, static routes and neighbours, typed in; the way of hosts and the way of pods."""
    keys = [run(machine.command("wg", "genkey")).strip() for machine in machines]
    public = [run(["wg", "pubkey"], stdin=key).strip() for key in keys]
    for number, machine in enumerate(machines):
        other = 1 - number
        # In a process session of its own, as any service: the scheduler shares the processors out among sessions
        # (sched_autogroup), and a wireguard-go in this program's would be measured on other terms than ours.
        if machine.run("ip", "link", "add", "wmh0", "type", "wireguard", check=False).returncode != 0:
            machine.run("sh", "-c", "LOG_LEVEL=error exec setsid --wait wireguard-go wmh0 >/dev/null 2>&1")
        config = (
            f"[Interface]\nPrivateKey={keys[number]}\nListenPort={BY_HAND_PORT}\n"
            f"[Peer]\nPublicKey={public[other]}\nEndpoint=192.0.2.{other + 1}:{BY_HAND_PORT}\n"
            f"AllowedIPs=172.30.{other}.0/24\n"
        )
        machine.run("sh", "-c", "wg setconf wmh0 /dev/stdin", stdin=config)
        machine.ip("address", "add", f"172.30.{number}.1/32", "dev", "wmh0")
        machine.ip("link", "set", "wmh0", "mtu", str(MTU), "up")
        machine.ip("route", "add", f"172.30.{other}.0/24", "dev", "wmh0", "src", f"172.30.{number}.1")
        wire_by_hand(machine, f"172.30.{number}.2")
    one, other_machine = machines
    hosts = Way("bare tunnel, host to host", namespace_of(one), namespace_of(other_machine), "172.30.1.1")
    pods = Way("pods by hand", namespace_of(one, "hand"), namespace_of(other_machine, "hand"), "172.30.1.2")
    return hosts, pods


def wire_by_hand(machine: Machine, address: str) -> None:
    """A pod on a /32 with a link-local gateway and permanent neighbours."""
    machine.ip("netns", "add", "hand")
    machine.ip("link", "add", "wmhand", "type", "veth", "peer", "name", "eth0", "netns", "hand")
    for arguments in (
        ("link", "set", "wmhand", "address", HOST_MAC, "mtu", str(MTU), "up"),
        ("-n", "hand", "link", "set", "eth0", "address", POD_MAC, "mtu", str(MTU), "up"),
        ("-n", "hand", "address", "add", f"{address}/32", "dev", "eth0"),
        ("-n", "hand", "route", "add", "169.254.1.1", "dev", "eth0", "scope", "link"),
        ("-n", "hand", "route", "add", "default", "via", "169.254.1.1", "dev", "eth0"),
        ("-n", "hand", "neigh", "add", "169.254.1.1", "lladdr", HOST_MAC, "dev", "eth0", "nud", "permanent"),
        ("neigh", "add", address, "lladdr", POD_MAC, "dev", "wmhand", "nud", "permanent"),
        ("route", "add", f"{address}/32", "dev", "wmhand"),
    ):
        machine.ip(*arguments)


def build_ours(machines: tuple[Machine, Machine]) -> Way:
    """As a user does it: two commands, and pods by the CNI executable."""
    one, other = machines
    one.weavemesh("secret", "--write")
    other.write_file("/etc/weavemesh/secret", one.run("cat", "/etc/weavemesh/secret").stdout)
    one.weavemesh("up")
    other.weavemesh("up", "192.0.2.1")
    source, destination = one.add_pod("ours"), other.add_pod("ours")
    address = str(destination.ipv4)
    wait_until(lambda: source.answers(address), seconds=15, what="the first answer")
    return Way("pods by weavemesh", namespace_of(one, source.name), namespace_of(other, destination.name), address)


def throughput(way: Way) -> list[float]:
    return way.mbit_s


def packet_rate(way: Way) -> list[float]:
    return way.packets_s


def row(way: Way, hand: Way, bare: Way) -> list[str]:
    """Median and spread, and ratios to the references."""
    cells = [way.name]
    for of in (throughput, packet_rate):
        values = of(way)
        low, *_, high = statistics.quantiles(values, n=10)
        cells += [f"{statistics.median(values):,.0f}", f"{low:,.0f} to {high:,.0f}"]
        cells += ["" if way is reference else ratio(values, of(reference)) for reference in (hand, bare)]
    return cells


def ratio(values: list[float], references: list[float]) -> str:
    """The median of the rounds' own ratios, and the interval that holds it with 95 % (by ranks)."""
    ratios = sorted(mine / theirs for mine, theirs in zip(values, references, strict=True))
    middle, reach = len(ratios) / 2, 0.98 * math.sqrt(len(ratios))
    low, high = ratios[max(0, math.floor(middle - reach))], ratios[min(len(ratios) - 1, math.ceil(middle + reach))]
    return f"{statistics.median(ratios):.3f} ({low:.2f} to {high:.2f})"


def main() -> None:
    """Print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else SECONDS
    with Lab() as lab:
        machines = lab.machine("one", forwarding=True), lab.machine("other", forwarding=True)
        lab.wire(machines[0], "eth0=192.0.2.1/24", machines[1], "eth0=192.0.2.2/24")
        ours = build_ours(machines)
        bare, hand = build_by_hand(machines)
        ways = [(way, Bulk(way), Small(way)) for way in (bare, hand, ours)]
        for number in range(rounds):
            order = ways[number % 3 :] + ways[: number % 3]  # each is first as often as the others
            for way, bulk, _ in order:
                way.mbit_s.append(bulk.mbit_s(seconds))
            for way, _, small in order:
                way.packets_s.append(small.packets_s(seconds))
    half = ["10 to 90 %", "of by hand", "of bare"]
    headers = ["way", "Mbit/s", *half, f"packets/s ({SMALL_BYTES} B)", *half]
    print(tabulate([row(way, hand, bare) for way, _, _ in ways], headers=headers, disable_numparse=True))


if __name__ == "__main__":
    main()
