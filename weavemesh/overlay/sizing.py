"""What is known of the sizes of packets to one peer, and which sizes to try. Decides nothing; `mtu.py` does.

The sizes of common networks come first (RFC 8899 §5.3.2, RFC 4821 §7.3), then those that part what is left evenly.
"""

from ipaddress import IPv4Address
from math import inf

from msgspec import Struct, field

FILL_OCTETS = 16
"""WireGuard fills packets up to a multiple of this (WireGuard paper, §5.4.6): sizes between make no difference."""
MTU_LEAST = 512
"""A path over which no packet of 576 octets passes is broken (RFC 1122 §3.3.3); 60 go to WireGuard over IPv4."""
COMMON_MTUS = (8928, 8912, 1440, 1424, 1408, 1392, 1376, 1328, 1280, 1232, 1200, 1024, MTU_LEAST)
"""What passes over networks of 9001 and 9000 octets, 1500, 1492 (PPPoE), 1480, 1460 (clouds), 1450 (VXLAN), 1400, 1340,
1300 and 1280, over IPv4 with 60 octets less and over IPv6 with 80, filled up; then what passes almost everywhere."""
SIZES_BETWEEN = 4
"""Where no common size lies between, so many part what is left: five times as fine in each round."""
RTT_SMOOTHING = 0.25


class Round(Struct):
    """Questions of some sizes, sent together."""

    last: int
    """The size that was sent last, which is the smallest."""
    largest: int
    sizes: tuple[int, ...]
    began: float
    ends_at: float
    nonces: set[int] = field(default_factory=set)
    passed: int = 0
    """The largest size that came back; 0 while none has."""
    was_overtaken: bool = False
    """None had come back when something that was sent later did: the peer lives, and all of them are lost."""

    def note(self, octets: int, now: float, *, rest_s: float, last_rest_s: float) -> None:
        """An answer to one of them has come: the others have so long left."""
        self.passed = max(self.passed, octets)
        if octets == self.largest:
            self.ends_at = now
        else:
            self.ends_at = min(self.ends_at, now + (last_rest_s if octets == self.last else rest_s))


class Sizing(Struct):
    """One peer."""

    address: IPv4Address
    mtu: int
    """Octets of the largest packet that is taken to pass."""
    is_proven: bool = False
    """It has been found to pass on the path in use."""
    too_large: int | None = None
    """The smallest size that is taken not to pass; None while none is known."""
    tries: int = 0
    """How often that one was not answered."""
    rtt_s: float | None = None
    """Smoothed; None before the first answer."""
    confirming: int | None = None
    """The nonce of a question of the full size that is under way."""
    overdue_at: float = inf
    """When its answer should have come."""
    round: Round | None = None
    """Under way."""
    next_at: float = inf
    """When the next round begins."""
    raise_at: float = inf
    """When one step more is tried; checks meanwhile do not put it off."""
    is_unpaid: bool = False
    """It waits because the purse held too little."""
    short_questions: int = 0
    """Since the last long one; those of the other end, which stand for one of ours, count too."""
    waits: bool = False
    """Whether packets of the full size pass is in doubt: the next round, at once or after any answer, is a check."""
    deaf: int = 0
    """Rounds in a row of which nothing came back."""
    has_answered: bool = False
    """A long question, ever: long ones are known there."""
    armed_at: float = inf
    """The entry of the machine's heap that counts."""
    was_late: bool = False
    """The timer came late, and was put off once."""

    @property
    def is_idle(self) -> bool:
        """No round is under way or planned."""
        return self.round is None and self.next_at == inf and not self.is_unpaid

    def due_at(self) -> float:
        """When something is to be done next."""
        if self.round is not None:
            return self.round.ends_at
        return min(self.overdue_at, self.next_at)

    def wait_s(self, at_least_s: float, round_trips: int) -> float:
        """How long to wait for an answer."""
        return max(at_least_s, round_trips * (self.rtt_s or 0.0))

    def hear(self, rtt_s: float) -> None:
        """An answer came after so long."""
        self.rtt_s = rtt_s if self.rtt_s is None else self.rtt_s + RTT_SMOOTHING * (rtt_s - self.rtt_s)

    def learn(self, passed: int, failed: tuple[int, ...]) -> None:
        """What came back of a round, and what did not."""
        if self.too_large is not None and passed >= self.too_large:
            self.too_large, self.tries = None, 0
        if not failed:
            return
        smallest = min(failed)
        if smallest == self.too_large:
            self.tries += 1
        elif self.too_large is None or smallest < self.too_large:
            self.too_large, self.tries = smallest, 1

    def forget_path(self) -> None:
        """Packets go another way: what does not pass is unknown; what passes is found out by the next question."""
        self.is_proven, self.too_large, self.tries, self.deaf = False, None, 0, 0
        self.round, self.next_at, self.waits, self.is_unpaid = None, inf, False, False
        self.confirming, self.overdue_at, self.raise_at = None, inf, inf


def below(octets: int) -> tuple[int, ...]:
    """Smaller sizes to try at once, falling.

    >>> below(1420)
    (1408, 1392, 1376, 1328, 1280, 1232, 1200, 1024, 512)
    """
    return tuple(size for size in COMMON_MTUS if size < octets)


def between(low: int, high: int, *, most: int) -> tuple[int, ...]:
    """Sizes to try at once of those between what passes and what does not, falling; `most` is the device's MTU.

    >>> between(1420, 8922, most=8921), between(1280, 1376, most=1420), between(1280, 1296, most=1420)
    ((8921, 8912, 1440, 1424), (1328,), ())
    >>> between(1440, 8912, most=8921), between(1392, 1421, most=1420)
    ((7408, 5920, 4432, 2944), (1420, 1408))
    """
    found = [size for size in COMMON_MTUS if low < size < high and size <= most]
    if low < most < high and most not in found:
        found.insert(0, most)
    if found:
        return tuple(sorted(found, reverse=True))
    steps = range(low // FILL_OCTETS * FILL_OCTETS + FILL_OCTETS, high, FILL_OCTETS)
    if not steps:
        return ()
    parts = range(1, SIZES_BETWEEN + 1)
    return tuple(sorted({steps[len(steps) * part // (SIZES_BETWEEN + 1)] for part in parts}, reverse=True))
