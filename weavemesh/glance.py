"""Notices that somebody begins to use the tunnel device, by glances at its counters when the agent is awake anyway.

A timer for this would be one waking in eight of an agent at rest: a waking costs more than most of what is done in it.
Heartbeats of control links wake an agent several times a second, and whoever has no link has nobody to send to.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from math import inf

INTERVAL_S = 0.8
"""At least between two glances."""
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

    async def rest(self, at_most_s: float) -> None:
        """So long, or until a glance shows that the device is used."""
        self._used.clear()
        self._before, self._next_at = self._carried(), asyncio.get_running_loop().time() + INTERVAL_S
        with suppress(TimeoutError):
            async with asyncio.timeout(at_most_s):
                await self._used.wait()
        self._next_at = inf

    def glance(self) -> None:
        """Look, if somebody rests and it is time."""
        now = asyncio.get_running_loop().time()
        if now < self._next_at:
            return
        self._next_at = now + INTERVAL_S
        before, self._before = self._before, self._carried()
        if self._before - before > OCTETS:
            self._used.set()
