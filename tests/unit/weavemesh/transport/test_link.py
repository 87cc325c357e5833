"""The inbox keeps order, holds its sender back when it is full, and ends after or without what is in it."""

import asyncio

import pytest

from weavemesh.transport.link import INBOX_BYTES_MAX, INBOX_FRAMES_MAX, Inbox


class Sender:
    def __init__(self) -> None:
        self.calls: list[str] = []
        self.inbox = Inbox(hold=lambda: self.calls.append("hold"), release=lambda: self.calls.append("release"))


async def rest(inbox: Inbox) -> list[bytes]:
    frames: list[bytes] = []
    await inbox.read(frames.append)
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
        left = count + 1

        def hear(_: bytes) -> None:
            nonlocal left
            left -= 1
            assert sender.calls == ["hold"] or left < count // 2 + 1
            if not left:
                raise EOFError

        with pytest.raises(EOFError):
            await sender.inbox.read(hear)
        assert sender.calls == ["hold", "release"]

    asyncio.run(scenario())


def test_a_frame_goes_at_once_to_a_reader_that_waits_and_the_end_wakes_it() -> None:
    async def scenario() -> None:
        inbox = Sender().inbox
        frames: list[bytes] = []
        async with asyncio.TaskGroup() as group:
            group.create_task(inbox.read(frames.append))
            await asyncio.sleep(0)
            inbox.put(b"one")
            inbox.hand_over()
            assert frames == [b"one"]
            inbox.end(discard=False)

    asyncio.run(scenario())


def test_of_frames_that_come_together_each_waits_a_turn_after_the_one_before() -> None:
    async def scenario() -> None:
        inbox = Sender().inbox
        frames: list[bytes] = []
        async with asyncio.TaskGroup() as group:
            group.create_task(inbox.read(frames.append))
            await asyncio.sleep(0)
            for frame in (b"one", b"two", b"three"):
                inbox.put(frame)
            inbox.hand_over()
            inbox.put(b"four")
            inbox.hand_over()
            assert frames == [b"one"]
            await asyncio.sleep(0)
            assert frames == [b"one", b"two"]
            inbox.end(discard=False)
        assert frames == [b"one", b"two", b"three", b"four"]

    asyncio.run(scenario())


def test_what_a_reader_raises_ends_its_reading_and_no_frame_is_lost_to_the_next() -> None:
    async def scenario() -> None:
        inbox = Sender().inbox
        for frame in (b"one", b"two"):
            inbox.put(frame)
        inbox.end(discard=False)

        def hear(frame: bytes) -> None:
            raise ValueError(frame)

        with pytest.raises(ValueError, match="one"):
            await inbox.read(hear)
        assert await rest(inbox) == [b"two"]

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
