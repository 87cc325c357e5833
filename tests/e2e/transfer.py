"""A TCP transfer between two pods or hosts that is watched at its receiving end: when bytes came, and when none did."""

import json
import re
import select
import subprocess
from typing import Self

from deploy.demo.lab import Machine, Pod, end, wait_until

PORT = 7777
_RECEIVE = """
import json, socket, sys, time
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.create_server((sys.argv[1], int(sys.argv[2])), family=family) as listening:
    print("listening", flush=True)
    connection, _ = listening.accept()
total, told, last, gap, began = 0, 0, None, 0.0, time.monotonic()
while received := connection.recv(1 << 18):
    now = time.monotonic()
    gap, last = max(gap, now - (last or now)), now
    total += len(received)
    if total - told >= 1_000_000:
        told = total
        print(total, flush=True)
print(json.dumps([total, gap, time.monotonic() - began]), flush=True)
"""
_SEND = """
import socket, sys, time
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
left, per_second, began, sent = int(sys.argv[3]), float(sys.argv[4]), time.monotonic(), 0
while left:
    part = min(left, 1 << 16)
    connection.sendall(bytes(part))
    left, sent = left - part, sent + part
    time.sleep(max(0.0, began + sent / per_second - time.monotonic()))
connection.close()
"""


class Transfer:
    """So many octets from one to the other, begun when the block is entered; a context manager."""

    def __init__(
        self, sender: Machine | Pod, receiver: Machine | Pod, address: str, *, octets: int, per_second: float = 1e12
    ) -> None:
        self._sender, self._receiver, self._address = sender, receiver, address
        self._octets, self._per_second = octets, per_second
        self._lines: list[str] = []

    def __enter__(self) -> Self:
        receive = ("python3", "-c", _RECEIVE, self._address, str(PORT))
        self._receiving = self._receiver.start(*receive, stdout=subprocess.PIPE)
        wait_until(lambda: "listening" in self._read(), seconds=10, what="the receiver to listen")
        self._sending = self._sender.start(
            "python3", "-c", _SEND, self._address, str(PORT), str(self._octets), str(self._per_second)
        )
        return self

    def __exit__(self, *_: object) -> None:
        end(self._sending)
        end(self._receiving)
        assert self._receiving.stdout is not None
        self._receiving.stdout.close()

    def wait_for(self, octets: int, *, seconds: float) -> None:
        """Return when so many have come; LabError after so many seconds."""
        wait_until(lambda: self._received() >= octets, seconds=seconds, what=f"{octets} octets to arrive")

    def finish(self, *, seconds: float) -> tuple[float, float]:
        """The longest time without any octet, and the whole time, in seconds; LabError if it takes longer than that."""
        wait_until(lambda: self._read()[-1].startswith("["), seconds=seconds, what="the transfer to end")
        total, gap_s, took_s = json.loads(self._lines[-1])
        assert total == self._octets, "all of it came"
        return gap_s, took_s

    def segment_octets(self) -> int:
        """How much of the stream a full packet holds now (`ss`, mss)."""
        shown = self._sender.run("ss", "-tinH", "dport", f"= :{PORT}").stdout
        return max(int(size) for size in re.findall(r"\bmss:(\d+)", shown))

    def _received(self) -> int:
        numbers = [line for line in self._read() if line.strip().isdigit()]
        return int(numbers[-1]) if numbers else 0

    def _read(self) -> list[str]:
        assert self._receiving.stdout is not None
        while select.select([self._receiving.stdout], [], [], 0)[0]:
            line = self._receiving.stdout.readline()
            if not line:
                break
            self._lines.append(line.strip())
        return self._lines
