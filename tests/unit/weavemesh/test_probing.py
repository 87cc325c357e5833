"""Probes over real UDP sockets: two addresses of the loopback network stand for two tunnels' ends."""

import asyncio
import socket
from ipaddress import IPv4Address
from random import Random

import pytest

from weavemesh.error import UserError
from weavemesh.overlay.probe import ProbeName, Prober
from weavemesh.probing import PROBE_PORT, TunnelProbes

ONE, OTHER = IPv4Address("127.87.0.1"), IPv4Address("127.87.0.2")
PEER = ProbeName("other")


def test_a_peer_that_answers_is_alive_and_measured() -> None:
    async def scenario() -> None:
        answered = asyncio.Event()
        one = TunnelProbes(Prober(rng=Random(1)), hear=lambda _: answered.set())
        other = TunnelProbes(Prober(rng=Random(2)), hear=lambda _: None)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one.run(ONE)), group.create_task(other.run(OTHER))]
            one.watch({PEER: OTHER})
            async with asyncio.timeout(10):
                await answered.wait()
            health = one.health(PEER)
            assert health is not None and health.rtt_s is not None and health.rtt_s < 1
            assert one.health("unknown") is None
            for task in tasks:
                task.cancel()

    asyncio.run(scenario())


def test_garbage_gets_no_answer_and_does_no_harm() -> None:
    async def scenario() -> None:
        other = TunnelProbes(Prober(rng=Random(2)), hear=lambda _: None)
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.setblocking(False)
            stranger.bind((str(ONE), 0))
            async with asyncio.TaskGroup() as group:
                task = group.create_task(other.run(OTHER))
                await asyncio.sleep(0.05)  # its socket is bound within the first turns of the loop
                for garbage in (b"", b"x", b"WMP1", b"\x00" * 13, b"WMP1" + b"\xff" * 9, b"y" * 1400):
                    await loop.sock_sendto(stranger, garbage, (str(OTHER), PROBE_PORT))
                question = b"WMP1\x00" + bytes(8)
                await loop.sock_sendto(stranger, question, (str(OTHER), PROBE_PORT))
                async with asyncio.timeout(5):
                    answer = await loop.sock_recv(stranger, 2048)
                assert answer == b"WMP1\x01" + bytes(8), "the first answer is that to the only true question"
                task.cancel()

    asyncio.run(scenario())


def test_a_taken_port_is_told() -> None:
    async def scenario() -> None:
        await TunnelProbes(Prober(rng=Random(1)), hear=lambda _: None).run(ONE)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((str(ONE), PROBE_PORT))
        with pytest.raises(UserError, match=str(PROBE_PORT)):
            asyncio.run(scenario())
