"""Dialing: each way in which it can fail has its own code and a sentence that helps; nothing is left open."""

import asyncio
import os
import socket
import ssl
import time

import pytest

from weavemesh.transport import connection as connection_module
from weavemesh.transport.failure import Failure, LinkFailed
from weavemesh.transport.link import Transport
from weavemesh.transport.stream import StreamTransport

from .members import MONTH_S, OURS, THEIRS, issuer, listening, until


async def failure_of(
    port: int, *, host: str = "127.0.0.1", timeout_s: float = 5.0, peer: StreamTransport | None = None
) -> LinkFailed:
    with pytest.raises(LinkFailed) as failure:
        await (peer or StreamTransport(issuer())).dial(host, port, timeout_s=timeout_s)
    return failure.value


def test_a_transport_is_a_transport() -> None:
    transport: Transport = StreamTransport(issuer())
    assert transport is not None


def test_another_secret_is_told_to_the_dialer() -> None:
    async def scenario() -> None:
        async with listening(issuer(THEIRS)) as listener:
            failure = await failure_of(listener.port)
            assert failure.code is Failure.WRONG_SECRET
            assert "another cluster secret" in failure.reason

    asyncio.run(scenario())


def test_a_dialer_that_does_not_look_learns_of_its_wrong_secret_before_it_has_a_link() -> None:
    async def scenario() -> None:
        peer = issuer(THEIRS)
        peer.contexts().dial.verify_mode = ssl.CERT_NONE
        async with listening() as listener:
            failure = await failure_of(listener.port, peer=StreamTransport(peer))
            assert failure.code is Failure.WRONG_SECRET
            await until(lambda: bool(listener.refusals()))
            assert listener.refusals()[0].code is Failure.WRONG_SECRET

    asyncio.run(scenario())


def test_a_wrong_clock_is_told_to_the_dialer() -> None:
    async def scenario() -> None:
        async with listening(issuer(OURS, clock_off_s=-MONTH_S)) as listener:
            failure = await failure_of(listener.port)
            assert (failure.code, "clocks" in failure.reason) == (Failure.EXPIRED, True)

    asyncio.run(scenario())


@pytest.mark.parametrize("banner", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00\x01"])
def test_something_else_at_the_port_is_recognised(banner: bytes) -> None:
    async def scenario() -> None:
        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(banner)
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            failure = await failure_of(server.sockets[0].getsockname()[1])
        assert failure.code is Failure.NOT_WEAVEMESH

    asyncio.run(scenario())


def test_a_port_where_nobody_listens_is_refused() -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
        failure = await failure_of(port)
        assert failure.code is Failure.REFUSED
        assert "no weavemesh listens" in failure.reason

    asyncio.run(scenario())


def test_a_port_that_accepts_and_stays_silent_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "DIALLED_HANDSHAKE_S", 0.2)

    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            started = time.monotonic()
            failure = await failure_of(other.getsockname()[1])
            assert failure.code is Failure.TIMEOUT
            assert time.monotonic() - started < 2

    asyncio.run(scenario())


def test_the_handshake_has_its_own_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "DIALLED_HANDSHAKE_S", 0.1)

    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            failure = await failure_of(other.getsockname()[1], timeout_s=10)
            assert (failure.code, failure.reason) == (Failure.TIMEOUT, "no handshake within 0 s")

    asyncio.run(scenario())


def test_a_connection_closed_in_the_handshake_is_lost() -> None:
    async def scenario() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1000)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            failure = await failure_of(server.sockets[0].getsockname()[1])
        assert (failure.code, "during the handshake" in failure.reason) == (Failure.LOST, True)

    asyncio.run(scenario())


def test_an_unknown_name_is_named() -> None:
    async def scenario() -> None:
        for host in ("nowhere.invalid", "x" * 70 + ".invalid", "a..b"):
            failure = await failure_of(6783, host=host)
            assert failure.code is Failure.DNS, host

    asyncio.run(scenario())


def test_an_address_without_a_route_is_unreachable() -> None:
    async def scenario() -> None:
        failure = await failure_of(6783, host="255.255.255.255")
        assert failure.code is Failure.UNREACHABLE

    asyncio.run(scenario())


def test_of_several_addresses_the_one_that_answers_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with listening() as listener:
            found = [
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, listener.port))
                for host in ("127.0.0.9", "127.0.0.1")
            ]

            async def resolve(*_: object, **__: object) -> list[tuple[object, ...]]:
                return list(found)

            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
            near = await StreamTransport(issuer()).dial("two.example", listener.port)
            far = await listener.accept()
            near.close("done")
            await near.wait_closed()
            await far.wait_closed()

    asyncio.run(scenario())


def test_a_name_of_this_host_is_resolved() -> None:
    async def scenario() -> None:
        async with listening() as listener:
            near = await StreamTransport(issuer()).dial("localhost", listener.port)
            far = await listener.accept()
            near.close("done")
            await near.wait_closed()
            await far.wait_closed()

    asyncio.run(scenario())


def test_a_cancelled_dial_leaves_nothing_open_whenever_it_happens() -> None:
    async def scenario() -> None:
        async with listening() as listener:
            before = len(os.listdir("/proc/self/fd"))
            for turns in range(12):
                async with asyncio.TaskGroup() as group:
                    dial = group.create_task(StreamTransport(issuer()).dial("127.0.0.1", listener.port))
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    if not dial.done():
                        dial.cancel()
                if dial.done() and not dial.cancelled():
                    dial.result().abort()
            await until(lambda: listener.half_open == 0)
            listener.close()
            await until(lambda: len(os.listdir("/proc/self/fd")) < before)

    asyncio.run(scenario())
