"""Sends and answers the probes inside the tunnels, for `weavemesh.overlay.probe`, which decides whom to ask and when.

A probe is a UDP datagram between the peers' own addresses in the mesh, so it takes the way that pods' packets take:
through WireGuard or not at all. An answer is never longer than its question: nobody can use a peer to amplify anything.
"""

import asyncio
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address

from weavemesh.driver import Driver
from weavemesh.overlay.probe import (
    ProbeAnswered,
    ProbeAtOnce,
    ProbeInput,
    ProbeName,
    ProbeOutput,
    Prober,
    ProbeTargets,
    SendProbe,
    TunnelAlive,
    TunnelDead,
    TunnelHealth,
    TunnelsInUse,
)
from weavemesh.transport.datagram import DatagramSocket

PROBE_PORT = 6784
"""UDP, on the mesh address only; nothing listens there on the host's own addresses."""

_DATAGRAM = struct.Struct(">4sBQ")
_MAGIC = b"WMP1"
_QUESTION, _ANSWER = 0, 1


def encode_question(nonce: int, *, octets: int = 0) -> bytes:
    """A question, filled up to so many octets: a longer one shows that the path carries it, and has a short answer."""
    return _DATAGRAM.pack(_MAGIC, _QUESTION, nonce).ljust(octets, b"\0")


def answered_nonce(content: bytes) -> int | None:
    """The number of the question that this answers; None if it answers none."""
    if len(content) != _DATAGRAM.size:
        return None
    magic, kind, nonce = _DATAGRAM.unpack(content)
    return int(nonce) if magic == _MAGIC and kind == _ANSWER else None


class TunnelProbes:
    """Drives one prober. Before `run` has a socket, probes are not sent and count as lost."""

    def __init__(self, prober: Prober, *, hear: Callable[[TunnelAlive | TunnelDead], None]) -> None:
        self._prober = prober
        self._hear = hear
        self._datagrams: Counter[str] = Counter()
        self._addresses: Mapping[ProbeName, IPv4Address] = {}
        self._unsent: asyncio.Queue[tuple[bytes, str]] = asyncio.Queue()
        self._driver: Driver[ProbeInput, ProbeOutput] = Driver(prober, self._perform)

    def watch(self, addresses: Mapping[ProbeName, IPv4Address]) -> None:
        """Probe exactly these peers from now on."""
        self._addresses = addresses
        self._driver.feed(ProbeTargets(addresses))

    def use(self, peers: frozenset[ProbeName]) -> None:
        """These tunnels are in use now: they are asked more often."""
        self._driver.feed(TunnelsInUse(peers))

    def datagrams_with(self, peer: ProbeName) -> int:
        """How many questions and answers went to this peer and came from it: what is none of the pods' traffic."""
        return self._datagrams[str(self._addresses.get(peer))]

    def ask_at_once(self, peer: ProbeName) -> None:
        """The path to this peer has changed."""
        self._driver.feed(ProbeAtOnce(peer))

    def health(self, name: str) -> TunnelHealth | None:
        """What is known of the tunnel to a peer; None if it is not watched."""
        return self._prober.health(ProbeName(name))

    async def run(self, address: IPv4Address) -> None:
        """Ask and answer on this address of ours until cancelled. UserError if the port there is taken."""
        endpoint = await DatagramSocket.bind(str(address), PROBE_PORT)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._driver.run())
                group.create_task(self._receive(endpoint))
                group.create_task(self._send(endpoint))
        finally:
            endpoint.close()

    def _perform(self, output: ProbeOutput) -> None:
        match output:
            case SendProbe(address=address, nonce=nonce):
                self._unsent.put_nowait((encode_question(nonce), str(address)))
            case TunnelAlive() | TunnelDead():
                self._hear(output)

    async def _send(self, endpoint: DatagramSocket) -> None:
        while True:
            content, address = await self._unsent.get()
            self._datagrams[address] += 1
            await endpoint.send(content, (address, PROBE_PORT))

    async def _receive(self, endpoint: DatagramSocket) -> None:
        async for content, (address, port) in endpoint:
            if len(content) < _DATAGRAM.size:
                continue
            magic, kind, nonce = _DATAGRAM.unpack_from(content)
            if magic != _MAGIC:
                continue
            self._datagrams[address] += 1
            if kind == _QUESTION:
                self._datagrams[address] += 1
                await endpoint.send(_DATAGRAM.pack(_MAGIC, _ANSWER, nonce), (address, port))
            elif kind == _ANSWER and port == PROBE_PORT:
                self._driver.feed(ProbeAnswered(nonce, IPv4Address(address)))
