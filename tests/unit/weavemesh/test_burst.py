"""News is acted on at once after quiet, and once per interval in a burst."""

import asyncio

from tests.simulation.simloop import SimLoop
from weavemesh.burst import Burst


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
