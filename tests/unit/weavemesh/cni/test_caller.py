import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine

import pytest

from weavemesh.cni.caller import Caller
from weavemesh.cni.frame import Answer, encode_plan
from weavemesh.kernel.podplan import Batch

BATCHES = (Batch(False, 1, b"out"), Batch(True, 2, b"in"))
PLAN = encode_plan(BATCHES)
DONE = Answer(0, b"done")


def outcome(replies: bytes, *, failure: int = 0) -> bytes:
    return struct.pack(">4sII", b"WMO1", failure, len(replies)) + replies


def converse(behave: Callable[[socket.socket, Caller], Coroutine[None, None, Answer | None]]) -> Answer | None:
    """What comes of it, with the executable's end of the connection in the hands of the test."""

    async def main() -> Answer | None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.setblocking(False)
            async with asyncio.timeout(10):
                return await behave(theirs, Caller(ours, 5))

    return asyncio.run(main())


async def heard(theirs: socket.socket) -> bytes:
    return await asyncio.get_running_loop().sock_recv(theirs, 65536)


def test_who_offers_is_a_player_and_who_does_not_is_none() -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        player = Caller(connection, 5).player()
        assert player is not None and player.netns_fd == 5
        assert Caller(connection, None).player() is None


def test_a_plan_is_sent_and_its_replies_are_told_also_if_they_come_in_pieces() -> None:
    async def behave(theirs: socket.socket, caller: Caller) -> Answer | None:
        async def work() -> Answer:
            assert await caller.play(BATCHES) == b"replies"
            return DONE

        async with asyncio.TaskGroup() as group:
            task = group.create_task(caller.unless_hung_up(work()))
            assert await heard(theirs) == PLAN
            for byte in outcome(b"replies"):
                theirs.send(bytes([byte]))
                await asyncio.sleep(0)
        return task.result()

    assert converse(behave) == DONE


@pytest.mark.parametrize("said", [b"", b"WMO1", b"GET / HTTP/1.1\r\n\r\n", outcome(b"ab") + b"c"])
def test_a_player_that_hangs_up_or_talks_nonsense_ends_the_call(said: bytes) -> None:
    ended: list[str] = []

    async def behave(theirs: socket.socket, caller: Caller) -> Answer | None:
        async def work() -> Answer:
            try:
                await caller.play(BATCHES)
            except asyncio.CancelledError:
                ended.append("undone")
                raise
            return DONE

        async with asyncio.TaskGroup() as group:
            task = group.create_task(caller.unless_hung_up(work()))
            assert await heard(theirs) == PLAN
            theirs.send(said)
            theirs.shutdown(socket.SHUT_WR)
        return task.result()

    assert converse(behave) is None
    assert ended == ["undone"]


@pytest.mark.parametrize("ends_by", [outcome(b"part", failure=125), b""])
def test_whoever_gives_a_plan_up_waits_until_the_executable_has_stopped(ends_by: bytes) -> None:
    undone = asyncio.Event()

    async def behave(theirs: socket.socket, caller: Caller) -> Answer | None:
        async def work() -> Answer:
            try:
                await caller.play(BATCHES)
            finally:
                undone.set()
            return DONE

        async def limited() -> Answer:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await work()
            return DONE

        async with asyncio.TaskGroup() as group:
            task = group.create_task(caller.unless_hung_up(limited()))
            assert await heard(theirs) == PLAN
            assert await heard(theirs) == b"", "it is told to stop"
            assert not undone.is_set(), "nobody may clean up beside it"
            theirs.send(ends_by) if ends_by else theirs.close()
            await undone.wait()
        return task.result()

    assert converse(behave) == (DONE if ends_by else None)


def test_somebody_else_may_end_the_task() -> None:
    async def behave(theirs: socket.socket, caller: Caller) -> Answer | None:
        async def work() -> Answer:
            await asyncio.Event().wait()
            return DONE

        async with asyncio.TaskGroup() as group:
            task = group.create_task(caller.unless_hung_up(work()))
            await asyncio.sleep(0)
            task.cancel()
        assert task.cancelled() and theirs.fileno() >= 0
        return None

    assert converse(behave) is None
