"""Changes of a live kernel data path under a thousand packets a second: how many are lost, and where.

Usage: python -m tests.vm run -m 768 -- .venv/bin/python tests/bench/kernel_changes.py [ROUNDS [BUFFER_BYTES]]
       (or as root, without a guest, on a machine whose kernel has WireGuard)

First, 100 allowed IPs move between two live peers and back: a ping to each of the two by turns, and numbered datagrams
to an address in a range that moves and that both peers have; each must arrive at one of them. (A ping to it could be
answered by the peer that has just lost the range, and that answer is refused, as it should be.) Then agents get new
keys, by turns, while pods ping. The pings are this program's own: ping(8) at an interval of 1 ms comes to 300 a second
in a guest, whose clock ticks slowly, and these make up for what they slept too long.

What is lost is told apart by the kernel's counters: packets for which the receiving socket had no room (its buffer is
BUFFER_BYTES; 0 for the usual one), and packets that a tunnel device refused, dropped or could not send.
"""

import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from deploy.demo.lab import Lab, Machine, Pod, wait_until
from tests.kernel.tunnel_lab import Wire
from weavemesh.kernel.netns import call_in
from weavemesh.secret import ClusterSecret

ROUNDS = 10
PER_SECOND = 1000
MOVING = 100
PORT = 9000
BUFFER_BYTES = 16 << 20
"""Receivers share a processor with the sender and what it moves."""
SETTLE_S = 3.0
"""So long is waited for packets that are on their way."""
MOVED_ADDRESS = "10.40.0.1"
_SO_RCVBUFFORCE, _SO_RXQ_OVFL = 33, 40
_ECHO_REQUEST, _ECHO_REPLY = 8, 0
_ICMP = struct.Struct("!BBHHHQ")
HEADERS = ["change, and what was sent meanwhile", "sent", "a second", "lost", "no room in a socket", "by a device"]


class Receiver:
    """Takes numbers from a socket until it is told to end."""

    def __init__(self, sock: socket.socket, number_in: Callable[[bytes], int | None]) -> None:
        self.received: set[int] = set()
        self.overflowed = 0
        self._sock = sock
        self._number_in = number_in
        self._done = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        self._done = True
        self._thread.join()
        self._sock.close()

    def _run(self) -> None:
        while not self._done:
            with suppress(TimeoutError):
                packet, ancillary, _, _ = self._sock.recvmsg(256, 64)
                for _, kind, content in ancillary:
                    if kind == _SO_RXQ_OVFL:
                        (self.overflowed,) = struct.unpack("=I", content)
                number = self._number_in(packet)
                if number is not None:
                    self.received.add(number)


class Stream:
    """Numbered packets at PER_SECOND, and what has arrived of them."""

    def __init__(self, send: Callable[[int], None], receivers: Sequence[Receiver]) -> None:
        self.sent = 0
        self._took = 0.0
        self._send = send
        self._receivers = receivers
        self._ended = threading.Event()
        self._sender = threading.Thread(target=self._run)
        self._sender.start()

    def end(self) -> tuple[int, float, int, int]:
        """Sent, a second, lost, and of these for want of room; waits for what is on its way."""
        self._ended.set()
        self._sender.join()
        missing, deadline = self._missing(), time.monotonic() + SETTLE_S
        while missing and time.monotonic() < deadline:
            time.sleep(0.2)
            missing = self._missing()
        for receiver in self._receivers:
            receiver.end()
        return self.sent, self.sent / self._took, missing, sum(one.overflowed for one in self._receivers)

    def _missing(self) -> int:
        return self.sent - len(set[int]().union(*(one.received for one in self._receivers)))

    def _run(self) -> None:
        began = time.monotonic()
        while not self._ended.is_set():
            with suppress(OSError):  # refused by our own kernel: lost too
                self._send(self.sent)
            self.sent += 1
            time.sleep(max(0.0, began + self.sent / PER_SECOND - time.monotonic()))
        self._took = time.monotonic() - began


def sized(sock: socket.socket) -> socket.socket:
    """A receiver's socket: with our buffer, and with the count of what found no room."""
    if buffer_bytes:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer_bytes)
    sock.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
    sock.settimeout(0.5)
    return sock


def ping(netns_fd: int, addresses: Sequence[str]) -> Stream:
    """A ping from a network namespace to these addresses by turns."""
    mark = next(_marks)
    sock = call_in(netns_fd, lambda: sized(socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)))

    def send(number: int) -> None:
        packet = _ICMP.pack(_ECHO_REQUEST, 0, 0, mark, number & 0xFFFF, number)
        packet = packet[:2] + checksum(packet) + packet[4:]
        sock.sendto(packet, (addresses[number % len(addresses)], 0))

    def number_in(packet: bytes) -> int | None:
        kind, _, _, whose, _, number = _ICMP.unpack_from(packet, 20)
        return number if (kind, whose) == (_ECHO_REPLY, mark) else None

    return Stream(send, [Receiver(sock, number_in)])


def checksum(packet: bytes) -> bytes:
    """Of the internet (RFC 1071)."""
    total = sum(struct.unpack(f"!{len(packet) // 2}H", packet))
    total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF)


def datagrams(source: int, destinations: Sequence[int]) -> Stream:
    """Datagrams from a network namespace to MOVED_ADDRESS, received in these."""

    def listen() -> socket.socket:
        sock = sized(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sock.bind((MOVED_ADDRESS, PORT))
        return sock

    receivers = [
        Receiver(call_in(netns, listen), lambda packet: int.from_bytes(packet, "big")) for netns in destinations
    ]
    sender = call_in(source, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

    def send(number: int) -> None:
        sender.sendto(number.to_bytes(8, "big"), (MOVED_ADDRESS, PORT))

    return Stream(send, receivers)


@dataclass(frozen=True)
class Devices:
    """The tunnel devices' own counters of what they refused, dropped or could not send."""

    links: Sequence[Callable[[], str]]
    """Each shows one device as `ip -s -j link` does."""

    def total(self) -> int:
        found = 0
        for show in self.links:
            for half in json.loads(show())[0]["stats64"].values():
                found += half["errors"] + half["dropped"]
        return found


def move(rounds: int) -> list[list[object]]:
    """100 allowed IPs to and fro."""
    with Wire(3, "kernel") as wire:
        one, two, other = wire.hosts
        for host in (two, other):
            host.join(one)
            host.run("ip", "address", "add", f"{MOVED_ADDRESS}/32", "dev", "lo")
        moving = " ".join(f"10.40.{number}.0/24" for number in range(MOVING))
        there = one.wish({two: f"10.34.0.0/24 {moving}", other: "10.35.0.0/24"})
        elsewhere = one.wish({two: "10.34.0.0/24", other: f"10.35.0.0/24 {moving}"})
        one.apply(there)
        if not (one.pings("10.34.0.1") and one.pings("10.35.0.1")):
            raise SystemExit("the tunnels do not answer")
        devices = Devices(
            [
                partial(lambda host: host.run("ip", "-s", "-j", "link", "show", host.interface).stdout, h)
                for h in wire.hosts
            ]
        )
        before = devices.total()
        pings = ping(one.netns_fd, ("10.34.0.1", "10.35.0.1"))
        stream = datagrams(one.netns_fd, (two.netns_fd, other.netns_fd))
        time.sleep(0.5)
        for _ in range(rounds):
            for wish in (elsewhere, there):
                report = one.apply(wish)
                if report.failures or len(report.actions) != 1:
                    raise SystemExit(f"not one action: {report}")
                time.sleep(0.1)
        what = f"{MOVING} allowed IPs moved {2 * rounds} times"
        ended = stream.end(), pings.end()
        return [
            [f"{what}: pings to both peers", *ended[1], devices.total() - before],
            ["the same: datagrams to a range that moves", *ended[0], devices.total() - before],
        ]


def public_key(machine: Machine) -> str:
    """Of its device."""
    return machine.run("wg", "show", "wm0", "public-key").stdout.strip()


def knows(machine: Machine, key: str) -> bool:
    """Whether its device has a peer with this key."""
    return key in machine.run("wg", "show", "wm0", "peers").stdout


def rotate(rounds: int) -> list[list[object]]:
    """New keys for two agents by turns."""
    with Lab() as lab, ExitStack() as stack:
        machines = lab.machine("one"), lab.machine("other")
        lab.wire(machines[0], "eth0=192.0.2.1/24", machines[1], "eth0=192.0.2.2/24")
        secret = ClusterSecret.generate().text()
        for machine in machines:
            machine.write_file("/etc/weavemesh/secret", secret)
        machines[0].weavemesh("up", "--datapath", "kernel")
        machines[1].weavemesh("up", "192.0.2.1", "--datapath", "kernel")
        source, destination = machines[0].add_pod("pod1"), machines[1].add_pod("pod1")
        wait_until(lambda: source.answers(str(destination.ipv4)), seconds=15, what="the first answer")
        devices = Devices(
            [partial(lambda machine: machine.ip("-s", "-j", "link", "show", "wm0"), machine) for machine in machines]
        )
        before = devices.total()
        pings = ping(namespace_of(source, stack), (str(destination.ipv4),))
        time.sleep(0.5)
        for number in range(rounds):
            machine, peer = machines[number % 2], machines[1 - number % 2]
            machine.weavemesh("rotate-key")
            key = public_key(machine)
            wait_until(partial(knows, peer, key), seconds=5, what="the news of a key")
            time.sleep(0.3)
        return [[f"{rounds} keys rotated, by turns: pings between pods", *pings.end(), devices.total() - before]]


def namespace_of(pod: Pod, stack: ExitStack) -> int:
    """A descriptor of the pod's network namespace, seen from outside of its machine."""
    descriptor = os.open(f"/proc/{pod.machine.init_pid}/root/run/netns/{pod.name}", os.O_RDONLY | os.O_CLOEXEC)
    stack.callback(os.close, descriptor)
    return descriptor


def main() -> None:
    """Print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    print(tabulate([*move(rounds), *rotate(rounds)], headers=HEADERS, floatfmt=",.0f"))


_marks = count(os.getpid() & 0x7FFF)
buffer_bytes = int(sys.argv[2]) if len(sys.argv) > 2 else BUFFER_BYTES

if __name__ == "__main__":
    main()
