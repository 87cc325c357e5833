"""The pace at which one origin's records are written and taken: a burst, then one a second.

Each record of each peer crosses the whole mesh, so that one member that spoke without a pause would keep a thousand
busy. Whoever writes keeps to less than those who listen allow, so that nothing honest is ever refused.
"""

from __future__ import annotations

from math import inf

WRITE_BURST = 20
"""A start, with its first links and its address, takes about ten records."""

WRITE_INTERVAL_S = 1.0
"""After the burst: links come and go, and summaries change, more slowly than this in the long run."""

TAKE_BURST = 40
"""Twice the writer's, as records are held up and come together."""

TAKE_INTERVAL_S = 0.5
"""Twice the writer's: two machines with one identity are both heard."""


_ONE = 1 - 1e-9
"""A whole token, but for the rounding of times."""


class Pace:
    """A token bucket: `burst` at once, then one in each interval."""

    __slots__ = ("_at", "_burst", "_interval_s", "_tokens")

    def __init__(self, now: float | None, *, burst: int = TAKE_BURST, interval_s: float = TAKE_INTERVAL_S) -> None:
        self._burst = burst
        self._interval_s = interval_s
        self._tokens = float(burst)
        self._at = -inf if now is None else now

    def take(self, now: float | None) -> bool:
        """Return whether one more is allowed; it counts if it is. Without a time (restored from disk) it is free."""
        if now is None:
            return True
        self._fill(now)
        if self._tokens < _ONE:
            return False
        self._tokens -= 1
        return True

    def next_at(self, now: float) -> float:
        """Return when one more is allowed: `now` or later."""
        self._fill(now)
        return now if self._tokens >= _ONE else now + (1 - self._tokens) * self._interval_s

    def _fill(self, now: float) -> None:
        if now > self._at:
            self._tokens = min(self._burst, self._tokens + (now - self._at) / self._interval_s)
            self._at = now
