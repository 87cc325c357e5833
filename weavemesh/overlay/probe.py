"""Which tunnels are alive: asks every peer through its tunnel and keeps round-trip time, loss and last answer.

Pure: it says whom to ask and is told who answered. What it is not: a path finder (`path.py`); it only measures what is
there. Its counterpart is `weavemesh.probing`, which owns the UDP socket inside the mesh.

Theory of operation
-------------------
Each peer with an address in the mesh has one `Probing`. A fresh one is asked when its path has been found or after
`SETTLE_S`, then at short intervals until it has answered once. A tunnel in use is asked about each second. All others
together are asked `IDLE_PROBES_PER_SECOND` times a second, some at once as a waking costs more than a question: so the
cost of probing does not grow with the mesh. When many are fresh at once they wait in line behind `BURST`, since each
first probe costs both ends a handshake.
Of the two ends of an idle tunnel one is enough to ask: a question tells how long the last answer took, and who hears
that puts its own question off (`QuestionHeard`). That is for short questions only: how large a packet may be (`mtu.py`)
each end finds out in its own direction.
A question without an answer after a few round-trip times is asked again at short intervals; several in a row without
any make the tunnel *silent*, which is told once for each path. While this host itself comes late to its own timer, or
answers take long in general, nobody is blamed, answers count for longer and idle tunnels are not pressed
(`patience.py`): else each question that is answered late would bring about several more. A probe that is not answered
within `ANSWER_TIMEOUT_S` counts as lost.
"""

from collections.abc import Mapping
from heapq import heappop, heappush
from ipaddress import IPv4Address
from math import inf
from random import Random
from typing import NewType, assert_never

from msgspec import Struct, field

from weavemesh.overlay.patience import Patience

ProbeName = NewType("ProbeName", str)
"""Name of the peer that is asked; the same text as gossip's PeerName."""

SETTLE_S = 1.0
"""By then a path has been found, as a rule, and greeted (`weavemesh.pathing`), and `ProbeAtOnce` has come. A question
before that brings about a handshake that crosses the greeting: WireGuard then has no session for 5 s.
"""
IMPATIENT_INTERVAL_S = 0.5
PROBES_PER_SECOND_MAX = 20.0
"""While many peers are fresh; `BURST` of them at once."""
BURST = 16
USED_INTERVAL_S = 0.94
"""TCP sends what is lost again 0.2, 0.6, 1.4 and 3 s after the first time (RFC 6298 §5, with Linux' least timeout): by
the third the MTU of a path that has become narrow is to be known (`mtu.py`), so the fourth is not waited for.
"""
FIRST_USED_WITHIN_S = 0.2
"""Who is used from now on is asked so soon: nobody knows how long ago the path has changed."""
IDLE_INTERVAL_S = 2.0
"""The shortest interval of a tunnel that is not in use."""
IDLE_PROBES_PER_SECOND = 0.5
"""Each wakes both ends. Whoever begins to use a tunnel has it asked at once; this is for what `status` shows."""
AHEAD_S = 2 / IDLE_PROBES_PER_SECOND
"""Who is woken for one question asks those idle tunnels along with it that would be due within this time, …"""
AHEAD_SHARE = 0.05
"""… but none so much before its time: a host with few peers asks each when it is due."""
ANSWER_TIMEOUT_S = 4.0
MISSED_AFTER_S = 0.3
"""Or three round-trip times and a bit, if that is more: then the question is asked again."""
AGAIN_INTERVAL_S = 0.15
SILENT_AFTER_QUESTIONS = 4
"""That many in a row, all of them overdue, make a tunnel silent."""
LOSS_WINDOW = 16
"""Loss is told of the last so many probes of a peer."""
RTT_SMOOTHING = 0.25
"""Weight of a new sample in the smoothed round-trip time (RFC 6298 uses 1/8; probes are rarer than segments)."""
SILENT_AFTER_S = 10.0
"""Without an answer for so long a tunnel in use that did answer counts as silent."""


class ProbeTargets(Struct, frozen=True):
    """Input: the peers to watch now and their addresses in the mesh; replaces the set before."""

    addresses: Mapping[ProbeName, IPv4Address]


class TunnelsInUse(Struct, frozen=True):
    """Input: whose tunnels carry somebody's packets now; replaces the set before."""

    peers: frozenset[ProbeName]


class ProbeAnswered(Struct, frozen=True):
    """Input: the answer to the probe with this nonce came from this address."""

    nonce: int
    source: IPv4Address


class QuestionHeard(Struct, frozen=True):
    """Input: a question came from this peer, and is answered. Its sender's last one had an answer, in so long."""

    peer: ProbeName
    rtt_s: float


class ProbeAtOnce(Struct, frozen=True):
    """Input: the path to this peer has changed; ask it now."""

    peer: ProbeName


ProbeInput = ProbeTargets | TunnelsInUse | ProbeAnswered | QuestionHeard | ProbeAtOnce


class SendProbe(Struct, frozen=True):
    """Output: ask this address, with this nonce."""

    peer: ProbeName
    address: IPv4Address
    nonce: int
    is_short: bool
    """It is to get through however narrow the path is: it repeats one without an answer, or nothing is known yet."""
    rtt_s: float | None
    """How long answers take there; None unless the last question had one."""


class TunnelAlive(Struct, frozen=True):
    """Output: this peer answered through its tunnel after so many seconds, or was itself answered there."""

    peer: ProbeName
    rtt_s: float
    is_first: bool
    """The first time, or after a silence."""


class TunnelDead(Struct, frozen=True):
    """Output: several questions in a row had no answer; told once in a silence, and once on each other path in it."""

    peer: ProbeName


ProbeOutput = SendProbe | TunnelAlive | TunnelDead


class TunnelHealth(Struct, frozen=True):
    """What is known of one tunnel."""

    rtt_s: float | None
    """Smoothed round-trip time in seconds; None before the first answer."""
    last_answer: float | None
    """When the last answer came, or the other end told of one; on the clock of `now`."""
    loss: float
    """Lost share of the last `LOSS_WINDOW` probes, 0 to 1."""
    silent: bool = False
    """The last questions had no answer."""
    silent_after_s: float = SILENT_AFTER_S
    """Without an answer for so long it counts as dead, also if nobody asked."""

    def is_alive(self, now: float) -> bool:
        """It has answered lately."""
        if self.last_answer is None or self.silent:
            return False
        return now - self.last_answer <= self.silent_after_s


class _Probing(Struct):
    address: IPv4Address
    next_at: float
    rtt_s: float | None = None
    last_answer: float | None = None
    silent: bool = False
    is_told: bool = False
    """That it is silent, on the path as it is now."""
    unanswered: list[float] = field(default_factory=list)
    """When the questions were asked that had no answer since the last one that had."""
    lost: list[bool] = field(default_factory=list)

    def note(self, *, lost: bool) -> None:
        self.lost.append(lost)
        del self.lost[:-LOSS_WINDOW]

    def patience_s(self) -> float:
        """After how long a question is overdue."""
        return max(MISSED_AFTER_S, 3 * (self.rtt_s or 0.0) + 0.1)


class _Question(Struct, frozen=True):
    peer: ProbeName
    asked: float
    until: float
    """An answer that comes later does not count."""


class Prober:
    """The machine; see the theory of operation above."""

    def __init__(self, *, rng: Random) -> None:
        self._rng = rng
        self._probings: dict[ProbeName, _Probing] = {}
        self._used: frozenset[ProbeName] = frozenset()
        self._addresses: Mapping[ProbeName, IPv4Address] = {}
        self._line: list[tuple[float, ProbeName]] = []
        """A heap of who is to be asked when; entries that their `Probing` does not bear out are left from before."""
        self._fresh: list[tuple[float, ProbeName]] = []
        """The same of those that have never answered."""
        self._waiting: dict[int, _Question] = {}
        """By nonce, oldest first."""
        self._patience = Patience()
        self._paced_at = -inf
        """When the probes to fresh ones so far would have been sent at the greatest pace."""
        self._outputs: list[ProbeOutput] = []

    def receive(self, event: ProbeInput, now: float) -> None:
        match event:
            case ProbeTargets():
                self._retarget(event.addresses, now)
            case TunnelsInUse(peers=peers):
                for name in sorted(peers - self._used):
                    if (probing := self._probings.get(name)) is not None:
                        when = now + self._rng.uniform(0, FIRST_USED_WITHIN_S)
                        self._ask_at(min(probing.next_at, when), name, probing)
                self._used = peers
            case ProbeAnswered():
                self._answered(event, now)
            case QuestionHeard():
                self._heard(event, now)
            case ProbeAtOnce(peer=peer):
                if (probing := self._probings.get(peer)) is not None:
                    probing.is_told = False  # a silence on this path is another
                    probing.unanswered.clear()
                    self._ask_at(now, peer, probing)
            case _:
                assert_never(event)

    def tick(self, now: float) -> None:
        if late_s := self._patience.timer(self.deadline(), now):
            for probing in self._probings.values():
                probing.unanswered = [asked + late_s for asked in probing.unanswered]
        while self._waiting:
            nonce, question = next(iter(self._waiting.items()))
            if now < question.until:
                break
            del self._waiting[nonce]
            if asked := self._probings.get(question.peer):
                asked.note(lost=True)
        for name in self._take_due(now):
            self._ask(name, self._probings[name], now)
        while self._fresh and self._fresh[0][0] <= now and self._may_send_at() <= now:
            due, name = heappop(self._fresh)
            if self._is_so(due, name):
                self._ask(name, self._probings[name], now)

    def deadline(self) -> float | None:
        times = []
        if self._line:
            times.append(self._line[0][0])
        if self._fresh:
            times.append(max(self._fresh[0][0], self._may_send_at()))
        if self._waiting:
            times.append(next(iter(self._waiting.values())).until)
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
        silent_after_s = max(SILENT_AFTER_S, 2.5 * self._interval_s(name, probing))
        return TunnelHealth(probing.rtt_s, probing.last_answer, loss, probing.silent, silent_after_s)

    def _retarget(self, addresses: Mapping[ProbeName, IPv4Address], now: float) -> None:
        if addresses == self._addresses:
            return
        self._addresses = dict(addresses)
        for name in [n for n, p in self._probings.items() if addresses.get(n) != p.address]:
            del self._probings[name]
        for name in sorted(addresses):
            if name not in self._probings:
                self._probings[name] = probing = _Probing(addresses[name], now + SETTLE_S)
                self._ask_at(now + SETTLE_S, name, probing)

    def _ask_at(self, when: float, name: ProbeName, probing: _Probing) -> None:
        probing.next_at = when
        heappush(self._fresh if probing.last_answer is None else self._line, (when, name))

    def _take_due(self, now: float) -> list[ProbeName]:
        """Take from the line whose turn it is, and, if there is anybody, idle ones whose turn would come soon."""
        taken: dict[ProbeName, None] = {}
        while self._line and (self._line[0][0] <= now or (taken and self._may_be_asked_ahead(*self._line[0], now))):
            due, name = heappop(self._line)
            if self._is_so(due, name):
                taken[name] = None
        return list(taken)

    def _may_be_asked_ahead(self, due: float, name: ProbeName, now: float) -> bool:
        probing = self._probings.get(name)
        if probing is None or name in self._used or probing.unanswered or probing.silent:
            return False
        return due - now <= min(AHEAD_S, AHEAD_SHARE * self._interval_s(name, probing))

    def _is_so(self, due: float, name: ProbeName) -> bool:
        """Whether this peer is to be asked then; else the entry is left from before."""
        probing = self._probings.get(name)
        return probing is not None and probing.next_at == due

    def _strike(self) -> None:
        """Forget entries that are not borne out any more, as after an answer: each would wake us for nothing."""
        for line in (self._line, self._fresh):
            while line and not self._is_so(*line[0]):
                heappop(line)

    def _may_send_at(self) -> float:
        """When the pace lets the next probe to a fresh one go (a leaky bucket, ITU-T I.371's virtual scheduling)."""
        return self._paced_at - (BURST - 1) / PROBES_PER_SECOND_MAX

    def _ask(self, name: ProbeName, probing: _Probing, now: float) -> None:
        """Ask, or find that it is silent; and see when to look at it again."""
        patience_s = self._patience.stretch(probing.patience_s(), now)
        overdue = len(probing.unanswered) and now - probing.unanswered[-1] >= patience_s
        is_news = probing.last_answer is not None and not probing.is_told
        if is_news and overdue and len(probing.unanswered) >= SILENT_AFTER_QUESTIONS:
            probing.silent = probing.is_told = True
            self._outputs.append(TunnelDead(name))
        nonce = self._rng.getrandbits(64)
        self._waiting[nonce] = _Question(name, now, now + self._patience.stretch(ANSWER_TIMEOUT_S, now))
        is_short = bool(probing.unanswered) or probing.last_answer is None
        probing.unanswered.append(now)
        del probing.unanswered[:-SILENT_AFTER_QUESTIONS]
        self._outputs.append(SendProbe(name, probing.address, nonce, is_short, None if is_short else probing.rtt_s))
        if probing.last_answer is None:
            self._paced_at = max(self._paced_at, now) + 1 / PROBES_PER_SECOND_MAX
        if probing.last_answer is None or probing.silent:
            pause_s = self._interval_s(name, probing) * self._rng.uniform(0.9, 1.1)
        elif len(probing.unanswered) == 1 or len(probing.unanswered) >= SILENT_AFTER_QUESTIONS:
            pause_s = patience_s
        elif name in self._used:
            pause_s = AGAIN_INTERVAL_S
        else:
            pause_s = self._patience.stretch(AGAIN_INTERVAL_S, now)  # a tunnel that slept has a handshake to make first
        self._ask_at(now + pause_s, name, probing)

    def _answered(self, event: ProbeAnswered, now: float) -> None:
        question = self._waiting.get(event.nonce)
        if question is None:
            return  # late, doubled or made up
        name, sent = question.peer, question.asked
        probing = self._probings.get(name)
        if probing is None or probing.address != event.source:
            return  # an answer through another's tunnel proves nothing
        del self._waiting[event.nonce]
        sample = now - sent
        self._patience.answered(sample)
        is_first = probing.last_answer is None or probing.silent
        probing.rtt_s = sample if probing.rtt_s is None else probing.rtt_s + RTT_SMOOTHING * (sample - probing.rtt_s)
        probing.last_answer, probing.silent, probing.is_told = now, False, False
        probing.unanswered.clear()
        probing.note(lost=False)
        # All are fresh at once where a mesh forms. From the first answer on their turns are spread over the interval.
        share = (0.0, 1.0) if is_first and name not in self._used else (0.9, 1.1)
        # Never in the past: an answer may come later than the next question would have been due.
        when = max(now, sent + self._interval_s(name, probing) * self._rng.uniform(*share))
        self._ask_at(when, name, probing)
        self._strike()
        self._outputs.append(TunnelAlive(name, sample, is_first))

    def _heard(self, event: QuestionHeard, now: float) -> None:
        """Take an idle tunnel's life from the other end, which has just asked and had an answer the last time.

        Not where something is to be found out: how fast it is in use, whether it lives again.
        """
        name, probing = event.peer, self._probings.get(event.peer)
        if probing is None or name in self._used or probing.last_answer is None or probing.unanswered:
            return
        probing.rtt_s, probing.last_answer = event.rtt_s, now
        self._ask_at(now + self._interval_s(name, probing) * self._rng.uniform(0.9, 1.1), name, probing)
        self._strike()
        self._outputs.append(TunnelAlive(name, event.rtt_s, is_first=False))

    def _interval_s(self, name: ProbeName, probing: _Probing) -> float:
        if name in self._used:
            return USED_INTERVAL_S
        if probing.last_answer is None and len(self._probings) <= BURST:
            return IMPATIENT_INTERVAL_S
        idle = len(self._probings) - len(self._used)
        return max(IDLE_INTERVAL_S, idle / IDLE_PROBES_PER_SECOND)
