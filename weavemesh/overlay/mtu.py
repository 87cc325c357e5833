"""How large a packet may be to each peer: finds it by questions of many sizes through the tunnels, and keeps it right.

Pure. It is Datagram Packetization Layer Path MTU Discovery (RFC 8899) for tunnels: nothing that routers say is needed.
Its counterparts are `weavemesh.probing`, which sends and hears, `probe.py`, whose questions it makes long, and
`plan.py`, which sets what it finds on the peer's routes. What it knows of one peer is in `sizing.py`.

Theory of operation
-------------------
A size is that of an IP packet inside the tunnel. A question of that size is answered by a short packet, so each end
finds out what passes in its own direction. Sizes are multiples of 16 octets, to which WireGuard fills its packets up.

*Confirmation* (RFC 8899 §4.3, black hole detection) costs no packet: the questions by which the prober finds out which
tunnels live are as long as the largest packet that is taken to pass. On a tunnel in use there is one about each second;
of those through other tunnels, once one was answered, one in four is long.
Those that the prober repeats because there was no answer are short; so a tunnel that has become narrow stays alive.

*Check.* When such a question has no answer in time, this size and smaller ones are asked for all at once. What comes
back shows how large packets may still be; that holds from the next moment on, and the rest is found out afterwards. In
each round the smallest size goes last: its answer says that the others have had their time.

*Search* (RFC 8899 §5.3). Between what passes and what does not the sizes of common networks are tried, then those that
part the rest evenly. Nothing counts as too large before `TRIES` questions had no answer (§5.1.2, MAX_PROBES).

*Raise.* When the path has changed, a larger size is looked for anew; and every `RAISE_INTERVAL_S` one step more is
tried (§5.1.1, PMTU_RAISE_TIMER).

*Silence.* A round of which nothing comes back says nothing of sizes: the next one waits until the peer answers.
Who answers short questions only, time after time, does not know long ones (an older release): nothing is changed then.

*Bounds.* Rounds towards peers whose tunnels are not in use are paid from a purse, whatever the size of the mesh.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from heapq import heappop, heappush
from ipaddress import IPv4Address, IPv4Network
from math import inf
from random import Random
from typing import assert_never

from msgspec import Struct

from weavemesh.overlay.probe import ProbeAnswered, ProbeName, ProbeTargets, QuestionHeard, TunnelsInUse
from weavemesh.overlay.purse import Purse
from weavemesh.overlay.sizing import FILL_OCTETS, Round, Sizing, below, between

RAISE_INTERVAL_S = 600.0
"""RFC 8899 §5.1.1, PMTU_RAISE_TIMER."""
TRIES = 3
"""RFC 8899 §5.1.2, MAX_PROBES."""
OVERDUE_USED_S = 0.12
"""Or three round-trip times: then a confirmation of a tunnel in use is overdue. A false alarm costs a few packets."""
OVERDUE_S = 3.0
"""The same of other tunnels, for which nobody waits: on hosts that are short of processor time answers are late."""
ROUND_S = 0.6
"""Or four round-trip times: a round is given up after that, should nothing come back."""
REST_S = 0.1
"""So long after the first answer of a round all others have come that are on their way."""
LAST_REST_S = 0.03
"""The same after the answer to what was sent last."""
DEAF_ROUNDS = 3
"""So many rounds in a row without an answer, though short questions are answered: long ones are not known there."""
DEAF_INTERVAL_S = 15.0
"""Until who has answered long questions before is asked again."""
SHORT_BETWEEN = 3
"""Short questions, of either end, between long ones of this one through a tunnel that is not in use."""
LATE_S = 0.02
"""If this host comes so late to its own timer, answers may be waiting to be read: they are read before it goes on."""
PURSE_MAX = 64.0
"""Packets at once for tunnels that are not in use: enough to search a small mesh."""
PURSE_PER_SECOND = 1.0
"""The same in the long run, whatever the size of the mesh."""
ROUND_COST = 12
"""What the purse must hold for another round to begin."""
ANSWER_TIMEOUT_S = 4.0
"""A later answer counts no more."""


class QuestionSent(Struct, frozen=True):
    """Input: the prober's question with this nonce went out as a packet of so many octets."""

    peer: ProbeName
    nonce: int
    octets: int


class PathChanged(Struct, frozen=True):
    """Input: packets to this peer go another way from now on."""

    peer: ProbeName


MtuInput = ProbeTargets | TunnelsInUse | QuestionSent | QuestionHeard | ProbeAnswered | PathChanged


class SendSized(Struct, frozen=True):
    """Output: ask this address, with this nonce, in a packet of so many octets."""

    address: IPv4Address
    nonce: int
    octets: int


class MtuChanged(Struct, frozen=True):
    """Output: the largest packet to this peer has another size than before."""

    peer: ProbeName
    octets: int


MtuOutput = SendSized | MtuChanged


class PathMtus:
    """The machine; see the theory of operation above."""

    def __init__(self, *, most: int, unproven: int, adopted: Mapping[IPv4Network, int], rng: Random) -> None:
        """`most` is the device's MTU, `unproven` what is taken to pass before anything is known.

        `adopted` is what a former life found, by the networks of the peers: it holds until something else is found.
        """
        self.most = most
        """To be read only."""
        self._unproven, self._rng = unproven, rng
        self._adopted = {network: min(octets, most) for network, octets in adopted.items()}
        self._peers: dict[ProbeName, Sizing] = {}
        self._addresses: Mapping[ProbeName, IPv4Address] = {}
        self._used: frozenset[ProbeName] = frozenset()
        self._waiting: dict[int, tuple[ProbeName, int, float]] = {}
        """By nonce, oldest first: whom it asks, in how many octets, and since when."""
        self._line: list[tuple[float, ProbeName]] = []
        """A heap of what is to be looked at when; entries that the `Sizing` does not bear out are left from before."""
        self._unpaid: deque[ProbeName] = deque()
        """Whose rounds wait until the purse can pay, in order; those that no longer wait are passed over."""
        self._paid_at = inf
        self._purse = Purse(most=PURSE_MAX, per_second=PURSE_PER_SECOND)
        self._outputs: list[MtuOutput] = []

    # -- queries --------------------------------------------------------------------------------------

    def mtu(self, name: ProbeName, ranges: Iterable[IPv4Network] = ()) -> int:
        """Octets of the largest packet that is taken to pass to this peer, which owns these ranges."""
        if (sizing := self._peers.get(name)) is not None:
            return sizing.mtu
        return next((self._adopted[network] for network in ranges if network in self._adopted), self._unproven)

    def proven(self, name: ProbeName) -> int | None:
        """The same if it has been found to pass on the path in use, or else None."""
        sizing = self._peers.get(name)
        return sizing.mtu if sizing is not None and sizing.is_proven else None

    def question_octets(self, name: ProbeName) -> int:
        """How long the prober's next question to this peer is to be; 0 for a short one.

        Where nobody sends anything, and a long one has been answered, only some are long.
        """
        sizing = self._peers.get(name)
        if sizing is None or sizing.deaf >= DEAF_ROUNDS:
            return 0
        is_short = sizing.is_proven and name not in self._used and sizing.short_questions < SHORT_BETWEEN
        return 0 if is_short else sizing.mtu

    # -- the five verbs -------------------------------------------------------------------------------

    def receive(self, event: MtuInput, now: float) -> None:
        match event:
            case ProbeTargets(addresses=addresses):
                self._retarget(addresses)
            case TunnelsInUse(peers=peers):
                fresh, self._used = peers - self._used, peers
                for name in sorted(fresh):
                    if (sizing := self._peers.get(name)) is not None and sizing.is_unpaid:
                        self._begin(name, sizing, now)
            case QuestionSent():
                self._question_sent(event, now)
            case QuestionHeard(peer=name):
                if (sizing := self._peers.get(name)) is not None:
                    sizing.short_questions += 1
            case ProbeAnswered():
                self._answered(event, now)
            case PathChanged(peer=name):
                if (sizing := self._peers.get(name)) is not None:
                    sizing.forget_path()
                    self._arm(name, sizing)
            case _:
                assert_never(event)

    def tick(self, now: float) -> None:
        self._expire(now)
        while self._line and self._line[0][0] <= now:
            due, name = heappop(self._line)
            if not self._counts(due, name):
                continue
            sizing = self._peers[name]
            if now - due > LATE_S and not sizing.was_late:
                sizing.was_late = True
                self._arm(name, sizing, not_before=now + LATE_S)
                continue
            sizing.was_late, sizing.armed_at = False, inf
            self._act(name, sizing, now)
        if self._paid_at <= now:
            self._begin_unpaid(now)

    def deadline(self) -> float | None:
        while self._line and not self._counts(*self._line[0]):
            heappop(self._line)
        soonest = min(self._paid_at, self._line[0][0] if self._line else inf)
        return None if soonest == inf else soonest

    def outputs(self) -> list[MtuOutput]:
        outputs, self._outputs = self._outputs, []
        return outputs

    # -- inputs ---------------------------------------------------------------------------------------

    def _retarget(self, addresses: Mapping[ProbeName, IPv4Address]) -> None:
        if addresses == self._addresses:
            return
        self._addresses = dict(addresses)
        for name in [name for name, sizing in self._peers.items() if addresses.get(name) != sizing.address]:
            del self._peers[name]
        for name, address in addresses.items():
            if name not in self._peers:
                found = (octets for network, octets in self._adopted.items() if address in network)
                self._peers[name] = Sizing(address, next(found, self._unproven))

    def _question_sent(self, event: QuestionSent, now: float) -> None:
        sizing = self._peers.get(event.peer)
        if sizing is None:
            return
        self._expire(now)
        self._waiting[event.nonce] = (event.peer, event.octets, now)
        sizing.short_questions = 0 if event.octets else sizing.short_questions + 1
        if event.octets >= sizing.mtu and sizing.round is None and sizing.confirming is None:
            sizing.confirming = event.nonce
            sizing.overdue_at = now + sizing.wait_s(OVERDUE_USED_S if event.peer in self._used else OVERDUE_S, 3)
            self._arm(event.peer, sizing)

    def _answered(self, event: ProbeAnswered, now: float) -> None:
        name, octets, sent = self._waiting.get(event.nonce, (None, 0, 0.0))
        sizing = self._peers.get(name) if name is not None else None
        if name is None or sizing is None or sizing.address != event.source:
            return  # late, doubled, made up, or through another's tunnel
        del self._waiting[event.nonce]
        sizing.hear(now - sent)
        if octets >= sizing.mtu:
            sizing.is_proven, sizing.deaf = True, 0
        sizing.has_answered = sizing.has_answered or octets > 0
        if event.nonce == sizing.confirming:
            sizing.confirming, sizing.overdue_at = None, inf
        if sizing.round is not None and event.nonce in sizing.round.nonces:
            sizing.round.note(octets, now, rest_s=REST_S, last_rest_s=LAST_REST_S)
        elif sizing.round is not None and sizing.round.passed == 0 and sent > sizing.round.began:
            sizing.round.was_overtaken, sizing.round.ends_at = True, now
        elif sizing.is_idle and (sizing.waits or self._is_unsearched(sizing)):
            sizing.next_at = now
        self._arm(name, sizing)

    def _expire(self, now: float) -> None:
        while self._waiting:
            nonce, (_, _, sent) = next(iter(self._waiting.items()))
            if now < sent + ANSWER_TIMEOUT_S:
                break
            del self._waiting[nonce]

    def _is_unsearched(self, sizing: Sizing) -> bool:
        return sizing.too_large is None and sizing.mtu < self.most and sizing.deaf < DEAF_ROUNDS

    # -- rounds ---------------------------------------------------------------------------------------

    def _arm(self, name: ProbeName, sizing: Sizing, *, not_before: float = 0.0) -> None:
        when = max(sizing.due_at(), not_before)
        if when != sizing.armed_at:
            sizing.armed_at = when
            if when != inf:
                heappush(self._line, (when, name))

    def _counts(self, due: float, name: ProbeName) -> bool:
        """Whether an entry of the heap is not left from before."""
        return name in self._peers and self._peers[name].armed_at == due

    def _act(self, name: ProbeName, sizing: Sizing, now: float) -> None:
        """Do what is due for this peer."""
        if sizing.round is not None and sizing.round.ends_at <= now:
            self._end_round(name, sizing, sizing.round, now)
        if sizing.overdue_at <= now:
            sizing.confirming, sizing.overdue_at, sizing.is_proven = None, inf, False
            if not sizing.waits:  # else nothing has come since the last round of which nothing came back
                sizing.waits, sizing.next_at = True, now
        if sizing.next_at <= now and sizing.round is None:
            self._begin(name, sizing, now)
        self._arm(name, sizing)

    def _begin(self, name: ProbeName, sizing: Sizing, now: float) -> None:
        """Begin to check whether packets still pass, or to look for larger ones, if that can be paid."""
        if name not in self._used and (paid_at := self._purse.holds_at(now, count=ROUND_COST)) > now:
            if not sizing.is_unpaid:
                self._unpaid.append(name)
            sizing.is_unpaid, sizing.next_at = True, inf
            self._paid_at = min(self._paid_at, paid_at)
            return
        sizing.waits = sizing.waits or sizing.deaf > 0
        if sizing.waits:
            sizes = (sizing.mtu, *below(sizing.mtu))
        elif sizing.too_large is None:
            sizes = (*between(sizing.mtu, self.most + 1, most=self.most), sizing.mtu)
        else:  # the time to try one step more has come
            sizing.too_large, sizing.tries, sizing.raise_at = None, 0, inf
            sizes = (between(sizing.mtu, sizing.mtu + FILL_OCTETS + 1, most=self.most)[0], sizing.mtu)
        self._ask(sizing, sizes, now, name=name)
        self._arm(name, sizing)

    def _begin_unpaid(self, now: float) -> None:
        """Whose turn it is begins, as far as the purse goes."""
        self._paid_at = inf
        while self._unpaid and self._purse.holds_at(now, count=ROUND_COST) <= now:
            name = self._unpaid.popleft()
            sizing = self._peers.get(name)
            if sizing is not None and sizing.is_unpaid:
                sizing.is_unpaid = False
                self._begin(name, sizing, now)
        if self._unpaid:
            self._paid_at = self._purse.holds_at(now, count=ROUND_COST)

    def _ask(self, sizing: Sizing, sizes: tuple[int, ...], now: float, *, name: ProbeName) -> None:
        """One question of each size, the largest first; in a check two of the first and the last: one may be lost."""
        if sizing.waits:
            sizes = (sizes[0], *sizes, sizes[-1])
        self._purse.spend(now, count=len(sizes))
        sizing.is_unpaid, sizing.next_at = False, inf
        ends_at = now + sizing.wait_s(ROUND_S, 4)
        sizing.round = Round(last=sizes[-1], largest=sizes[0], sizes=sizes, began=now, ends_at=ends_at)
        for octets in sizes:
            nonce = self._rng.getrandbits(64)
            self._waiting[nonce] = (name, octets, now)
            sizing.round.nonces.add(nonce)
            self._outputs.append(SendSized(sizing.address, nonce, octets))

    def _end_round(self, name: ProbeName, sizing: Sizing, ended: Round, now: float) -> None:
        sizing.round = None
        if ended.passed == 0:
            sizing.deaf, sizing.waits = sizing.deaf + 1, True
            if ended.was_overtaken:
                sizing.next_at = now
            if sizing.deaf >= DEAF_ROUNDS:
                pause_s = DEAF_INTERVAL_S if sizing.has_answered else RAISE_INTERVAL_S
                sizing.waits, sizing.next_at = False, now + pause_s * self._rng.uniform(0.9, 1.1)
            return
        sizing.waits, sizing.deaf, sizing.is_proven = False, 0, True
        sizing.learn(ended.passed, tuple(octets for octets in ended.sizes if octets > ended.passed))
        if ended.passed != sizing.mtu:
            sizing.mtu, sizing.raise_at = ended.passed, inf
            self._outputs.append(MtuChanged(name, sizing.mtu))
        too_large = sizing.too_large or self.most + 1
        sizes = between(sizing.mtu, too_large, most=self.most)
        if sizing.too_large is not None and sizing.tries < TRIES:
            sizes = (sizing.too_large, *sizes)
        if sizes:
            self._ask(sizing, (*sizes, sizing.mtu), now, name=name)
        elif sizing.mtu < self.most:
            if sizing.raise_at == inf:
                sizing.raise_at = now + RAISE_INTERVAL_S * self._rng.uniform(0.9, 1.1)
            sizing.next_at = sizing.raise_at
