"""News is acted on at once after quiet, and once per interval in a burst."""

import asyncio
from collections.abc import Callable

import pytest

from tests.simulation.simloop import SimLoop
from weavemesh.burst import Burst, interval_after


def test_a_burst_is_acted_on_at_its_beginning_and_once_more_at_its_end() -> None:
    acted: list[float] = []

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        burst = Burst(lambda: acted.append(loop.time() - begin), interval_s=1.0)
        begin = loop.time()
        for _ in range(10):
            burst.notice()
            await asyncio.sleep(0.05)
        assert acted == [0.0]
        await asyncio.sleep(5.0)
        burst.notice()
        await asyncio.sleep(1.0)

    loop = SimLoop(seed=1)
    loop.run_until_complete(scenario())
    loop.close()
    assert [round(when, 2) for when in acted] == [0.0, 1.0, 5.5]


def test_what_takes_long_is_done_seldom() -> None:
    acted: list[float] = []
    clock = [0.0]

    class Loop:
        """Takes a fifth of a second for each `act`."""

        def time(self) -> float:
            return clock[0]

        def call_at(self, when: float, act: Callable[[], None]) -> None:
            clock[0] = when
            act()

    def act() -> None:
        acted.append(clock[0])
        clock[0] += 0.2

    burst = Burst(act, interval_s=0.1, loop=Loop())
    for _ in range(3):
        burst.notice()
    assert [round(when, 3) for when in acted] == [0.0, 1.8, 3.6]


@pytest.mark.parametrize(
    ("took_s", "interval_s"), [(0.01, 0.2), (0.1, 0.9), (0.3, 2.0), (0.6, 2.0), (1.0, 3.0), (3.0, 9.0), (60.0, 12.0)]
)
def test_nothing_takes_all_the_time(took_s: float, interval_s: float) -> None:
    assert interval_after(took_s, at_least_s=0.2) == pytest.approx(interval_s)
