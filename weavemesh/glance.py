"""Notices that somebody begins to use the tunnel device, by glances at its counters when the agent is awake anyway.

A timer for this would be one waking in eight of an agent at rest: a waking costs more than most of what is done in it.
Heartbeats wake an agent of a large mesh several times a second; a timer looks only where nobody did for a second.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from math import inf

INTERVAL_S = 0.8
"""At least between two glances."""
UNWOKEN_S = 1.0
"""After so long without one the timer looks."""
OCTETS = 8192
"""If the device has carried so much between two, somebody has begun to use it: questions of ours are fewer."""


class Glance:
    """`rest` for one caller, `glance` for whoever is awake."""

    def __init__(self, carried: Callable[[], int]) -> None:
        """`carried` tells how many octets the device has carried."""
        self._carried = carried
        self._used = asyncio.Event()
        self._before = 0
        self._next_at = inf
        self._timer: asyncio.TimerHandle | None = None

    async def rest(self, at_most_s: float) -> None:
        """So long, or until a glance shows that the device is used."""
        self._before = self._carried()
        self._wait()
        self._used.clear()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(at_most_s):
                    await self._used.wait()
        finally:
            self._next_at = inf
            if self._timer is not None:
                self._timer.cancel()

    def glance(self) -> None:
        """Look, if somebody rests and it is time."""
        if asyncio.get_running_loop().time() >= self._next_at:
            self._look()

    def _look(self) -> None:
        before, self._before = self._before, self._carried()
        if self._before - before > OCTETS:
            self._used.set()
        self._wait()

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        self._next_at = loop.time() + INTERVAL_S
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_later(UNWOKEN_S, self._look)
