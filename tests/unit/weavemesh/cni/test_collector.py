import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.unit.weavemesh.cni.fake_doors import FIRST, Doors, FakeAddresses, call, netns
from weavemesh.cni.collector import Collector
from weavemesh.cni.plugin import Plugin
from weavemesh.kernel.podmodel import WiringFailed, host_ifname

IDENT = "net/c1/eth0"


def play(doors: Doors, scenario: Callable[[Plugin, Collector], Awaitable[None]]) -> None:
    async def main() -> None:
        plugin = doors.plugin()
        await scenario(plugin, plugin.collector)

    asyncio.run(main())


def test_what_is_in_use_stays() -> None:
    doors = Doors()
    doors.addresses.held |= {"weavemesh:host": FIRST, "ipam:net/c2/eth0": FIRST, "mine": FIRST}

    async def scenario(plugin: Plugin, collector: Collector) -> None:
        with netns() as fd:
            await plugin.perform(call("ADD", netns_fd=fd))
        assert await collector.collect() == 0

    play(doors, scenario)
    assert set(doors.addresses.held) == {IDENT, "weavemesh:host", "ipam:net/c2/eth0", "mine"}
    assert set(doors.wiring.wired) == {IDENT}


def test_an_address_whose_container_took_its_interface_along_is_given_back() -> None:
    doors = Doors()
    doors.addresses.held[IDENT] = FIRST

    async def scenario(_: Plugin, collector: Collector) -> None:
        assert await collector.collect() == 1
        assert await collector.collect() == 0

    play(doors, scenario)
    assert doors.is_empty()


@pytest.mark.parametrize("loss", ["address", "ident"])
def test_an_interface_that_nobody_will_ask_for_is_removed(loss: str) -> None:
    doors = Doors()

    async def scenario(plugin: Plugin, collector: Collector) -> None:
        if loss == "address":
            with netns() as fd:
                await plugin.perform(call("ADD", netns_fd=fd))
            doors.addresses.held.clear()
        else:
            doors.wiring.unfinished.add(host_ifname(IDENT))
        assert await collector.collect() == 1

    play(doors, scenario)
    assert doors.is_empty()
    assert not doors.wiring.unfinished


def test_an_add_under_way_is_left_alone() -> None:
    gate = asyncio.Event()
    doors = Doors(addresses=FakeAddresses(gate=gate))

    async def scenario(plugin: Plugin, collector: Collector) -> None:
        with netns() as fd:
            async with asyncio.TaskGroup() as group:
                doors.addresses.held[IDENT] = FIRST  # as if it had been promised, and the wiring were under way
                add = group.create_task(plugin.perform(call("ADD", netns_fd=fd)))
                await doors.addresses.reached.wait()
                collecting = group.create_task(collector.collect())
                await asyncio.sleep(0)
                gate.set()
        assert (add.result().status, collecting.result()) == (0, 0)

    play(doors, scenario)
    assert set(doors.wiring.wired) == {IDENT}


def test_what_cannot_be_given_back_now_is_for_the_next_time() -> None:
    doors = Doors()
    doors.addresses.held[IDENT] = FIRST

    async def scenario(_: Plugin, collector: Collector) -> None:
        doors.wiring.failure = WiringFailed("device busy")
        assert await collector.collect() == 0
        assert doors.addresses.held
        doors.wiring.failure = None
        assert await collector.collect() == 1

    play(doors, scenario)
    assert doors.is_empty()
