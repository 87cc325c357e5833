"""Benchmark: what our network costs between pods on two hosts, beside the same path made by hand and the bare tunnel.

Claims: at least 0.97 of the path made by hand, at least 0.90 of the bare tunnel, in throughput and in packets. All
three are there at once on the same two machines and are measured in turns, so that the machine's noise falls on all
alike. `make bench`, or `python tests/bench/throughput.py [ROUNDS [SECONDS]]` as root in the project's environment.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tabulate import tabulate

from deploy.demo.lab import Lab, Machine, end, wait_until

ROUNDS, SECONDS = 7, 2.0
MTU = 1420
BY_HAND_PORT = 51820
SMALL_BYTES = 64
HOST_MAC, POD_MAC = "ee:ee:ee:ee:ee:ee", "02:00:00:00:00:01"


@dataclass
class Way:
    """One way from a source to a destination, and what was measured on it."""

    name: str
    source: Callable[..., list[str]]
    """Makes the command line that runs a command at the source."""
    destination: Callable[..., list[str]]
    address: str
    mbit_s: list[float] = field(default_factory=list)
    packets_s: list[float] = field(default_factory=list)


def in_namespace(machine: Machine, name: str) -> Callable[..., list[str]]:
    return lambda *command: machine.command("nsenter", f"--net=/run/netns/{name}", "--", *command)


def run(command: list[str], stdin: str = "") -> str:
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True).stdout


def build_by_hand(machines: tuple[Machine, Machine]) -> tuple[Way, Way]:
    """wireguard-go, veth pairs, static routes and neighbours, typed in; the way of hosts and the way of pods."""
    keys = [run(machine.command("wg", "genkey")).strip() for machine in machines]
    public = [run(["wg", "pubkey"], stdin=key).strip() for key in keys]
    for number, machine in enumerate(machines):
        other = 1 - number
        # In a process session of its own, as any service: the scheduler shares the processors out among sessions
        # (sched_autogroup), and a wireguard-go in the session of iperf3 would be measured on other terms than ours.
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
    hosts = Way("bare tunnel, host to host", one.command, other_machine.command, "172.30.1.1")
    pods = Way("pods by hand", in_namespace(one, "hand"), in_namespace(other_machine, "hand"), "172.30.1.2")
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
    return Way("pods by weavemesh", source.command, destination.command, str(destination.ipv4))


@contextmanager
def iperf_server(way: Way) -> Iterator[None]:
    server = subprocess.Popen(way.destination("iperf3", "-s", "-1"), stdout=subprocess.DEVNULL, text=True)
    try:
        listening = way.destination("sh", "-c", "ss -Hltn sport = :5201")
        wait_until(lambda: run(listening), seconds=5, what="iperf3 to listen")
        yield
    finally:
        end(server)


def measure(way: Way, seconds: float) -> None:
    """One round: TCP throughput, then small packets as fast as they go."""
    client = ("iperf3", "-c", way.address, "-J", "-t", f"{seconds:g}")
    with iperf_server(way):
        tcp = json.loads(run(way.source(*client, "-O", "0.3")))
    way.mbit_s.append(tcp["end"]["sum_received"]["bits_per_second"] / 1e6)
    with iperf_server(way):
        udp = json.loads(run(way.source(*client, "-u", "-b", "0", "-l", str(SMALL_BYTES))))["end"]["sum"]
    way.packets_s.append((udp["packets"] - udp["lost_packets"]) / udp["seconds"])


def throughput(way: Way) -> list[float]:
    return way.mbit_s


def packet_rate(way: Way) -> list[float]:
    return way.packets_s


def row(way: Way, hand: Way, bare: Way) -> list[str]:
    """Medians, spread, and ratios: of medians, and the median of the rounds' own ratios."""
    cells = [way.name]
    for of in (throughput, packet_rate):
        values = of(way)
        low, *_, high = statistics.quantiles(values, n=10)
        cells += [f"{statistics.median(values):,.0f}", f"{low:,.0f} to {high:,.0f}"]
        for reference in (hand, bare):
            ratios = [mine / theirs for mine, theirs in zip(values, of(reference), strict=True)]
            cells.append(f"{statistics.median(ratios):.3f}")
    return cells


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else SECONDS
    with Lab() as lab:
        machines = lab.machine("one", forwarding=True), lab.machine("other", forwarding=True)
        lab.wire(machines[0], "eth0=192.0.2.1/24", machines[1], "eth0=192.0.2.2/24")
        ours = build_ours(machines)
        bare, hand = build_by_hand(machines)
        ways = [bare, hand, ours]
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
            for way in ways[number % 3 :] + ways[: number % 3]:  # each is first as often as the others
                measure(way, seconds)
    headers = [
        "way",
        "Mbit/s",
        "10 to 90 %",
        "of by hand",
        "of bare",
        f"packets/s ({SMALL_BYTES} B)",
        "10 to 90 %",
        "of by hand",
        "of bare",
    ]
    print(tabulate([row(way, hand, bare) for way in ways], headers=headers, disable_numparse=True))


if __name__ == "__main__":
    main()
