"""An asyncio event loop on virtual time: nothing waits, order is drawn from a seed, a standstill is an error.

For the real shell over in-memory transports (no sockets, no threads). It leans on two private parts of asyncio's base
loop, `_ready` and `_run_once`; tests/simulation/test_simloop.py says so if a Python has them no more.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class Standstill(AssertionError):
    """Nothing is ready and no timer is set: all wait for each other."""


class _NoSockets(selectors.BaseSelector):
    """Lets virtual time pass instead of waiting."""

    def __init__(self) -> None:
        self.now = 0.0
        self._keys: dict[int, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, fileobj if isinstance(fileobj, int) else fileobj.fileno(), events, data)
        self._keys[key.fd] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj if isinstance(fileobj, int) else fileobj.fileno())

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Standstill("nothing is ready and no timer is set")
        self.now += max(timeout, 0.0)
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


class SimLoop(asyncio.SelectorEventLoop):
    """Virtual time; what is ready at one time runs in an order drawn from the seed."""

    def __init__(self, seed: int) -> None:
        self._sim_selector = _NoSockets()
        self._sim_rng = random.Random(seed)
        self.rounds = 0
        super().__init__(self._sim_selector)

    def time(self) -> float:
        return self._sim_selector.now

    def _run_once(self) -> None:
        ready = self._ready  # type: ignore[attr-defined]  # private: see above
        shuffled = list(ready)
        self._sim_rng.shuffle(shuffled)
        ready.clear()
        ready.extend(shuffled)
        self.rounds += 1
        super()._run_once()  # type: ignore[misc]  # private: see above


def run(seed: int, main: Coroutine[Any, Any, T]) -> T:
    """As asyncio.run, on a SimLoop."""
    with asyncio.Runner(loop_factory=lambda: SimLoop(seed)) as runner:
        return runner.run(main)
