"""Who rests is woken by a glance that shows use, and by nothing less."""

import asyncio

import pytest

from weavemesh import glance
from weavemesh.glance import OCTETS, Glance


class Device:
    carried = 1000

    def __call__(self) -> int:
        return self.carried


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glance, "INTERVAL_S", 0.0)


def test_use_ends_the_rest_at_the_next_glance() -> None:
    async def scenario() -> None:
        device = Device()
        watch = Glance(device)
        async with asyncio.TaskGroup() as group:
            rest = group.create_task(watch.rest(60.0))
            await asyncio.sleep(0)
            device.carried += OCTETS
            watch.glance()
            await asyncio.sleep(0)
            assert not rest.done(), "as much as we ask ourselves"
            device.carried += OCTETS + 1
            await asyncio.sleep(0)
            assert not rest.done(), "nobody has looked"
            watch.glance()

    asyncio.run(scenario())


def test_without_use_the_rest_lasts_as_long_as_it_may_and_what_was_used_before_does_not_end_the_next() -> None:
    async def scenario() -> None:
        device = Device()
        watch = Glance(device)
        loop = asyncio.get_running_loop()
        for _ in range(2):
            begin = loop.time()
            await watch.rest(0.05)
            assert loop.time() - begin >= 0.045
            device.carried += 10 * OCTETS
            watch.glance()

    asyncio.run(scenario())


async def rested_through_use(*, looks: bool) -> bool:
    """Whether a rest of 0.2 s lasts though the device is used after a moment; `looks`: somebody glances then."""
    device = Device()
    watch = Glance(device)
    loop = asyncio.get_running_loop()
    begin = loop.time()
    async with asyncio.TaskGroup() as group:
        group.create_task(watch.rest(0.2))
        await asyncio.sleep(0.02)
        device.carried += 10 * OCTETS
        if looks:
            watch.glance()
    return loop.time() - begin >= 0.19


def test_where_nobody_is_woken_the_timer_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glance, "UNWOKEN_S", 0.01)
    assert not asyncio.run(rested_through_use(looks=False))


def test_glances_keep_their_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not asyncio.run(rested_through_use(looks=True))
    monkeypatch.setattr(glance, "INTERVAL_S", 3600.0)
    assert asyncio.run(rested_through_use(looks=True))
