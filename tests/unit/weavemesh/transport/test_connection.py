"""An open link over a real socket: order, farewells, slow readers, and members that break the rules."""

import asyncio
import ssl
from contextlib import suppress

import pytest

from weavemesh.transport import connection as module
from weavemesh.transport import meter
from weavemesh.transport.connection import OUTBOX_BYTES_MAX, StreamConnection
from weavemesh.transport.failure import Failure
from weavemesh.transport.frame import FRAME_BYTES_MAX, Goodbye, Hello, encode_frame, encode_message
from weavemesh.transport.link import Connection
from weavemesh.transport.listener import ControlListener

from .members import issuer, linked, listening, received, until


def ending(connection: StreamConnection) -> tuple[Failure, str]:
    assert connection.ending is not None
    return connection.ending.code, connection.ending.reason


def test_both_ends_know_who_and_where_the_other_is() -> None:
    async def scenario() -> None:
        dialer, acceptor = issuer(), issuer()
        async with linked(dialer, acceptor) as (near, far):
            near_face: Connection = near
            assert (near_face.peer, far.peer) == (acceptor.identity.name, dialer.identity.name)
            assert (near.remote_address, near.local_address) == (far.local_address, far.remote_address)
            assert near.remote_address.startswith("127.0.0.1:")
            assert near.ending is None
            assert far.features == frozenset()

    asyncio.run(scenario())


def test_frames_of_every_size_arrive_in_order_both_ways() -> None:
    async def scenario() -> None:
        frames = [bytes([n % 256]) * size for n, size in enumerate((0, 1, 16_384, 65_537, FRAME_BYTES_MAX, 3) * 3)]
        async with linked() as (near, far):
            for frame in frames:
                near.send(frame)
                far.send(frame)
                await until(lambda: near.queued_bytes + far.queued_bytes < OUTBOX_BYTES_MAX // 4)
            assert await received(far, len(frames)) == frames
            assert await received(near, len(frames)) == frames

    asyncio.run(scenario())


def test_a_link_that_is_closed_delivers_what_was_sent_and_says_why() -> None:
    async def scenario() -> None:
        async with linked() as (near, far):
            for number in range(100):
                near.send(b"%d" % number * 1000)
            near.close("duplicate link")
            near.close("again")
            near.send(b"too late")
            assert await received(far) == [b"%d" % number * 1000 for number in range(100)]
            assert ending(far) == (Failure.CLOSED_BY_PEER, "it closed the link: duplicate link")
            assert await received(near) == []
            assert ending(near) == (Failure.CLOSED, "duplicate link")
            await near.wait_closed()
            await far.wait_closed()

    asyncio.run(scenario())


def test_both_ends_may_close_at_once() -> None:
    async def scenario() -> None:
        async with linked() as (near, far):
            near.close("one")
            far.close("other")
            await near.wait_closed()
            await far.wait_closed()
            assert (ending(near)[0], ending(far)[0]) == (Failure.CLOSED, Failure.CLOSED)

    asyncio.run(scenario())


def test_a_link_that_breaks_without_a_word_is_lost() -> None:
    async def scenario() -> None:
        async with linked() as (near, far):
            near.abort()
            assert await received(far) == []
            assert ending(far)[0] is Failure.LOST

    asyncio.run(scenario())


def test_what_is_sent_over_a_broken_link_before_its_end_is_told_fills_no_log(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with linked() as (near, _):
            near.abort()
            for _ in range(20):
                near.send(b"frame")

    asyncio.run(scenario())
    assert caplog.records == []


def test_a_peer_that_does_not_read_is_dropped_and_costs_a_bounded_amount() -> None:
    async def scenario() -> None:
        async with linked() as (near, far):
            frame = bytes(512 * 1024)
            for _ in range(200):
                near.send(frame)
                await asyncio.sleep(0)
            assert ending(near)[0] is Failure.OVERFLOW
            await near.wait_closed()
            assert near.queued_bytes <= OUTBOX_BYTES_MAX + 2 * len(frame)
            assert 0 < len(await received(far)) < 60

    asyncio.run(scenario())


def test_a_slow_reader_holds_its_sender_back_and_loses_nothing() -> None:
    async def scenario() -> None:
        async with linked() as (near, far):
            frame = bytes(256 * 1024)
            taken = 0
            for _ in range(120):
                near.send(frame)
                if near.queued_bytes > OUTBOX_BYTES_MAX // 2:
                    taken += len(await received(far, 1))
            assert near.ending is None
            assert len(await received(far, 120 - taken)) == 120 - taken

    asyncio.run(scenario())


async def rogue(listener: ControlListener, *parts: bytes) -> tuple[StreamConnection | None, bytes]:
    """A member that speaks TLS rightly and then says what it likes; the accepted link, if any, and the answer."""
    context = issuer().contexts().dial
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port, ssl=context, server_hostname="")
    try:
        for part in parts:
            writer.write(part)
        accepted = await listener.accept() if encode_message(Hello()) in parts else None
        answer = b""
        with suppress(ConnectionError, ssl.SSLError):
            answer = await reader.read()
        return accepted, answer
    finally:
        writer.transport.abort()


def test_an_oversized_frame_ends_the_link_with_its_reason() -> None:
    async def scenario() -> None:
        async with listening() as listener:
            hello, head = encode_message(Hello()), (FRAME_BYTES_MAX + 1).to_bytes(4, "big")
            accepted, answer = await rogue(listener, hello, encode_frame(b"one"), head)
            assert accepted is not None
            assert await received(accepted) == [b"one"]
            assert ending(accepted)[0] is Failure.VIOLATION
            assert b"broke the rules of the wire" in answer

    asyncio.run(scenario())


def test_a_frame_before_the_hello_ends_the_handshake() -> None:
    async def scenario() -> None:
        async with listening() as listener:
            _, answer = await rogue(listener, encode_frame(b"one"))
            assert b"before its hello" in answer
            await until(lambda: bool(listener.refusals()))
            assert listener.refusals()[0].code is Failure.VIOLATION

    asyncio.run(scenario())


def test_unknown_messages_and_a_second_hello_do_no_harm() -> None:
    async def scenario() -> None:
        async with listening() as listener:
            unknown = b"\x80\x00\x00\x05\x81\xa1a\xa1b"
            parts = (unknown, encode_message(Hello(("x",))), encode_message(Hello()), unknown, encode_frame(b"one"))
            accepted, _ = await rogue(listener, *parts, encode_message(Hello()), encode_message(Goodbye("enough")))
            assert accepted is not None
            assert accepted.features == {"x"}
            assert await received(accepted) == [b"one"]
            assert ending(accepted) == (Failure.CLOSED_BY_PEER, "it closed the link: enough")

    asyncio.run(scenario())


def test_a_member_that_never_says_hello_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HANDSHAKE_S", 0.2)

    async def scenario() -> None:
        async with listening() as listener:
            await rogue(listener)
            await until(lambda: bool(listener.refusals()))
            assert listener.refusals()[0].code is Failure.TIMEOUT

    asyncio.run(scenario())


def test_a_peer_that_floods_is_held_back_then_told_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "COST_BURST", 64 * 1024)
    monkeypatch.setattr(meter, "COST_PER_S", 64 * 1024)
    monkeypatch.setattr(meter, "FLOOD_S", 0.3)

    async def scenario() -> None:
        async with linked() as (near, far):
            reading = asyncio.gather(received(far))
            sent = 0
            while near.ending is None:
                if near.queued_bytes < 1024 * 1024:
                    near.send(bytes(1000))
                    sent += 1
                await asyncio.sleep(0)
            assert ending(far)[0] is Failure.VIOLATION
            assert "floods" in ending(far)[1]
            assert len((await reading)[0]) < sent

    asyncio.run(scenario())


def test_congestion_is_told_and_its_end_too() -> None:
    async def scenario() -> None:
        told: list[bool] = []
        async with linked() as (near, far):
            near.watch_congestion(told.append)
            for _ in range(12):
                near.send(bytes(512 * 1024))
            assert told == [], "never at once: it is our own writing"
            await until(lambda: told[:1] == [True])
            assert len(await received(far, 12)) == 12
            await until(lambda: told[-1] is False)
            assert told == [True, False] * (len(told) // 2)

    asyncio.run(scenario())


def test_a_reader_can_be_cancelled_and_read_on() -> None:
    async def scenario() -> None:
        async with linked() as (near, far):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await received(far)
            near.send(b"one")
            assert await received(far, 1) == [b"one"]

    asyncio.run(scenario())
