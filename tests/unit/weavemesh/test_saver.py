"""A burst of changes is one write; a failed write is told and tried again."""

import asyncio

import pytest

from weavemesh import saver as saver_module
from weavemesh.error import UserError
from weavemesh.saver import Saver


def test_a_burst_is_one_write_of_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saver_module, "DELAY_S", 0.01)

    async def scenario() -> list[bytes]:
        states, written, done = list[bytes](), list[bytes](), asyncio.Event()
        loop = asyncio.get_running_loop()

        def write(snapshot: bytes) -> None:
            written.append(snapshot)
            loop.call_soon_threadsafe(done.set)

        saver = Saver(lambda: states[-1], write)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(saver.run())
            for state in (b"one", b"two", b"three"):
                states.append(state)
                saver.changed()
            async with asyncio.timeout(5):
                await done.wait()
            task.cancel()
        return written

    assert asyncio.run(scenario()) == [b"three"]


def test_nothing_new_is_not_written() -> None:
    written: list[bytes] = []
    asyncio.run(Saver(lambda: b"", written.append).save_now())
    assert written == []


def test_a_failed_write_is_told_and_kept_for_the_next_try() -> None:
    attempts: list[bytes] = []

    def write(snapshot: bytes) -> None:
        attempts.append(snapshot)
        if len(attempts) == 1:
            raise UserError("the disk is full", remedy="make room")

    async def scenario() -> None:
        saver = Saver(lambda: b"state", write)
        saver.changed()
        await saver.save_now()
        assert str(saver.problem) == "the disk is full; make room"
        await saver.save_now()
        assert saver.problem is None

    asyncio.run(scenario())
    assert attempts == [b"state", b"state"]
