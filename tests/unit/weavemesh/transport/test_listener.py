"""The open port: strangers are turned away at once, cost little, are noted, and keep no member out."""

import asyncio
import logging
import socket
from contextlib import suppress

import pytest

from weavemesh.error import UserError
from weavemesh.logs import Event
from weavemesh.transport import connection as connection_module
from weavemesh.transport.failure import Failure, LinkFailed
from weavemesh.transport.listener import (
    HALF_OPEN_MAX,
    LOG_LINES_MAX,
    REFUSALS_MAX,
    ControlListener,
    RefusalBook,
)
from weavemesh.transport.stream import StreamTransport

from .members import THEIRS, issuer, listening, raw, until


def refusals_logged(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.getMessage() == Event.LINK_REFUSED]


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"\x00" * 5000, b"\x16\x03\x01\x00\x05xxxxx"],
)
def test_garbage_is_closed_at_once_with_one_line_in_the_log(garbage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with listening() as listener:
            for _ in range(5):
                async with raw(listener.port) as (reader, writer), asyncio.timeout(1):
                    writer.write(garbage)
                    with suppress(ConnectionError):
                        await reader.read()
            await until(lambda: listener.half_open == 0)
            [refusal] = listener.refusals()
            assert (refusal.host, refusal.code, refusal.times) == ("127.0.0.1", Failure.NOT_WEAVEMESH, 5)
            # A member is let in as before.
            near = await StreamTransport(issuer()).dial("127.0.0.1", listener.port)
            far = await listener.accept()
            near.close("done")
            await far.wait_closed()
            await near.wait_closed()

    with caplog.at_level(logging.INFO):
        asyncio.run(scenario())
    assert len(refusals_logged(caplog)) == 1
    assert not [record for record in caplog.records if record.exc_info]


def test_who_connects_and_says_nothing_is_dropped_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "HANDSHAKE_S", 0.2)

    async def scenario() -> None:
        async with listening() as listener, raw(listener.port) as (reader, _), asyncio.timeout(5):
            with pytest.raises(ConnectionError):
                if await reader.read() == b"":
                    raise ConnectionError
            assert listener.refusals()[0].code is Failure.TIMEOUT

    asyncio.run(scenario())


def test_who_dribbles_a_handshake_is_dropped_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "HANDSHAKE_S", 0.3)

    async def scenario() -> None:
        async with listening() as listener, raw(listener.port) as (_, writer):
            for byte in b"\x16\x03\x01\x02\x00\x01\x00":
                writer.write(bytes([byte]))
                await writer.drain()
            await until(lambda: bool(listener.refusals()))
            assert listener.refusals()[0].code is Failure.TIMEOUT

    asyncio.run(scenario())


def test_a_wrong_secret_is_noted_by_the_one_who_refuses() -> None:
    async def scenario() -> None:
        async with listening() as listener:
            for _ in range(3):
                with pytest.raises(LinkFailed, match="another cluster secret"):
                    await StreamTransport(issuer(THEIRS)).dial("127.0.0.1", listener.port)
            await until(lambda: bool(listener.refusals()) and listener.refusals()[0].times == 3)
            assert listener.refusals()[0].code is Failure.WRONG_SECRET
            assert "another cluster secret" in listener.refusals()[0].reason

    asyncio.run(scenario())


def test_a_flood_of_silent_connections_keeps_no_member_out() -> None:
    async def scenario() -> None:
        async with listening() as listener:
            silent = []
            for _ in range(HALF_OPEN_MAX * 3):
                silent.append(await asyncio.open_connection("127.0.0.1", listener.port))
                assert listener.half_open <= HALF_OPEN_MAX
            near = await StreamTransport(issuer()).dial("127.0.0.1", listener.port)
            far = await listener.accept()
            assert listener.half_open <= HALF_OPEN_MAX
            assert listener.refusals()[0].code is Failure.BUSY
            for _, writer in silent:
                writer.transport.abort()
            near.close("done")
            await far.wait_closed()
            await near.wait_closed()

    asyncio.run(scenario())


def test_both_families_are_served_on_one_port() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this host has no IPv6")

    async def scenario() -> None:
        async with listening(host=None) as listener:
            for host in ("127.0.0.1", "::1"):
                near = await StreamTransport(issuer()).dial(host, listener.port)
                far = await listener.accept()
                assert far.remote_address.startswith("127.0.0.1:" if host == "127.0.0.1" else "[::1]:")
                near.close("done")
                await far.wait_closed()
                await near.wait_closed()

    asyncio.run(scenario())


@pytest.mark.parametrize("taken_on", ["0.0.0.0", "127.0.0.1"])
def test_a_taken_port_is_named_with_a_remedy(taken_on: str) -> None:
    async def scenario() -> None:
        with socket.create_server((taken_on, 0)) as other:
            port = other.getsockname()[1]
            with pytest.raises(UserError, match=f"TCP port {port} is taken by another program; .*--port"):
                await ControlListener.open(port, issuer=issuer())

    asyncio.run(scenario())


def test_a_second_listener_on_the_port_is_refused_and_the_first_goes_on() -> None:
    async def scenario() -> None:
        async with listening(host=None) as listener:
            with pytest.raises(UserError, match="is taken"):
                await ControlListener.open(listener.port, issuer=issuer())
            near = await StreamTransport(issuer()).dial("127.0.0.1", listener.port)
            far = await listener.accept()
            near.close("done")
            await far.wait_closed()
            await near.wait_closed()

    asyncio.run(scenario())


def test_an_address_that_is_not_ours_is_named() -> None:
    async def scenario() -> None:
        with pytest.raises(UserError, match=r"192\.0\.2\.1 is no address of this host"):
            await ControlListener.open(0, issuer=issuer(), host="192.0.2.1")

    asyncio.run(scenario())


def test_a_closed_listener_ends_what_nobody_took_over() -> None:
    async def scenario() -> None:
        listener = await ControlListener.open(0, issuer=issuer(), host="127.0.0.1")
        near = await StreamTransport(issuer()).dial("127.0.0.1", listener.port)
        async with raw(listener.port) as (_, _):
            await until(lambda: listener.half_open == 1)
            listener.close()
            listener.close()
            await near.wait_closed()
            assert "the agent stops" in str(near.ending)
            await until(lambda: listener.half_open == 0)
        assert listener.refusals() == ()
        with pytest.raises(LinkFailed) as failure:
            await StreamTransport(issuer()).dial("127.0.0.1", listener.port)
        assert failure.value.code is Failure.REFUSED

    asyncio.run(scenario())


def test_the_book_of_refusals_and_the_log_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    book = RefusalBook()
    with caplog.at_level(logging.INFO):
        for number in range(REFUSALS_MAX * 2):
            for _ in range(2):
                book.note(f"2001:db8::{number:x}", LinkFailed("garbage", Failure.NOT_WEAVEMESH))
    assert len(book.all()) == REFUSALS_MAX
    assert book.all()[-1].host == f"2001:db8::{REFUSALS_MAX * 2 - 1:x}"
    assert book.all()[-1].times == 2
    assert len(refusals_logged(caplog)) == LOG_LINES_MAX
