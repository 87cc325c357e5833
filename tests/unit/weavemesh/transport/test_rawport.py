"""Raw datagrams beside a socket that has the port: sent from it, seen there, filtered, in both families."""

import asyncio
import os
import socket
from ipaddress import ip_address

import pytest

from weavemesh.overlay.state import Endpoint
from weavemesh.transport.rawport import RawPort

MAGIC = b"WMK1"
LOOPBACKS = ["127.0.0.1", "::1"]


def udp(address: str) -> socket.socket:
    one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    one.bind((address, 0))
    one.settimeout(2)
    return one


@pytest.fixture(autouse=True)
def root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: raw sockets")


@pytest.mark.parametrize("address", LOOPBACKS)
def test_what_is_sent_comes_from_the_port_of_another(address: str) -> None:
    with udp(address) as owner, udp(address) as listener:
        port = owner.getsockname()[1]

        async def scenario() -> None:
            raw = RawPort.open(port=port, others=range(0), magic=MAGIC)
            raw.send(MAGIC + b"hello", Endpoint(ip_address(address), listener.getsockname()[1]))
            raw.close()

        asyncio.run(scenario())
        content, source = listener.recvfrom(100)
        assert content == MAGIC + b"hello" and source[:2] == (address, port)


@pytest.mark.parametrize("address", LOOPBACKS)
def test_what_comes_to_that_port_with_the_magic_is_seen_and_nothing_else(address: str) -> None:
    with udp(address) as owner, udp(address) as speaker, udp(address) as stranger:
        port, others = owner.getsockname()[1], range(40000, 40010)

        async def scenario() -> None:
            raw = RawPort.open(port=port, others=others, magic=MAGIC)
            for content, to in (
                (b"no magic", port),
                (MAGIC + b"elsewhere", stranger.getsockname()[1]),
                (MAGIC + b"below", others.start - 1),
                (MAGIC + b"above", others.stop),
                (MAGIC + b"first", port),
                (MAGIC + b"last of the others", others.stop - 1),
            ):
                speaker.sendto(content, (address, to))
            seen = []
            async with asyncio.timeout(2):
                async for content, source, local in raw:
                    seen.append((content, local.port))
                    assert source == Endpoint(ip_address(address), speaker.getsockname()[1])
                    assert local.address == ip_address(address)
                    if len(seen) == 2:
                        break
            assert seen == [(MAGIC + b"first", port), (MAGIC + b"last of the others", others.stop - 1)]
            raw.close()

        asyncio.run(scenario())


def test_an_answer_leaves_from_where_the_question_arrived() -> None:
    with udp("127.0.0.1") as owner, udp("127.0.0.1") as listener:

        async def scenario() -> None:
            raw = RawPort.open(port=owner.getsockname()[1], others=range(0), magic=MAGIC)
            to = Endpoint(ip_address("127.0.0.1"), listener.getsockname()[1])
            raw.send(MAGIC, to, local=Endpoint(ip_address("127.0.0.5"), 40001))
            raw.close()

        asyncio.run(scenario())
        assert listener.recvfrom(100)[1] == ("127.0.0.5", 40001)


def test_where_nobody_can_be_reached_it_is_counted() -> None:
    async def scenario() -> None:
        raw = RawPort.open(port=6783, others=range(0), magic=MAGIC)
        raw.send(MAGIC, Endpoint(ip_address("255.255.255.255"), 1))
        assert raw.lost == 1
        raw.close()

    asyncio.run(scenario())
