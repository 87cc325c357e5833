"""Changes of a live kernel data path under a thousand packets a second: how many are lost.

Usage: python -m tests.vm run -m 768 -- .venv/bin/python tests/bench/kernel_changes.py [ROUNDS]
       (or as root, without a guest, on a machine whose kernel has WireGuard)

A ping at that interval comes to 600 a second in a guest, whose clock ticks slowly: so there are several of them.
First, 100 allowed IPs move between two live peers and back: pings to both, and a stream of numbered datagrams to an
address in a range that moves and that both peers have; each must arrive at one of them. Then agents get new keys, by
turns, while pods ping.
"""

import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from deploy.demo.lab import Lab, Machine, interrupt, wait_until
from tests.kernel.tunnel_lab import Host, Wire
from weavemesh.kernel.netns import call_in
from weavemesh.secret import ClusterSecret

ROUNDS = 10
PER_SECOND = 1000
MOVING = 100
PINGS = 3
PORT = 9000
BUFFER_BYTES = 16 << 20
"""The receivers share a processor with the sender and what it moves: nothing may be lost in their sockets meanwhile."""
_SO_RCVBUFFORCE = 33
SETTLE_S = 3.0
"""So long is waited for datagrams that are on their way."""
MOVED_ADDRESS = "10.40.0.1"


class Stream:
    """Numbered datagrams at PER_SECOND from a host to MOVED_ADDRESS, and who got which."""

    def __init__(self, source: Host, destinations: tuple[Host, Host]) -> None:
        self.sent = 0
        self.took = 0.0
        self.received: set[int] = set()
        self.arrivals = [0, 0]
        self.refused = 0
        self._ended = threading.Event()
        self._done = False
        self._sockets = [call_in(host.netns_fd, _listen) for host in destinations]
        self._threads = [
            threading.Thread(target=self._receive, args=(number, sock)) for number, sock in enumerate(self._sockets)
        ]
        sender = call_in(source.netns_fd, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._sender = threading.Thread(target=self._send, args=(sender,))
        for thread in (*self._threads, self._sender):
            thread.start()

    def end(self) -> None:
        """Send no more; wait for what is on its way."""
        self._ended.set()
        self._sender.join()
        missing, deadline = -1, time.monotonic() + SETTLE_S
        while missing != (missing := self.sent - len(self.received)) or time.monotonic() < deadline:
            if not missing:
                break
            time.sleep(0.5)
        self._done = True
        for thread in self._threads:
            thread.join()
        for sock in self._sockets:
            sock.close()

    def _send(self, sock: socket.socket) -> None:
        began = time.monotonic()
        with sock:
            while not self._ended.is_set():
                try:
                    sock.sendto(self.sent.to_bytes(8, "big"), (MOVED_ADDRESS, PORT))
                except OSError:
                    self.refused += 1
                self.sent += 1
                time.sleep(max(0.0, began + self.sent / PER_SECOND - time.monotonic()))
        self.took = time.monotonic() - began

    def _receive(self, number: int, sock: socket.socket) -> None:
        while not self._done:
            with suppress(TimeoutError):
                self.received.add(int.from_bytes(sock.recv(64), "big"))
                self.arrivals[number] += 1


def _listen() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER_BYTES)
    sock.bind((MOVED_ADDRESS, PORT))
    sock.settimeout(0.5)
    return sock


class Pings:
    """A ping that runs until it is asked for its loss."""

    def __init__(self, process: subprocess.Popen[str], stop: Callable[[subprocess.Popen[str]], None]) -> None:
        self._process = process
        self._stop = stop
        self._text = ""
        self._began = time.monotonic()
        # Read as it comes: a ping whose output nobody takes stands still.
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def row(self, what: str) -> list[object]:
        """Those sent up to the last that was answered, how many a second, and those of them without an answer."""
        self._stop(self._process)
        took = time.monotonic() - self._began
        self._reading.join()
        self._process.wait()
        answered = {int(number) for number in re.findall(r"icmp_seq=(\d+) ttl", self._text)}
        return [what, max(answered), max(answered) / took, max(answered) - len(answered)]

    def _read(self) -> None:
        assert self._process.stdout is not None
        self._text = self._process.stdout.read()


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
        pings = [
            Pings(one.start("ping", "-n", f"-i{1 / PER_SECOND}", address), lambda ping: ping.send_signal(signal.SIGINT))
            for address in ("10.34.0.1", "10.35.0.1")
        ]
        stream = Stream(one, (two, other))
        time.sleep(0.5)
        for _ in range(rounds):
            for wish in (elsewhere, there):
                report = one.apply(wish)
                if report.failures or len(report.actions) != 1:
                    raise SystemExit(f"not one action: {report}")
                time.sleep(0.1)
        stream.end()
        rows: list[list[object]] = []
        for name, ping in zip(("one peer", "the other"), pings, strict=True):
            rows.append(ping.row(f"{MOVING} allowed IPs moved {2 * rounds} times: pings to {name}"))
        what = f"the same: datagrams to a moving range ({stream.arrivals[0]:,} + {stream.arrivals[1]:,} arrived)"
        rows.append([what, stream.sent, stream.sent / stream.took, stream.sent - len(stream.received)])
        return rows


def public_key(machine: Machine) -> str:
    """Of its device."""
    return machine.run("wg", "show", "wm0", "public-key").stdout.strip()


def knows(machine: Machine, key: str) -> bool:
    """Whether its device has a peer with this key."""
    return key in machine.run("wg", "show", "wm0", "peers").stdout


def rotate(rounds: int) -> list[list[object]]:
    """New keys for two agents by turns."""
    with Lab() as lab:
        machines = lab.machine("one"), lab.machine("other")
        lab.wire(machines[0], "eth0=192.0.2.1/24", machines[1], "eth0=192.0.2.2/24")
        secret = ClusterSecret.generate().text()
        for machine in machines:
            machine.write_file("/etc/weavemesh/secret", secret)
        machines[0].weavemesh("up", "--datapath", "kernel")
        machines[1].weavemesh("up", "192.0.2.1", "--datapath", "kernel")
        source, destination = machines[0].add_pod("pod1"), machines[1].add_pod("pod1")
        wait_until(lambda: source.answers(str(destination.ipv4)), seconds=15, what="the first answer")
        command = ("ping", "-n", f"-i{1 / PER_SECOND}", str(destination.ipv4))
        pings = [Pings(source.start(*command, stdout=subprocess.PIPE), interrupt) for _ in range(PINGS)]
        time.sleep(0.5)
        for number in range(rounds):
            machine, peer = machines[number % 2], machines[1 - number % 2]
            machine.weavemesh("rotate-key")
            key = public_key(machine)
            wait_until(partial(knows, peer, key), seconds=5, what="the news of a key")
            time.sleep(0.3)
        return [ping.row(f"{rounds} keys rotated, by turns: pings between pods") for ping in pings]


def main() -> None:
    """Print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    print(tabulate([*move(rounds), *rotate(rounds)], headers=["change", "sent", "a second", "lost"], floatfmt=",.0f"))


if __name__ == "__main__":
    main()
