"""Which tunnels are alive: asks every peer through its tunnel and keeps round-trip time, loss and last answer.

Pure: it says whom to ask and is told who answered. What it is not: a path finder; it only measures what is there.
Its counterpart is `weavemesh.probing`, which owns the UDP socket inside the mesh.

Theory of operation
-------------------
Each peer with an address in the mesh has one `Probing`. A fresh one is asked after `SETTLE_S` (both sides should
have set up the tunnel by then: WireGuard repeats a lost handshake only after 5 s), then at short intervals until it
has answered once, then at the steady interval. The steady interval grows with the number of peers so that one peer
sends no more than `PROBES_PER_SECOND` in the long run: the cost of probing does not grow with the mesh. When many are
fresh at once they wait in line behind `BURST`, since each first probe costs both ends a handshake.
A probe that is not answered within `ANSWER_TIMEOUT_S` counts as lost.
"""

from collections.abc import Mapping
from heapq import heappop, heappush
from ipaddress import IPv4Address
from math import inf
from random import Random
from typing import NewType, assert_never

from msgspec import Struct, field

ProbeName = NewType("ProbeName", str)
"""Name of the peer that is asked; the same text as gossip's PeerName."""

SETTLE_S = 0.15
IMPATIENT_INTERVAL_S = 0.5
STEADY_INTERVAL_S = 2.0
PROBES_PER_SECOND = 2.0
PROBES_PER_SECOND_MAX = 20.0
"""While many peers are fresh; `BURST` of them at once."""
BURST = 16
ANSWER_TIMEOUT_S = 2.0
LOSS_WINDOW = 16
"""Loss is told of the last so many probes of a peer."""
RTT_SMOOTHING = 0.25
"""Weight of a new sample in the smoothed round-trip time (RFC 6298 uses 1/8; probes are rarer than segments)."""
SILENT_AFTER_S = 10.0
"""Without an answer for so long a tunnel that did answer counts as silent, unless it is asked more seldom."""
PROBES_LOST_IN_SILENCE = 2.5
"""Where the steady interval is long, this many of them."""


class ProbeTargets(Struct, frozen=True):
    """Input: the peers to watch now and their addresses in the mesh; replaces the set before."""

    addresses: Mapping[ProbeName, IPv4Address]


class ProbeAnswered(Struct, frozen=True):
    """Input: the answer to the probe with this nonce came from this address."""

    nonce: int
    source: IPv4Address


ProbeInput = ProbeTargets | ProbeAnswered


class SendProbe(Struct, frozen=True):
    """Output: ask this address, with this nonce."""

    address: IPv4Address
    nonce: int


class FirstAnswer(Struct, frozen=True):
    """Output: this peer answered through its tunnel, the first time or after a silence."""

    peer: ProbeName


ProbeOutput = SendProbe | FirstAnswer


class TunnelHealth(Struct, frozen=True):
    """What is known of one tunnel."""

    rtt_s: float | None
    """Smoothed round-trip time in seconds; None before the first answer."""
    last_answer: float | None
    """When the last answer came, on the clock of `now`."""
    loss: float
    """Lost share of the last `LOSS_WINDOW` probes, 0 to 1."""
    silent_after_s: float = SILENT_AFTER_S
    """How old the last answer of a tunnel that works may be, in seconds."""

    def is_alive(self, now: float) -> bool:
        """It has answered lately."""
        return self.last_answer is not None and now - self.last_answer <= self.silent_after_s


class _Probing(Struct):
    address: IPv4Address
    next_at: float
    rtt_s: float | None = None
    last_answer: float | None = None
    lost: list[bool] = field(default_factory=list)

    def note(self, *, lost: bool) -> None:
        self.lost.append(lost)
        del self.lost[:-LOSS_WINDOW]


class Prober:
    """The machine; see the theory of operation above."""

    def __init__(self, *, rng: Random) -> None:
        self._rng = rng
        self._addresses: Mapping[ProbeName, IPv4Address] = {}
        self._probings: dict[ProbeName, _Probing] = {}
        self._line: list[tuple[float, ProbeName]] = []
        """A heap of who is to be asked when; entries that their `Probing` does not bear out are left from before."""
        self._waiting: dict[int, tuple[ProbeName, float]] = {}
        """By nonce, oldest first."""
        self._paced_at = -inf
        """When the probes sent so far would have been sent at the greatest pace."""
        self._outputs: list[ProbeOutput] = []

    def receive(self, event: ProbeInput, now: float) -> None:
        match event:
            case ProbeTargets():
                self._retarget(event.addresses, now)
            case ProbeAnswered():
                self._answered(event, now)
            case _:
                assert_never(event)

    def tick(self, now: float) -> None:
        while self._waiting:
            nonce, (name, sent) = next(iter(self._waiting.items()))
            if now < sent + ANSWER_TIMEOUT_S:
                break
            del self._waiting[nonce]
            if probing := self._probings.get(name):
                probing.note(lost=True)
        while self._line and self._line[0][0] <= now and self._may_send_at() <= now:
            due, name = heappop(self._line)
            probing = self._probings.get(name)
            if probing is not None and probing.next_at == due:
                self._send(name, probing, now)

    def deadline(self) -> float | None:
        times = []
        if self._line:
            times.append(max(self._line[0][0], self._may_send_at()))
        if self._waiting:
            times.append(next(iter(self._waiting.values()))[1] + ANSWER_TIMEOUT_S)
        return min(times, default=None)

    def outputs(self) -> list[ProbeOutput]:
        outputs, self._outputs = self._outputs, []
        return outputs

    def health(self, name: ProbeName) -> TunnelHealth | None:
        """What is known of the tunnel to this peer; None where it is not watched."""
        probing = self._probings.get(name)
        if probing is None:
            return None
        loss = sum(probing.lost) / len(probing.lost) if probing.lost else 0.0
        return TunnelHealth(probing.rtt_s, probing.last_answer, loss, self._silent_after_s())

    def _retarget(self, addresses: Mapping[ProbeName, IPv4Address], now: float) -> None:
        if addresses == self._addresses:
            return
        self._addresses = dict(addresses)
        for name in [n for n, p in self._probings.items() if addresses.get(n) != p.address]:
            del self._probings[name]
        for name in sorted(addresses):
            if name not in self._probings:
                self._probings[name] = _Probing(addresses[name], now + SETTLE_S)
                heappush(self._line, (now + SETTLE_S, name))

    def _may_send_at(self) -> float:
        """When the pace lets the next probe go (a leaky bucket, ITU-T I.371's virtual scheduling)."""
        return self._paced_at - (BURST - 1) / PROBES_PER_SECOND_MAX

    def _send(self, name: ProbeName, probing: _Probing, now: float) -> None:
        self._paced_at = max(self._paced_at, now) + 1 / PROBES_PER_SECOND_MAX
        nonce = self._rng.getrandbits(64)
        self._waiting[nonce] = (name, now)
        self._outputs.append(SendProbe(probing.address, nonce))
        probing.next_at = now + self._interval_s(probing) * self._rng.uniform(0.9, 1.1)
        heappush(self._line, (probing.next_at, name))

    def _answered(self, event: ProbeAnswered, now: float) -> None:
        name, sent = self._waiting.get(event.nonce, (None, 0.0))
        if name is None:
            return  # late, doubled or made up
        probing = self._probings.get(name)
        if probing is None or probing.address != event.source:
            return  # an answer through another's tunnel proves nothing
        del self._waiting[event.nonce]
        sample = now - sent
        was_alive = probing.last_answer is not None and now - probing.last_answer <= self._silent_after_s()
        probing.rtt_s = sample if probing.rtt_s is None else probing.rtt_s + RTT_SMOOTHING * (sample - probing.rtt_s)
        probing.last_answer = now
        probing.note(lost=False)
        if not was_alive:
            self._outputs.append(FirstAnswer(name))

    def _interval_s(self, probing: _Probing) -> float:
        if probing.last_answer is None and len(self._probings) <= BURST:
            return IMPATIENT_INTERVAL_S
        return self._steady_interval_s()

    def _steady_interval_s(self) -> float:
        return max(STEADY_INTERVAL_S, len(self._probings) / PROBES_PER_SECOND)

    def _silent_after_s(self) -> float:
        return max(SILENT_AFTER_S, PROBES_LOST_IN_SILENCE * self._steady_interval_s())
