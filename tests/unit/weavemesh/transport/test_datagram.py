"""UDP through the thin door: datagrams arrive with their source, failures are counted, closing ends the reader."""

import asyncio
import socket

import pytest

from weavemesh.error import UserError
from weavemesh.transport.datagram import DatagramSocket, refuse_taken_port


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_datagram_arrives_with_its_source(host: str) -> None:
    async def scenario() -> None:
        one, other = await DatagramSocket.bind(host, 0), await DatagramSocket.bind(host, 0)
        await one.send(b"hello", (host, other.port))
        async for content, source in other:
            assert (content, source) == (b"hello", (host, one.port))
            break
        one.close()
        other.close()
        other.close()

    asyncio.run(scenario())


def test_a_taken_port_is_named() -> None:
    async def scenario() -> None:
        one = await DatagramSocket.bind("127.0.0.1", 0)
        with pytest.raises(UserError, match=f"UDP port {one.port} of 127.0.0.1 is taken"):
            await DatagramSocket.bind("127.0.0.1", one.port)
        with pytest.raises(UserError, match="cannot be used"):
            await DatagramSocket.bind("192.0.2.1", 0)
        with pytest.raises(UserError, match="cannot be used"):
            await DatagramSocket.bind("127.0.0.1", 0, interface="wmnone")
        one.close()

    asyncio.run(scenario())


def test_what_cannot_be_sent_is_lost_not_raised() -> None:
    async def scenario() -> None:
        one = await DatagramSocket.bind("127.0.0.1", 0)
        for _ in range(3):
            await one.send(b"x", ("255.255.255.255", 9))
        await one.send(b"x", ("127.0.0.1", one.port))
        async for content, _ in one:
            assert content == b"x"
            break
        assert one.lost == 3
        one.close()
        await one.send(b"x", ("127.0.0.1", 9))

    asyncio.run(scenario())


def test_closing_ends_the_reader() -> None:
    async def scenario() -> None:
        one = await DatagramSocket.bind("127.0.0.1", 0)

        async def read() -> int:
            return sum([1 async for _ in one])

        async with asyncio.TaskGroup() as group:
            reader = group.create_task(read())
            await asyncio.sleep(0)
            one.close()
        assert reader.result() == 0

    asyncio.run(scenario())


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_port_that_another_program_has_is_refused(family: socket.AddressFamily, address: str) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as taken:
        taken.bind((address, 0))
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"UDP port {port} is taken"):
            refuse_taken_port(port)
    refuse_taken_port(port)
