"""Agents behind NATs: the laboratory of translators with hosts on which agents run as users start them."""

import re
import signal
import subprocess
import tempfile
import time
from itertools import pairwise
from typing import Protocol, Self

from deploy.demo.lab import Lab, Machine, end
from tests.e2e.conftest import SECRET_FILE
from tests.lab.nat import Internet
from weavemesh.secret import ClusterSecret


class NatLab:
    """One internet with a public peer, `hub`, that everybody can reach."""

    def __init__(self, lab: Lab) -> None:
        self.internet = Internet(lab)
        self._secret = ClusterSecret.generate().text()
        self.hub = self.equip(self.internet.public("hub"))

    def equip(self, machine: Machine) -> Machine:
        """Give it the secret."""
        machine.write_file(SECRET_FILE, self._secret)
        return machine

    def up(self, machine: Machine, *arguments: str) -> None:
        """Start an agent that joins at the hub."""
        targets = [] if machine is self.hub else [self.internet.address(self.hub)]
        machine.weavemesh("up", *arguments, *targets)

    def overlay_address(self, machine: Machine) -> str:
        """Its own address in the mesh."""
        (ours,) = [peer for peer in machine.status()["peers"] if peer["ourselves"]]
        return str(ours["addresses"][0])


def path_of(machine: Machine, other: Machine) -> tuple[str | None, str]:
    """How packets go from one to the other ("direct" or the relay's nickname), and the state of the tunnel."""
    status = machine.status()
    names = {peer["name"]: peer["nickname"] for peer in status["peers"]}
    (peer,) = [peer for peer in status["peers"] if peer["nickname"] == other.name]
    return names.get(peer["via"], peer["via"]), peer["tunnel"]


def mtu_of(machine: Machine, other: Machine) -> tuple[int, bool]:
    """The largest packet from one to the other, in octets, and whether that is proven."""
    (peer,) = [peer for peer in machine.status()["peers"] if peer["nickname"] == other.name]
    return peer["mtu"], peer["mtu_proven"]


def pings(machine: Machine, address: str, *, seconds: float = 1.0) -> bool:
    """One ping is answered."""
    return machine.run("ping", "-n", "-c1", f"-W{seconds:g}", address, check=False).returncode == 0


class Place(Protocol):
    """Where a program can be started."""

    def start(self, *command: str, stdout: int) -> subprocess.Popen[str]: ...


class Pings:
    """A hundred pings a second while the block runs; every answer is kept with its number and time."""

    def __init__(self, machine: Place, address: str, *, interval_s: float = 0.01) -> None:
        self._machine = machine
        self._command = ("ping", "-n", "-D", "-i", f"{interval_s:g}", address)
        self._answers: list[tuple[float, int]] = []
        self._mark = 0.0

    def __enter__(self) -> Self:
        self._output = tempfile.TemporaryFile("w+")
        self._process = self._machine.start(*self._command, stdout=self._output.fileno())
        return self

    def __exit__(self, *_: object) -> None:
        end(self._process, stop=signal.SIGINT)
        with self._output as output:
            output.seek(0)
            found = [_ANSWER.match(line) for line in output]
        self._answers = [(float(match[1]), int(match[2])) for match in found if match]

    def mark(self) -> None:
        """From now on losses count."""
        self._mark = time.time()

    def answers(self) -> list[tuple[float, int]]:
        """When which came, by time, each once."""
        return self._answers

    def lost_since_mark(self) -> int:
        """Between the first and the last answer since the mark."""
        numbers = {number for when, number in self._answers if when >= self._mark}
        return 0 if not numbers else max(numbers) - min(numbers) + 1 - len(numbers)

    def longest_gap_s(self) -> float:
        """Between two answers."""
        return max((later - earlier for (earlier, _), (later, _) in pairwise(self._answers)), default=0.0)


_ANSWER = re.compile(r"^\[(\d+\.\d+)\].* icmp_seq=(\d+) .*time=")
