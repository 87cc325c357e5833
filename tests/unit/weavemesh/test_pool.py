"""The pool answers those who wait, and nothing leaves it before the state that it relies on is on disk."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from random import Random

import pytest

from ipam_crdt import Allocator, Founding, Owner
from weavemesh import pool as pool_module
from weavemesh.error import UserError
from weavemesh.pool import AddressPool, AllocationRefused, PodAddresses

UNIVERSE = IPv4Network("10.32.0.0/24")


class Disk:
    """Where snapshots go; full when told so."""

    def __init__(self) -> None:
        self.snapshots: list[bytes] = []
        self.is_full = False

    def save(self, snapshot: bytes) -> None:
        if self.is_full:
            raise UserError("the disk is full", remedy="make room")
        self.snapshots.append(snapshot)


def open_pool(
    disk: Disk, *, founding: Founding = Founding.FOUND, announce: Callable[[bytes], None] = lambda _: None
) -> AddressPool:
    allocator = Allocator(
        owner=Owner("one"),
        universe=UNIVERSE,
        founding=founding,
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
        async with running(open_pool(Disk(), founding=Founding.JOIN)) as pool:
            async with asyncio.timeout(5):
                with pytest.raises(AllocationRefused):
                    await pool.allocate("net/pod/eth0", deadline_s=0.05)

    asyncio.run(scenario())


def test_on_a_full_disk_nothing_is_promised_and_all_goes_on_when_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "SAVE_RETRY_S", 0.02)

    async def scenario() -> None:
        disk, announced = Disk(), list[bytes]()
        disk.is_full = True
        async with running(open_pool(disk, announce=announced.append)) as pool:
            with pytest.raises(AllocationRefused, match="the disk is full; make room"):
                await pool.allocate("net/pod/eth0", deadline_s=0.1)
            assert announced == [], "the new ring was announced before it was on disk"
            disk.is_full = False
            address = await pool.allocate("net/pod/eth0", deadline_s=5)
            assert pool.problem is None
            assert announced
        assert open_pool(disk).address_of("net/pod/eth0") == address

    asyncio.run(scenario())


def test_the_published_ring_is_the_one_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "SAVE_RETRY_S", 0.02)

    async def scenario() -> None:
        disk = Disk()
        async with running(open_pool(disk)) as pool:
            await pool.allocate("first", deadline_s=5)
            assert (pool.digest(), pool.state()) == (pool.allocator.digest(), pool.allocator.state())

    asyncio.run(scenario())


def test_a_pods_address_has_an_ipv6_twin_where_the_cluster_has_a_prefix() -> None:
    async def scenario() -> None:
        async with running(open_pool(Disk())) as pool:
            dual = PodAddresses(pool, lambda: IPv6Network("fd00::/96"))
            address = await dual.allocate("net/pod/eth0", deadline_s=5)
            assert isinstance(address.ipv4, IPv4Address)
            assert address.ipv6 == IPv6Address(int(IPv6Address("fd00::")) | int(address.ipv4))
            assert dual.address_of("net/pod/eth0") == address
            assert PodAddresses(pool, lambda: None).address_of("net/pod/eth0") is not None
            await dual.release("net/pod/eth0")
            assert dual.address_of("net/pod/eth0") is None

    asyncio.run(scenario())
