"""The pool answers those who wait, and nothing leaves it before the state that it relies on is on disk."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv4Network
from random import Random

import pytest

from ipam_crdt import Allocator, Electorate, MessageReceived, Owner, Release, Remove, RingReceived
from weavemesh import pool as pool_module
from weavemesh.error import UserError
from weavemesh.pool import AddressPool, AllocationRefused, NotDurable

UNIVERSE = IPv4Network("10.32.0.0/24")
ALONE = Electorate.addressed(0)


class Disk:
    """Where snapshots go; full when told so."""

    def __init__(self) -> None:
        self.snapshots: list[bytes] = []
        self.is_full = False
        self.takes_s = 0.0

    def save(self, snapshot: bytes) -> None:
        time.sleep(self.takes_s)
        if self.is_full:
            raise UserError("the disk is full", remedy="make room")
        self.snapshots.append(snapshot)


def open_pool(
    disk: Disk,
    *,
    electorate: Electorate | None = ALONE,
    announce: Callable[[bytes], None] = lambda _: None,
) -> AddressPool:
    allocator = Allocator(
        owner=Owner("one"),
        universe=UNIVERSE,
        electorate=electorate,
        snapshot=disk.snapshots[-1] if disk.snapshots else None,
        rng=Random(1),
        now=asyncio.get_running_loop().time(),
    )
    return AddressPool(
        allocator,
        save=disk.save,
        announce=announce,
        send=lambda _owner, _payload: None,
        ownership_changed=lambda: None,
    )


OTHER = Owner("other")


def hear_of_another(pool: AddressPool) -> None:
    """Another peer shows that it takes part in the ring."""
    pool.feed(RingReceived(OTHER, pool.allocator.state()))


@asynccontextmanager
async def running(pool: AddressPool) -> AsyncIterator[AddressPool]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(pool.run())
        yield pool
        task.cancel()


def test_an_address_is_on_disk_before_it_is_handed_out() -> None:
    async def scenario() -> None:
        disk = Disk()
        async with running(open_pool(disk)) as pool:
            address = await pool.allocate("net/pod/eth0", deadline_s=5)
        assert address in UNIVERSE
        reopened = open_pool(disk)
        assert reopened.address_of("net/pod/eth0") == address

    asyncio.run(scenario())


def test_the_same_ident_gets_the_same_address_also_at_once() -> None:
    async def scenario() -> None:
        async with running(open_pool(Disk())) as pool:
            addresses = await asyncio.gather(*(pool.allocate("net/pod/eth0", deadline_s=5) for _ in range(5)))
            others = await asyncio.gather(*(pool.allocate(f"net/{i}/eth0", deadline_s=5) for i in range(20)))
        assert len(set(addresses)) == 1
        assert len({*addresses, *others}) == 21

    asyncio.run(scenario())


def test_many_at_once_are_one_write() -> None:
    async def scenario() -> None:
        disk = Disk()
        async with running(open_pool(disk)) as pool:
            await pool.allocate("first", deadline_s=5)
            before = len(disk.snapshots)
            await asyncio.gather(*(pool.allocate(f"net/{i}/eth0", deadline_s=5) for i in range(50)))
            assert len(disk.snapshots) - before <= 3

    asyncio.run(scenario())


def test_a_released_address_is_free() -> None:
    async def scenario() -> None:
        async with running(open_pool(Disk())) as pool:
            await pool.allocate("net/pod/eth0", deadline_s=5)
            await pool.release("net/pod/eth0")
            await pool.release("net/unknown/eth0")
            assert pool.address_of("net/pod/eth0") is None

    asyncio.run(scenario())


def test_without_a_ring_the_answer_is_a_reason_within_the_deadline() -> None:
    async def scenario() -> None:
        async with running(open_pool(Disk(), electorate=None)) as pool:
            async with asyncio.timeout(5):
                with pytest.raises(AllocationRefused):
                    await pool.allocate("net/pod/eth0", deadline_s=0.05)

    asyncio.run(scenario())


def test_on_a_full_disk_nothing_is_promised_and_all_goes_on_when_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "SAVE_RETRY_S", 0.02)

    async def scenario() -> None:
        disk, announced = Disk(), list[bytes]()
        async with running(open_pool(disk, announce=announced.append)) as pool:
            await pool.change(Release("nobody"))
            announced.clear()
            disk.is_full = True
            with pytest.raises(AllocationRefused, match="the disk is full; make room"):
                await pool.allocate("net/pod/eth0", deadline_s=0.1)
            hear_of_another(pool)
            assert pool.digest() != pool.allocator.digest(), "news of the ring was published before it was on disk"
            assert announced == []
            disk.is_full = False
            address = await pool.allocate("net/pod/eth0", deadline_s=5)
            await pool.change(Release("nobody"))
            assert pool.problem is None
            assert pool.digest() == pool.allocator.digest()
            assert announced
        assert open_pool(disk).address_of("net/pod/eth0") == address

    asyncio.run(scenario())


def test_a_start_on_a_full_disk_is_refused_before_the_new_ring_is_told_to_anyone() -> None:
    async def scenario() -> None:
        disk = Disk()
        disk.is_full = True
        with pytest.raises(UserError, match="the disk is full"):
            open_pool(disk)

    asyncio.run(scenario())


def test_a_release_is_answered_when_a_crash_can_no_longer_undo_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "SAVE_RETRY_S", 0.02)
    monkeypatch.setattr(pool_module, "CHANGE_DEADLINE_S", 0.1)

    async def scenario() -> None:
        disk = Disk()
        async with running(open_pool(disk)) as pool:
            await pool.allocate("net/pod/eth0", deadline_s=5)
            await pool.release("net/pod/eth0")
            assert open_pool(disk).address_of("net/pod/eth0") is None
            await pool.allocate("net/pod/eth0", deadline_s=5)
            disk.is_full = True
            with pytest.raises(NotDurable, match="the disk is full; make room"):
                await pool.release("net/pod/eth0")
            disk.is_full = False
            await pool.release("net/pod/eth0")
            assert open_pool(disk).address_of("net/pod/eth0") is None

    asyncio.run(scenario())


def test_who_waits_for_the_disk_when_the_agent_stops_is_told() -> None:
    async def scenario() -> None:
        disk = Disk()
        pool = open_pool(disk)
        async with asyncio.TaskGroup() as group:
            running_pool = group.create_task(pool.run())
            await pool.allocate("net/pod/eth0", deadline_s=5)
            disk.is_full = True

            async def release() -> None:
                with pytest.raises(NotDurable, match="the agent stops"):
                    await pool.release("net/pod/eth0")

            group.create_task(release())
            assert await pool.until(lambda: pool.address_of("net/pod/eth0") is None, deadline_s=5)
            running_pool.cancel()
        with pytest.raises(NotDurable):
            await pool.release("net/pod/eth0")

    asyncio.run(scenario())


def test_a_removal_counts_when_it_is_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "SAVE_RETRY_S", 0.02)

    async def scenario() -> None:
        disk = Disk()
        async with running(open_pool(disk)) as pool:
            hear_of_another(pool)
            disk.is_full = True
            async with asyncio.TaskGroup() as group:
                group.create_task(pool.change(Remove(OTHER)))
                assert await pool.until(lambda: OTHER in pool.allocator.roster.removed, deadline_s=5)
                assert OTHER not in pool.roster.removed
                disk.is_full = False
            assert OTHER in pool.roster.removed
            assert OTHER in open_pool(disk).roster.removed

    asyncio.run(scenario())


def test_waiting_for_what_does_not_come_ends() -> None:
    async def scenario() -> None:
        async with running(open_pool(Disk())) as pool:
            assert not await pool.until(lambda: False, deadline_s=0.02)

    asyncio.run(scenario())


def test_the_published_ring_is_the_one_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "SAVE_RETRY_S", 0.02)

    async def scenario() -> None:
        disk = Disk()
        async with running(open_pool(disk)) as pool:
            await pool.allocate("first", deadline_s=5)
            await asyncio.sleep(0)  # who waits for an address is told before others hear how many there are left
            assert (pool.digest(), pool.state()) == (pool.allocator.digest(), pool.allocator.state())
            disk.is_full = True
            before = pool.state()
            await pool.promise("second", deadline_s=5)
            durable = pool.durable()
            assert pool.state() == before, "nothing is published that a crash would undo"
            disk.is_full = False
            await durable
            await asyncio.sleep(0)
            assert pool.state() == pool.allocator.state()

    asyncio.run(scenario())


def test_a_promise_is_made_at_once_and_durable_when_the_disk_has_it() -> None:
    async def scenario() -> None:
        disk = Disk()
        async with running(open_pool(disk)) as pool:
            disk.is_full = True
            address = await pool.promise("a", deadline_s=5)
            assert await pool.promise("a", address, deadline_s=5) == address
            async with asyncio.TaskGroup() as group:

                async def until_durable() -> None:
                    await pool.durable()

                durable = group.create_task(until_durable())
                await asyncio.sleep(0)
                assert not durable.done()
                disk.is_full = False
            assert pool.address_of("a") == address
            with pytest.raises(AllocationRefused, match="already has"):
                await pool.promise("a", address + 1, deadline_s=5)

    asyncio.run(scenario())


def test_a_burst_of_news_is_one_write_and_one_announcement_and_who_waits_is_not_kept_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_module, "PACE_S", 3600.0)

    async def scenario() -> None:
        announced: list[bytes] = []
        disk = Disk()
        async with running(open_pool(disk, announce=announced.append)) as pool:
            await pool.durable()
            announced.clear()
            writes = len(disk.snapshots)
            for name in ("anne", "bert", "carl", "dora"):
                pool.feed(RingReceived(Owner(name), pool.allocator.state()))
            await pool.durable()
            assert len(announced) == 1
            assert len(disk.snapshots) == writes + 1

    asyncio.run(scenario())


def test_news_rests_for_longer_the_longer_the_last_took(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "PACE_S", 0.01)
    took: list[float] = []

    def for_ever(took_s: float, *, at_least_s: float) -> float:
        assert at_least_s == pool_module.PACE_S
        took.append(took_s)
        return 3600.0

    monkeypatch.setattr(pool_module, "interval_after", for_ever)

    async def scenario() -> None:
        disk = Disk()
        async with running(open_pool(disk)) as pool:
            await pool.durable()
            took.clear()
            disk.takes_s = 0.1
            await pool.promise("a", None, deadline_s=5)
            await pool.durable()
            assert await pool.until(lambda: bool(took), deadline_s=5)
            writes = len(disk.snapshots)
            hear_of_another(pool)
            await asyncio.sleep(0.3)
            assert len(disk.snapshots) == writes, "it rests for longer than PACE_S"
        assert took[-1] >= 0.9 * disk.takes_s

    asyncio.run(scenario())


def test_who_waits_for_an_address_is_hurried_by_messages_for_him_and_not_by_news(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_module, "PACE_S", 3600.0)

    async def scenario() -> None:
        disk = Disk()
        founder = Allocator(owner=OTHER, universe=UNIVERSE, electorate=ALONE, snapshot=None, rng=Random(2), now=0.0)
        async with running(open_pool(disk, electorate=None)) as pool, asyncio.TaskGroup() as group:
            waiting = group.create_task(pool.allocate("a", deadline_s=60))
            await asyncio.sleep(0)
            pool.feed(RingReceived(OTHER, founder.state()))
            assert await pool.until(lambda: len(disk.snapshots) > 0, deadline_s=5), "it has been quiet so far"
            writes = len(disk.snapshots)
            pool.feed(RingReceived(Owner("anne"), founder.state()))
            for _ in range(100):
                await asyncio.sleep(0)
            assert len(disk.snapshots) == writes, "the news is told with what follows"
            pool.feed(MessageReceived(OTHER, b"a message"))
            assert await pool.until(lambda: len(disk.snapshots) > writes, deadline_s=5)
            waiting.cancel()

    asyncio.run(scenario())
