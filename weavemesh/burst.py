"""Acting on a burst of news once: at once if it has been quiet, else when the interval since the last time is over.

The interval grows with what acting costs: on a starved host news would otherwise be all that it is busy with.
"""

import asyncio
from collections.abc import Callable
from math import inf
from typing import Protocol

REST = 9.0
REST_S_MAX = 2.0
STARVED_REST = 3.0
STARVED_REST_S_MAX = 12.0


def interval_after(took_s: float, *, at_least_s: float) -> float:
    """From one beginning to the next, in seconds, after something that took so long.

    At most a tenth of the time goes into it. News that waited longer than REST_S_MAX for that would be late; so on a
    host that is starved, where it takes seconds, at most a third.
    """
    return max(at_least_s, min(REST * took_s, REST_S_MAX), min(STARVED_REST * took_s, STARVED_REST_S_MAX))


class Clock(Protocol):
    """What is needed of an event loop."""

    def time(self) -> float: ...
    def call_at(self, when: float, callback: Callable[[], None], /) -> object: ...


class Burst:
    """Calls `act` soon after `notice`, but never twice within `interval_s` seconds; on the running event loop."""

    def __init__(self, act: Callable[[], None], *, interval_s: float, loop: Clock | None = None) -> None:
        self._act = act
        self._interval_s = interval_s
        self._loop: Clock = loop or asyncio.get_running_loop()
        self._is_due = False
        self._next_at = -inf

    def notice(self) -> None:
        """There is news. `act` is not called before this returns."""
        if not self._is_due:
            self._is_due = True
            self._loop.call_at(max(self._loop.time(), self._next_at), self._perform)

    def _perform(self) -> None:
        self._is_due = False
        begin = self._loop.time()
        self._next_at = begin + self._interval_s
        self._act()
        self._next_at = begin + interval_after(self._loop.time() - begin, at_least_s=self._interval_s)
