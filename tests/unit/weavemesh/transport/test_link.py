"""The inbox keeps order, holds its sender back when it is full, and ends after or without what is in it."""

import asyncio

import pytest

from weavemesh.transport.link import INBOX_BYTES_MAX, INBOX_FRAMES_MAX, Inbox


class Sender:
    def __init__(self) -> None:
        self.calls: list[str] = []
        self.inbox = Inbox(hold=lambda: self.calls.append("hold"), release=lambda: self.calls.append("release"))


async def rest(inbox: Inbox) -> list[bytes]:
    frames = []
    while True:
        try:
            frames.append(await inbox.take())
        except StopAsyncIteration:
            return frames


def test_frames_come_in_order_and_the_last_before_the_end() -> None:
    async def scenario() -> None:
        inbox = Sender().inbox
        frames = [b"%d" % number for number in range(500)]
        for frame in frames:
            inbox.put(frame)
        inbox.end(discard=False)
        inbox.put(b"late")
        assert await rest(inbox) == frames
        assert await rest(inbox) == []

    asyncio.run(scenario())


def test_a_closed_inbox_forgets_what_was_in_it() -> None:
    async def scenario() -> None:
        inbox = Sender().inbox
        inbox.put(b"one")
        inbox.end(discard=True)
        assert await rest(inbox) == []

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("size", "count"), [(1024 * 1024, INBOX_BYTES_MAX // 1024 // 1024 + 1), (0, INBOX_FRAMES_MAX + 1)]
)
def test_a_full_inbox_holds_its_sender_back_until_half_is_read(size: int, count: int) -> None:
    async def scenario() -> None:
        sender = Sender()
        for _ in range(count - 1):
            sender.inbox.put(bytes(size))
        assert sender.calls == []
        sender.inbox.put(bytes(size))
        sender.inbox.put(bytes(size))
        assert sender.calls == ["hold"]
        for _ in range(count):
            await sender.inbox.take()
        assert sender.calls == ["hold", "release"]

    asyncio.run(scenario())


def test_a_reader_that_waits_is_woken_by_a_frame_and_by_the_end() -> None:
    async def scenario() -> None:
        inbox = Sender().inbox
        async with asyncio.TaskGroup() as group:
            reader = group.create_task(rest(inbox))
            await asyncio.sleep(0)
            inbox.put(b"one")
            await asyncio.sleep(0)
            inbox.end(discard=False)
        assert reader.result() == [b"one"]

    asyncio.run(scenario())


def test_a_reader_of_a_full_inbox_lets_others_run() -> None:
    async def scenario() -> None:
        inbox = Sender().inbox
        for _ in range(1000):
            inbox.put(b"")
        inbox.end(discard=False)
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            task = group.create_task(other())
            assert len(await rest(inbox)) == 1000
            task.cancel()
        assert turns >= 10

    asyncio.run(scenario())
