"""The in-memory twin has the face and the manners of the real links, and no wire."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gossip import PeerName
from weavemesh.error import UserError
from weavemesh.transport.connection import CONGESTED_BYTES, OUTBOX_BYTES_MAX
from weavemesh.transport.failure import Failure, LinkFailed
from weavemesh.transport.link import Transport
from weavemesh.transport.memory import MemoryConnection, MemoryNetwork

from .members import received

ONE, OTHER = PeerName("a" * 16), PeerName("b" * 16)


@asynccontextmanager
async def linked(network: MemoryNetwork) -> AsyncIterator[tuple[MemoryConnection, MemoryConnection]]:
    listener = await network.transport("10.0.0.2", peer=OTHER).listen(6783)
    near = await network.transport("10.0.0.1", peer=ONE).dial("10.0.0.2", 6783)
    yield near, await listener.accept()


def test_the_twin_has_the_same_face() -> None:
    transport: Transport = MemoryNetwork().transport("10.0.0.1", peer=ONE)
    assert transport is not None


def test_both_ends_know_who_and_where_the_other_is() -> None:
    async def scenario() -> None:
        async with linked(MemoryNetwork()) as (near, far):
            assert (near.peer, far.peer) == (OTHER, ONE)
            assert (near.remote_address, far.local_address) == ("10.0.0.2:6783", "10.0.0.2:6783")
            assert near.local_address == far.remote_address

    asyncio.run(scenario())


def test_frames_keep_their_order_whatever_their_delays_are() -> None:
    async def scenario() -> None:
        delays = iter([0.0] * 3 + [0.02, 0.001, 0.01, 0.0, 0.005])
        async with linked(MemoryNetwork(delay=lambda _source, _to: next(delays, 0.0))) as (near, far):
            for number in range(6):
                near.send(b"%d" % number)
            assert await received(far, 6) == [b"%d" % number for number in range(6)]

    asyncio.run(scenario())


def test_closing_delivers_what_was_sent_and_says_why() -> None:
    async def scenario() -> None:
        async with linked(MemoryNetwork()) as (near, far):
            near.send(b"one")
            near.close("enough")
            near.close("again")
            near.send(b"two")
            assert await received(far) == [b"one"]
            assert str(far.ending) == "it closed the link: enough"
            assert near.ending is not None
            assert near.ending.code is Failure.CLOSED
            assert await received(near) == []
            await near.wait_closed()

    asyncio.run(scenario())


def test_a_cut_holds_back_until_it_is_healed() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        async with linked(network) as (near, far):
            network.cut("10.0.0.1", "10.0.0.2")
            near.send(b"one")
            far.send(b"the other way")
            assert await received(near, 1) == [b"the other way"]
            with pytest.raises(LinkFailed) as failure:
                await network.transport("10.0.0.1", peer=ONE).dial("10.0.0.2", 6783, timeout_s=0.01)
            assert failure.value.code is Failure.TIMEOUT
            network.heal("10.0.0.1", "10.0.0.2")
            assert await received(far, 1) == [b"one"]

    asyncio.run(scenario())


def test_a_reader_that_does_not_read_ends_the_link_and_one_that_does_gets_all() -> None:
    async def scenario() -> None:
        async with linked(MemoryNetwork()) as (near, far):
            frame = bytes(1024 * 1024)
            for _ in range(8):
                near.send(frame)
            assert len(await received(far, 8)) == 8
            for _ in range(OUTBOX_BYTES_MAX // len(frame) + 1):
                near.send(frame)
            assert near.ending is not None
            assert near.ending.code is Failure.OVERFLOW

    asyncio.run(scenario())


def test_dials_that_fail_say_why() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        dialer = network.transport("10.0.0.1", peer=ONE)
        listener = await network.transport("10.0.0.2", peer=OTHER, secret="another").listen(0)
        for port, code in ((listener.port, Failure.WRONG_SECRET), (listener.port + 99, Failure.REFUSED)):
            with pytest.raises(LinkFailed) as failure:
                await dialer.dial("10.0.0.2", port)
            assert failure.value.code is code
        listener.close()
        with pytest.raises(LinkFailed) as failure:
            await dialer.dial("10.0.0.2", listener.port)
        assert failure.value.code is Failure.REFUSED
        await dialer.listen(6783)
        with pytest.raises(UserError, match="TCP port 6783 is taken"):
            await dialer.listen(6783)

    asyncio.run(scenario())


def test_congestion_is_told_and_its_end_too() -> None:
    async def scenario() -> None:
        told: list[bool] = []
        network = MemoryNetwork()
        async with linked(network) as (near, far):
            near.watch_congestion(told.append)
            for _ in range(3):
                near.send(bytes(CONGESTED_BYTES // 2))
            assert told == []
            await asyncio.sleep(0)
            assert told == [True]
            assert len(await received(far, 3)) == 3
            await asyncio.sleep(0)
            assert told == [True, False]

    asyncio.run(scenario())
