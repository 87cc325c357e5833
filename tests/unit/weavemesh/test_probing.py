"""Probes over real UDP sockets: two addresses of the loopback network stand for two tunnels' ends."""

import asyncio
import socket
from collections.abc import Callable
from ipaddress import IPv4Address
from random import Random

import pytest

from weavemesh.error import UserError
from weavemesh.overlay.mtu import MtuChanged, PathMtus
from weavemesh.overlay.probe import ProbeName, Prober, TunnelAlive
from weavemesh.overlay.usage import counted_octets
from weavemesh.probing import PROBE_PORT, TunnelProbes, encode_question, told_rtt_s

ONE, OTHER = IPv4Address("127.87.0.1"), IPv4Address("127.87.0.2")
PEER = ProbeName("other")


def probes(seed: int, *, hear: Callable[[object], None], most: int = 1420) -> TunnelProbes:
    mtus = PathMtus(most=most, unproven=min(most, 1420), adopted={}, rng=Random(seed))
    return TunnelProbes(Prober(rng=Random(seed)), mtus, hear=hear, resized=hear)


def test_a_peer_that_answers_is_alive_and_measured() -> None:
    async def scenario() -> None:
        answered = asyncio.Event()
        one = probes(1, hear=lambda _: answered.set())
        other = probes(2, hear=lambda _: None)
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


def test_the_size_of_packets_is_found_through_the_same_door() -> None:
    async def scenario() -> None:
        found: list[object] = []
        enough = asyncio.Event()

        def hear(event: object) -> None:
            if isinstance(event, MtuChanged):
                found.append(event)
                enough.set()

        one, other = probes(1, hear=hear, most=9000), probes(2, hear=lambda _: None)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one.run(ONE)), group.create_task(other.run(OTHER))]
            one.watch({PEER: OTHER})
            assert one.mtus.mtu(PEER) == 1420
            async with asyncio.timeout(10):
                await enough.wait()
            assert found == [MtuChanged(PEER, 9000)]
            assert (one.mtus.mtu(PEER), one.mtus.proven(PEER)) == (9000, 9000)
            assert one.octets_with(PEER) >= counted_octets(9000) + counted_octets(41)
            one.path_changed(PEER)
            assert one.mtus.proven(PEER) is None
            for task in tasks:
                task.cancel()

    asyncio.run(scenario())


def test_garbage_gets_no_answer_and_does_no_harm() -> None:
    async def scenario() -> None:
        other = probes(2, hear=lambda _: None)
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
        await probes(1, hear=lambda _: None).run(ONE)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((str(ONE), PROBE_PORT))
        with pytest.raises(UserError, match=str(PROBE_PORT)):
            asyncio.run(scenario())


def test_a_question_tells_the_other_end_that_the_tunnel_lives_once_it_knows_how_large_packets_may_be() -> None:
    async def scenario() -> None:
        heard: asyncio.Queue[object] = asyncio.Queue()
        other = probes(2, hear=heard.put_nowait)
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.setblocking(False)
            one.bind((str(ONE), PROBE_PORT))
            async with asyncio.TaskGroup() as group:
                task = group.create_task(other.run(OTHER))
                other.watch({PEER: ONE})
                async with asyncio.timeout(10):
                    question, sender = await loop.sock_recvfrom(one, 2048)
                    assert told_rtt_s(question) is None
                    await loop.sock_sendto(one, b"WMP1\x01" + question[5:13], sender)
                    first = await heard.get()
                    assert isinstance(first, TunnelAlive) and first.is_first
                    await loop.sock_sendto(one, encode_question(1, rtt_s=0.5), sender)
                    while len(question) < 1000:  # on the way to it lies the answer to ours
                        question, _ = await loop.sock_recvfrom(one, 2048)
                    await loop.sock_sendto(one, b"WMP1\x01" + question[5:13], sender)
                    second = await heard.get()
                    assert isinstance(second, TunnelAlive) and second.rtt_s != 0.5, "its own question had to be asked"
                    for told in (encode_question(2), encode_question(3, rtt_s=0.25)):
                        await loop.sock_sendto(one, told, sender)
                    assert await heard.get() == TunnelAlive(PEER, 0.25, is_first=False)
                task.cancel()

    asyncio.run(scenario())


@pytest.mark.parametrize("octets", [0, 45, 1420])
def test_how_long_an_answer_took_is_in_a_question_of_every_length(octets: int) -> None:
    assert told_rtt_s(encode_question(7, packet_octets=octets, rtt_s=0.0123)) == 0.0123
    assert told_rtt_s(encode_question(7, packet_octets=octets)) is None


def test_what_no_question_can_tell_is_not_believed() -> None:
    before_there_was_such_a_word = b"WMP1\x00" + bytes(8)
    assert told_rtt_s(before_there_was_such_a_word) is None
    assert told_rtt_s(before_there_was_such_a_word + b"\x01\x02") is None
    assert told_rtt_s(before_there_was_such_a_word + b"\xff\xff\xff\xff") is None
