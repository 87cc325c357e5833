"""How much longer others are given to answer because this host, or all of them, are starved. Pure.

Without it a mesh whose hosts are short of processor time takes slow answers for broken paths, and looks for others with
the processor time that it does not have. As in Lifeguard (Dadgar, Phillips, Currey 2018) the evidence is our own: a
timer that comes late; and how long the answers take that do come.
"""

from typing import Final

NOTEWORTHY_S: Final = 0.02
"""An event loop that does something else for so long is not starved."""
HALF_LIFE_S: Final = 3.0
"""Lateness is forgotten by halves."""
SMOOTHING: Final = 0.125
"""Weight of a new answer's time (RFC 6298 §2)."""
ANSWER_TIMES: Final = 2.0
"""So many times the smoothed time of an answer is waited for one, as far as it is beyond …"""
USUAL_ANSWER_S: Final = 0.15
"""… what a path across a continent takes, for which all waits are made."""
LATENESS_TIMES: Final = 4.0
"""A question and its answer wait for their turn at both ends, and the other one is probably as late as we are."""
MOST_S: Final = 10.0


class Patience:
    """Lateness of our timers, the greatest lately, and the smoothed time of answers."""

    def __init__(self) -> None:
        self._late_s = 0.0
        self._late_at = 0.0
        self._answer_s = 0.0

    def timer(self, due: float | None, now: float) -> float:
        """A timer that was due then comes now. Return how late it is, in seconds; 0 if not by a noteworthy time."""
        late_s = 0.0 if due is None else now - due
        if late_s < NOTEWORTHY_S:
            return 0.0
        if late_s > self._lateness(now):
            self._late_s, self._late_at = late_s, now
        return late_s

    def answered(self, after_s: float) -> None:
        """Somebody has answered after so many seconds."""
        self._answer_s += SMOOTHING * (after_s - self._answer_s)

    def stretch(self, wait_s: float, now: float) -> float:
        """What a wait of so many seconds becomes."""
        return wait_s + min(
            MOST_S, LATENESS_TIMES * self._lateness(now) + ANSWER_TIMES * max(0.0, self._answer_s - USUAL_ANSWER_S)
        )

    def _lateness(self, now: float) -> float:
        return float(self._late_s * 0.5 ** ((now - self._late_at) / HALF_LIFE_S))
