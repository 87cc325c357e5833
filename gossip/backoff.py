"""Waiting longer after each failure, for ever, never in step with others."""

from __future__ import annotations

import random

BACKOFF_FIRST_S = 0.5
"""A restarted agent listens again within about this time."""

BACKOFF_FACTOR = 1.6
"""Ten failures to the longest wait."""

BACKOFF_LONGEST_S = 30.0
"""A host that comes back after days is found within this time; a thousand dead ones cost 33 dials a second at most."""

BACKOFF_JITTER = 0.25
"""Each wait is drawn from ± this part, so that a restarted hub is not dialled by all at one moment."""

LASTING_S = 10.0
"""A link that lived this long was a success: the next failure counts as the first."""


class Backoff:
    """When to try next."""

    __slots__ = ("attempts", "next_at")

    def __init__(self, now: float) -> None:
        self.attempts = 0
        self.next_at = now

    def reset(self, next_at: float) -> None:
        """Forget the failures; the next attempt is due then."""
        self.attempts = 0
        self.next_at = next_at

    def fail(self, now: float, rng: random.Random) -> None:
        """Put off the next attempt."""
        exponent = min(self.attempts, 64)
        wait_s = min(BACKOFF_LONGEST_S, BACKOFF_FIRST_S * BACKOFF_FACTOR**exponent)
        self.attempts += 1
        self.next_at = now + wait_s * rng.uniform(1 - BACKOFF_JITTER, 1 + BACKOFF_JITTER)

    def end(self, now: float, lived_s: float, rng: random.Random) -> None:
        """Put off the next attempt after a link that lived `lived_s` seconds."""
        if lived_s >= LASTING_S:
            self.attempts = 0
        self.fail(now, rng)
