"""Sends and answers the probes inside the tunnels, for `weavemesh.overlay.probe`, which decides whom to ask and when.

A probe is a UDP datagram between the peers' own addresses in the mesh, so it takes the way that pods' packets take:
through WireGuard or not at all. Question and answer are equally long: nobody can use a peer to amplify anything.
"""

import asyncio
import struct
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address

from weavemesh.driver import Driver
from weavemesh.overlay.probe import (
    FirstAnswer,
    ProbeAnswered,
    ProbeInput,
    ProbeName,
    ProbeOutput,
    Prober,
    ProbeTargets,
    SendProbe,
    TunnelHealth,
)
from weavemesh.transport.datagram import DatagramSocket

PROBE_PORT = 6784
"""UDP, on the mesh address only; nothing listens there on the host's own addresses."""

_DATAGRAM = struct.Struct(">4sBQ")
_MAGIC = b"WMP1"
_QUESTION, _ANSWER = 0, 1


class TunnelProbes:
    """Drives one prober. Before `run` has a socket, probes are not sent and count as lost."""

    def __init__(self, prober: Prober, *, first_answer: Callable[[ProbeName], None]) -> None:
        self._prober = prober
        self._first_answer = first_answer
        self._unsent: asyncio.Queue[tuple[bytes, str]] = asyncio.Queue()
        self._driver: Driver[ProbeInput, ProbeOutput] = Driver(prober, self._perform)

    def watch(self, addresses: Mapping[ProbeName, IPv4Address]) -> None:
        """Probe exactly these peers from now on."""
        self._driver.feed(ProbeTargets(addresses))

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
                self._unsent.put_nowait((_DATAGRAM.pack(_MAGIC, _QUESTION, nonce), str(address)))
            case FirstAnswer(peer=peer):
                self._first_answer(peer)

    async def _send(self, endpoint: DatagramSocket) -> None:
        while True:
            content, address = await self._unsent.get()
            await endpoint.send(content, (address, PROBE_PORT))

    async def _receive(self, endpoint: DatagramSocket) -> None:
        async for content, (address, port) in endpoint:
            if len(content) != _DATAGRAM.size:
                continue
            magic, kind, nonce = _DATAGRAM.unpack(content)
            if magic != _MAGIC:
                continue
            if kind == _QUESTION:
                await endpoint.send(_DATAGRAM.pack(_MAGIC, _ANSWER, nonce), (address, port))
            elif kind == _ANSWER and port == PROBE_PORT:
                self._driver.feed(ProbeAnswered(nonce, IPv4Address(address)))
