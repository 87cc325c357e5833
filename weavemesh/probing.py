"""Sends and answers the probes inside the tunnels, for the two machines that decide whom to ask what and when.

Those are `weavemesh.overlay.probe` (which tunnels live) and `weavemesh.overlay.mtu` (how large a packet may be), which
makes the questions of the former long. The answer to whatever either asks goes to both.

Datagrams, numbers in network order: "WMP1", a byte (0 question, 1 answer), a nonce of 64 bits; in a question 32 more
bits tell how many microseconds the last answer took, 0 if that is not known, and zeros fill it up to the wanted
length. What is not there counts as 0: releases before did not tell.

A probe is a UDP datagram between the peers' own addresses in the mesh, so it takes the way that pods' packets take:
through WireGuard or not at all. An answer is never longer than its question: nobody can use a peer to amplify anything.
"""

import asyncio
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address

from weavemesh.driver import Driver
from weavemesh.overlay.mtu import MtuChanged, MtuInput, MtuOutput, PathChanged, PathMtus, QuestionSent, SendSized
from weavemesh.overlay.probe import (
    ANSWER_TIMEOUT_S,
    ProbeAnswered,
    ProbeAtOnce,
    ProbeInput,
    ProbeName,
    ProbeOutput,
    Prober,
    ProbeTargets,
    QuestionHeard,
    SendProbe,
    TunnelAlive,
    TunnelDead,
    TunnelHealth,
    TunnelsInUse,
)
from weavemesh.overlay.usage import counted_octets
from weavemesh.transport.datagram import DatagramSocket

HEADERS_OCTETS = 28
"""IPv4 and UDP."""
PROBE_PORT = 6784
"""UDP, on the mesh address only; nothing listens there on the host's own addresses."""

_DATAGRAM = struct.Struct(">4sBQ")
_RTT = struct.Struct(">I")
_MAGIC = b"WMP1"
_QUESTION, _ANSWER = 0, 1


def encode_question(nonce: int, *, packet_octets: int = 0, rtt_s: float | None = None) -> bytes:
    """A question that makes a packet of so many octets, with its headers: the path carries it if it is answered."""
    told = _RTT.pack(round((rtt_s or 0.0) * 1e6))
    return (_DATAGRAM.pack(_MAGIC, _QUESTION, nonce) + told).ljust(packet_octets - HEADERS_OCTETS, b"\0")


def told_rtt_s(question: bytes) -> float | None:
    """How long the last answer took, by a question; None if it does not say, or nothing that can be."""
    if len(question) < _DATAGRAM.size + _RTT.size:
        return None
    (microseconds,) = _RTT.unpack_from(question, _DATAGRAM.size)
    return microseconds / 1e6 if 0 < microseconds < ANSWER_TIMEOUT_S * 1e6 else None


def answered_nonce(content: bytes) -> int | None:
    """The number of the question that this answers; None if it answers none."""
    if len(content) != _DATAGRAM.size:
        return None
    magic, kind, nonce = _DATAGRAM.unpack(content)
    return int(nonce) if magic == _MAGIC and kind == _ANSWER else None


class TunnelProbes:
    """Drives a prober and a machine for MTUs. Before `run` has a socket, probes are not sent and count as lost."""

    def __init__(
        self,
        prober: Prober,
        mtus: PathMtus,
        *,
        hear: Callable[[TunnelAlive | TunnelDead], None],
        resized: Callable[[MtuChanged], None],
    ) -> None:
        """`resized` is called when the largest packet to a peer has another size than before."""
        self._prober = prober
        self.mtus = mtus
        """To be read only."""
        self._hear, self._resized = hear, resized
        self._octets: Counter[str] = Counter()
        self._addresses: Mapping[ProbeName, IPv4Address] = {}
        self._names: dict[str, ProbeName] = {}
        """The same the other way round."""
        self._unsent: asyncio.Queue[tuple[bytes, str]] = asyncio.Queue()
        self._driver: Driver[ProbeInput, ProbeOutput] = Driver(prober, self._perform)
        self._mtu_driver: Driver[MtuInput, MtuOutput] = Driver(mtus, self._perform_sizing)

    def watch(self, addresses: Mapping[ProbeName, IPv4Address]) -> None:
        """Probe exactly these peers from now on."""
        self._addresses = addresses
        self._names = {str(address): name for name, address in addresses.items()}
        self._mtu_driver.feed(ProbeTargets(addresses))
        self._driver.feed(ProbeTargets(addresses))

    def use(self, peers: frozenset[ProbeName]) -> None:
        """These tunnels are in use now: they are asked more often."""
        self._mtu_driver.feed(TunnelsInUse(peers))
        self._driver.feed(TunnelsInUse(peers))

    def octets_with(self, peer: ProbeName) -> int:
        """What WireGuard has counted of questions and answers to and from this peer: none of the pods' traffic."""
        return self._octets[str(self._addresses.get(peer))]

    def path_changed(self, peer: ProbeName) -> None:
        """The path to this peer has changed: it is asked at once, and how large packets may be is found out anew."""
        self._mtu_driver.feed(PathChanged(peer))
        self._driver.feed(ProbeAtOnce(peer))

    def health(self, name: str) -> TunnelHealth | None:
        """What is known of the tunnel to a peer; None if it is not watched."""
        return self._prober.health(ProbeName(name))

    async def run(self, address: IPv4Address) -> None:
        """Ask and answer on this address of ours until cancelled. UserError if the port there is taken."""
        endpoint = await DatagramSocket.bind(str(address), PROBE_PORT, whole=True)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._driver.run())
                group.create_task(self._mtu_driver.run())
                group.create_task(self._receive(endpoint))
                group.create_task(self._send(endpoint))
        finally:
            endpoint.close()

    def _perform(self, output: ProbeOutput) -> None:
        match output:
            case SendProbe(peer=peer, address=address, nonce=nonce):
                octets = 0 if output.is_short else self.mtus.question_octets(peer)
                self._mtu_driver.feed(QuestionSent(peer, nonce, octets))
                question = encode_question(nonce, packet_octets=octets, rtt_s=output.rtt_s)
                self._unsent.put_nowait((question, str(address)))
            case TunnelAlive() | TunnelDead():
                self._hear(output)

    def _perform_sizing(self, output: MtuOutput) -> None:
        match output:
            case SendSized(address=address, nonce=nonce, octets=octets):
                self._unsent.put_nowait((encode_question(nonce, packet_octets=octets), str(address)))
            case MtuChanged():
                self._resized(output)

    async def _send(self, endpoint: DatagramSocket) -> None:
        while True:
            content, address = await self._unsent.get()
            self._count(content, address)
            await endpoint.send(content, (address, PROBE_PORT))

    async def _receive(self, endpoint: DatagramSocket) -> None:
        async for content, (address, port) in endpoint:
            if len(content) < _DATAGRAM.size:
                continue
            magic, kind, nonce = _DATAGRAM.unpack_from(content)
            if magic != _MAGIC:
                continue
            self._count(content, address)
            if kind == _QUESTION:
                answer = _DATAGRAM.pack(_MAGIC, _ANSWER, nonce)
                self._count(answer, address)
                await endpoint.send(answer, (address, port))
                if port == PROBE_PORT and (rtt_s := told_rtt_s(content)) is not None:
                    self._heard(self._names.get(address), rtt_s)
            elif kind == _ANSWER and port == PROBE_PORT:
                answered = ProbeAnswered(nonce, IPv4Address(address))
                self._mtu_driver.feed(answered)
                self._driver.feed(answered)

    def _heard(self, peer: ProbeName | None, rtt_s: float) -> None:
        """The other end has asked: that stands for our next question, unless it is to be a long one."""
        if peer is not None and self.mtus.question_octets(peer) == 0:
            heard = QuestionHeard(peer, rtt_s)
            self._mtu_driver.feed(heard)
            self._driver.feed(heard)

    def _count(self, content: bytes, address: str) -> None:
        self._octets[address] += counted_octets(HEADERS_OCTETS + len(content))
