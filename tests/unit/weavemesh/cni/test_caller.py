import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine

import pytest

from weavemesh.cni.caller import Caller
from weavemesh.cni.frame import ANSWER_HEADER, Answer, encode_plan
from weavemesh.kernel.podplan import Batch, Outcome

OUT, IN = Batch(False, 1, b"out"), Batch(True, 2, b"in")
DONE = Answer(0, b"done")


def outcome(replies: bytes, *, failure: int = 0) -> bytes:
    return struct.pack(">4sII", b"WMO2", failure, len(replies)) + replies


def frames(heard: bytes) -> list[tuple[bytes, bytes]]:
    """The kinds and contents of the frames that the executable has heard."""
    found = []
    while heard:
        kind, _, size = ANSWER_HEADER.unpack_from(heard)
        found.append((kind, heard[ANSWER_HEADER.size : ANSWER_HEADER.size + size]))
        heard = heard[ANSWER_HEADER.size + size :]
    return found


def content(batch: Batch) -> bytes:
    return encode_plan((batch,), cpu=0)[ANSWER_HEADER.size :]


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


async def heard_until_end(theirs: socket.socket) -> list[tuple[bytes, bytes]]:
    whole = b""
    while not whole or frames(whole)[-1][0] != b"WME2":
        whole += await heard(theirs)
    return frames(whole)


def test_a_plan_is_sent_in_parts_and_its_outcome_is_told_also_if_that_comes_in_pieces() -> None:
    async def behave(theirs: socket.socket, caller: Caller) -> Answer | None:
        async def work() -> Answer:
            caller.send((OUT,))
            caller.send((IN,))
            assert await caller.end(b"") == Outcome(0, b"replies")
            return DONE

        async with asyncio.TaskGroup() as group:
            task = group.create_task(caller.unless_hung_up(work()))
            assert await heard_until_end(theirs) == [(b"WMP2", content(OUT)), (b"WMP2", content(IN)), (b"WME2", b"")]
            for byte in outcome(b"replies"):
                theirs.send(bytes([byte]))
                await asyncio.sleep(0)
        assert not caller.has_answer, "it was given none"
        return task.result()

    assert converse(behave) == DONE


@pytest.mark.parametrize("failure", [0, 17])
def test_an_answer_that_goes_with_the_end_is_had_if_all_went_well(failure: int) -> None:
    async def behave(theirs: socket.socket, caller: Caller) -> Answer | None:
        async def work() -> Answer:
            caller.send((OUT,))
            assert await caller.end(b"answer") == Outcome(failure, b"replies")
            await asyncio.sleep(0)
            return DONE

        async with asyncio.TaskGroup() as group:
            task = group.create_task(caller.unless_hung_up(work()))
            assert (await heard_until_end(theirs))[-1] == (b"WME2", b"answer")
            theirs.send(outcome(b"replies", failure=failure))
            if not failure:
                theirs.close()  # it has what it came for: nobody is to take this for hanging up
        assert caller.has_answer == (not failure)
        return task.result()

    assert converse(behave) == DONE


@pytest.mark.parametrize("said", [b"", b"WMO2", b"GET / HTTP/1.1\r\n\r\n", outcome(b"ab") + b"c"])
def test_a_player_that_hangs_up_or_talks_nonsense_ends_the_call(said: bytes) -> None:
    ended: list[str] = []

    async def behave(theirs: socket.socket, caller: Caller) -> Answer | None:
        async def work() -> Answer:
            try:
                caller.send((OUT,))
                await caller.end(b"answer")
            except asyncio.CancelledError:
                await caller.stop()  # which it has
                ended.append("undone")
                raise
            return DONE

        async with asyncio.TaskGroup() as group:
            task = group.create_task(caller.unless_hung_up(work()))
            await heard_until_end(theirs)
            theirs.send(said)
            theirs.shutdown(socket.SHUT_WR)
        return task.result()

    assert converse(behave) is None
    assert ended == ["undone"]


@pytest.mark.parametrize("ends_by", [outcome(b"part", failure=17), outcome(b"all"), b""])
def test_whoever_gives_a_plan_up_waits_until_the_executable_plays_no_more(ends_by: bytes) -> None:
    undone = asyncio.Event()

    async def behave(theirs: socket.socket, caller: Caller) -> Answer | None:
        async def work() -> Answer:
            caller.send((OUT,))
            await asyncio.Event().wait()  # for an address
            return DONE

        async def limited() -> Answer:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    try:
                        await work()
                    finally:
                        await caller.stop()
                        undone.set()
            return DONE

        async with asyncio.TaskGroup() as group:
            task = group.create_task(caller.unless_hung_up(limited()))
            assert await heard_until_end(theirs) == [(b"WMP2", content(OUT)), (b"WME2", b"")]
            assert not undone.is_set(), "nobody may clean up beside it"
            theirs.send(ends_by) if ends_by else theirs.close()
            await undone.wait()
        return task.result()

    assert converse(behave) == (DONE if ends_by else None)


@pytest.mark.parametrize("failure", [0, 17])
def test_an_answer_under_way_is_not_taken_back(failure: int) -> None:
    """Whoever is to end waits how it went: what the runtime was told stays, and only what it was not is undone."""
    ended: list[object] = []

    async def behave(theirs: socket.socket, caller: Caller) -> Answer | None:
        async def work() -> Answer:
            caller.send((OUT,))
            try:
                ended.append(await caller.end(b"answer"))
            except asyncio.CancelledError:
                ended.append("undone")
                raise
            return DONE

        async with asyncio.TaskGroup() as group:
            task = group.create_task(caller.unless_hung_up(work()))
            await heard_until_end(theirs)
            task.cancel()
            await asyncio.sleep(0)
            assert not task.done()
            theirs.send(outcome(b"", failure=failure))
        return None if task.cancelled() else task.result()

    assert converse(behave) == (None if failure else DONE)
    assert ended == ["undone" if failure else Outcome(0, b"")]


def test_who_does_not_read_what_there_is_room_for_is_hung_up_on() -> None:
    async def behave(_theirs: socket.socket, caller: Caller) -> Answer | None:
        async def work() -> Answer:
            caller.send((Batch(False, 1, bytes(1 << 24)),))
            await caller.end(b"answer")
            return DONE

        return await caller.unless_hung_up(work())

    assert converse(behave) is None


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
