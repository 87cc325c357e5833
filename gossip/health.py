"""Local health: how late this very process is called, so that a starved machine does not blame the others for it.

As in Lifeguard (Dadgar, Phillips, Currey 2018), the time that others are given before they are suspected grows with
the evidence that we ourselves are slow. The evidence here is direct: a `tick` that comes later than it was due.
"""

from __future__ import annotations

LATE_S = 0.25
"""A healthy event loop on a busy machine is called within this time; more is starvation."""

SCORE_MAX = 8
"""At the worst the others get `1 + SCORE_MAX / SCORE_PER_FACTOR` times as long: 3 times."""

SCORE_PER_FACTOR = 4

RECOVERY_S = 2.0
"""Time without a late call that takes one point off."""


class LocalHealth:
    """A score of recent lateness, 0 (healthy) to SCORE_MAX."""

    def __init__(self, now: float) -> None:
        self._score = 0
        self._changed_at = now

    def called(self, *, late_s: float, now: float) -> None:
        """Note that we were called `late_s` seconds later than asked; not late at all if that is negative."""
        if late_s > LATE_S:
            self._score = min(SCORE_MAX, self._score + 1)
            self._changed_at = now
        elif self._score and now - self._changed_at >= RECOVERY_S:
            self._score = max(0, self._score - int((now - self._changed_at) / RECOVERY_S))
            self._changed_at = now

    @property
    def factor(self) -> float:
        """By how much to stretch the patience with others: 1 while we are healthy."""
        return 1 + self._score / SCORE_PER_FACTOR
