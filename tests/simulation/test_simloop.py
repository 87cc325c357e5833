import asyncio
import time

import pytest

from tests.simulation.simloop import SimLoop, Standstill, run


def order_of(seed: int) -> list[int]:
    async def scenario() -> list[int]:
        order: list[int] = []

        async def note(number: int) -> None:
            await asyncio.sleep(1.0)
            order.append(number)

        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(note(number))
        return order

    return run(seed, scenario())


def test_hours_pass_in_no_time() -> None:
    async def scenario() -> float:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(7200)
        return loop.time()

    before = time.perf_counter()
    assert run(1, scenario()) == pytest.approx(7200)
    assert time.perf_counter() - before < 5


def test_a_seed_decides_the_order() -> None:
    assert order_of(1) == order_of(1)
    assert order_of(1) != order_of(2)
    assert sorted(order_of(1)) == list(range(20))


def test_a_standstill_is_an_error() -> None:
    loop = SimLoop(1)
    with pytest.raises(Standstill):
        loop.run_until_complete(loop.create_future())
    loop.close()
