"""Packets pass between an end with IPv4 and one with IPv6, whole, counted, within limits; nobody else's do."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address

import pytest

from gossip import PeerName
from weavemesh.overlay.knock import MAGIC
from weavemesh.overlay.relay import End, Forwarding
from weavemesh.overlay.state import Endpoint
from weavemesh.transport import carrier
from weavemesh.transport.carrier import Carrier, Pair

from .members import until

ONE, OTHER = PeerName("a" * 16), PeerName("b" * 16)


class Peer:
    """An end that is not the relay's: one of the two that are carried for."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 0))
        self.socket.setblocking(False)
        self.endpoint = Endpoint(ip_address(address), self.socket.getsockname()[1])
        self.local = Endpoint(ip_address(address), free_port(address))

    @property
    def end(self) -> End:
        return End(self.endpoint, self.local)

    def send(self, packet: bytes) -> None:
        self.socket.sendto(packet, (str(self.local.address), self.local.port))

    def received(self) -> list[bytes]:
        packets = []
        while True:
            try:
                packets.append(self.socket.recv(65535))
            except BlockingIOError:
                return packets


def free_port(address: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind((address, 0))
        return int(one.getsockname()[1])


@contextmanager
def peers() -> Iterator[tuple[Peer, Peer]]:
    with ExitStack() as stack:
        four, six = Peer("127.0.0.1"), Peer("::1")
        stack.enter_context(four.socket)
        stack.enter_context(six.socket)
        yield four, six


def pair_of(four: Peer, six: Peer) -> Forwarding:
    return Forwarding(ONE, OTHER, four.end, six.end)


NAMES: Pair = (ONE, OTHER)


async def arrived(peer: Peer) -> list[bytes]:
    found: list[bytes] = []

    def look() -> bool:
        found.extend(peer.received())
        return bool(found)

    await until(look)
    return found


def test_packets_pass_both_ways_and_are_counted() -> None:
    async def scenario() -> None:
        with peers() as (four, six):
            relay = Carrier()
            assert relay.carry([pair_of(four, six)]) == {NAMES}
            four.send(b"there")
            assert await arrived(six) == [b"there"]
            six.send(bytes(1400))
            assert await arrived(four) == [bytes(1400)]
            assert relay.traffic() == {NAMES: (2, 1405)}
            relay.close()

    asyncio.run(scenario())


def test_knocks_and_what_strangers_send_are_not_carried() -> None:
    async def scenario() -> None:
        with peers() as (four, six), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            relay = Carrier()
            relay.carry([pair_of(four, six)])
            stranger.sendto(b"stranger", (str(four.local.address), four.local.port))
            four.send(MAGIC + b"a knock")
            four.send(b"ours")
            assert await arrived(six) == [b"ours"]
            relay.close()

    asyncio.run(scenario())


def test_what_is_no_longer_wanted_is_carried_no_longer_and_an_end_that_moved_from_where_it_is() -> None:
    async def scenario() -> None:
        with peers() as (four, six), peers() as (moved, _):
            relay = Carrier()
            relay.carry([pair_of(four, six)])
            moved.local = four.local
            relay.carry([pair_of(moved, six)])
            four.send(b"from where it was")
            moved.send(b"from where it is")
            assert await arrived(six) == [b"from where it is"]
            assert relay.carry([]) == frozenset()
            moved.send(b"late")
            await asyncio.sleep(0.05)
            assert six.received() == []
            assert relay.traffic() == {}

    asyncio.run(scenario())


def test_a_port_of_ours_that_another_program_has_is_not_carried() -> None:
    async def scenario() -> None:
        with peers() as (four, six), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as other:
            other.bind((str(six.local.address), six.local.port))
            relay = Carrier()
            assert relay.carry([pair_of(four, six)]) == frozenset()
            other.close()
            assert relay.carry([pair_of(four, six)]) == {NAMES}
            relay.close()

    asyncio.run(scenario())


def test_no_more_pairs_than_there_may_be_are_carried_and_those_that_are_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrier, "PAIRS_MAX", 1)
    late = PeerName("A" * 16)

    async def scenario() -> None:
        with peers() as (four, six), peers() as (third, fourth):
            relay = Carrier()
            assert relay.carry([pair_of(four, six)]) == {NAMES}
            more = Forwarding(late, OTHER, third.end, fourth.end)
            assert relay.carry([more, pair_of(four, six)]) == {NAMES}
            assert relay.carry([more]) == {(late, OTHER)}
            relay.close()

    asyncio.run(scenario())


def test_beyond_the_limit_packets_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrier, "PACKETS_AT_ONCE", 3.0)
    monkeypatch.setattr(carrier, "PACKETS_PER_SECOND", 0.001)

    async def scenario() -> None:
        with peers() as (four, six):
            relay = Carrier()
            relay.carry([pair_of(four, six)])
            for number in range(10):
                four.send(b"%d" % number)
            await until(lambda: relay.traffic()[NAMES][0] == 3)
            await asyncio.sleep(0.05)
            assert six.received() == [b"0", b"1", b"2"]
            relay.close()

    asyncio.run(scenario())
