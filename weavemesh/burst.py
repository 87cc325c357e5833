"""Acting on a burst of news once: at once if it has been quiet, else when the interval since the last time is over."""

import asyncio
from collections.abc import Callable
from math import inf


class Burst:
    """Calls `act` soon after `notice`, but never twice within `interval_s` seconds; on the running event loop."""

    def __init__(self, act: Callable[[], None], *, interval_s: float) -> None:
        self._act = act
        self._interval_s = interval_s
        self._loop = asyncio.get_running_loop()
        self._is_due = False
        self._acted_at = -inf

    def notice(self) -> None:
        """There is news. `act` is not called before this returns."""
        if not self._is_due:
            self._is_due = True
            self._loop.call_at(max(self._loop.time(), self._acted_at + self._interval_s), self._perform)

    def _perform(self) -> None:
        self._is_due = False
        self._acted_at = self._loop.time()
        self._act()
