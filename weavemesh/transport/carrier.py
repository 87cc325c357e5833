"""Carries encrypted packets between two ends of a relayed pair of which one has IPv4 and the other IPv6.

The kernel rewrites headers but does not exchange them (`weavemesh.kernel.forwarding`), so these packets alone come up
to this process, which reads nothing of them. There is a limit to what it does for others; what is beyond is dropped, as
on any narrow path. It ends with the lease of the pair (`weavemesh.overlay.relay`), as it does in the kernel, and with
the agent.
"""

import asyncio
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial

from msgspec import Struct

from gossip import PeerName
from weavemesh.overlay.knock import MAGIC
from weavemesh.overlay.purse import Purse
from weavemesh.overlay.relay import End, Forwarding
from weavemesh.overlay.state import Endpoint
from weavemesh.transport.datagram import DATAGRAM_BYTES_MAX, send_whole

PACKETS_PER_SECOND = 8000.0
"""For all pairs together: some 90 Mbit/s of full packets, for a quarter of a processor."""
PACKETS_AT_ONCE = 1000.0
PAIRS_MAX = 64
"""At once: each takes two descriptors, of which a process has 1,024 where nobody gives it more."""
TURN_PACKETS = 32
"""From one end, before the rest of the agent has its turn."""

Pair = tuple[PeerName, PeerName]
"""The smaller name first."""


class _Carried(Struct):
    forwarding: Forwarding
    sockets: tuple[socket.socket, socket.socket]
    packets: int = 0
    octets: int = 0


class Carrier:
    """All pairs that are carried here; `close` ends them."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._purse = Purse(most=PACKETS_AT_ONCE, per_second=PACKETS_PER_SECOND)
        self._carried: dict[Pair, _Carried] = {}

    def carry(self, pairs: Iterable[Forwarding]) -> frozenset[Pair]:
        """Carry exactly these from now on; which of them are. One whose port is taken here is not, nor one too many."""
        wanted = {(pair.one_name, pair.other_name): pair for pair in pairs}
        for names in [names for names, held in self._carried.items() if wanted.get(names) != held.forwarding]:
            self._drop(self._carried.pop(names))
        for names, pair in wanted.items():
            if names not in self._carried and len(self._carried) < PAIRS_MAX:
                with suppress(OSError):
                    self._carried[names] = self._begin(pair)
        return frozenset(self._carried)

    def traffic(self) -> Mapping[Pair, tuple[int, int]]:
        """Packets and octets carried for each pair, both directions together, since both were bound."""
        return {names: (held.packets, held.octets) for names, held in self._carried.items()}

    def close(self) -> None:
        """Carry nothing any more; again does nothing."""
        self.carry(())

    def _begin(self, pair: Forwarding) -> _Carried:
        one = _connected(pair.one)
        try:
            other = _connected(pair.other)
        except OSError:
            one.close()
            raise
        carried = _Carried(pair, (one, other))
        self._loop.add_reader(one, partial(self._pump, one, other, carried))
        self._loop.add_reader(other, partial(self._pump, other, one, carried))
        return carried

    def _drop(self, carried: _Carried) -> None:
        for one in carried.sockets:
            self._loop.remove_reader(one)
            one.close()

    def _pump(self, source: socket.socket, target: socket.socket, carried: _Carried) -> None:
        now = self._loop.time()
        for _ in range(TURN_PACKETS):
            try:
                packet = source.recv(DATAGRAM_BYTES_MAX)
            except BlockingIOError:
                return
            except OSError:
                continue  # what was sent before has met nobody (ICMP)
            # Knocks are for the agent, which hears them in its own way.
            if packet.startswith(MAGIC) or not self._purse.take(now, count=1):
                continue
            with suppress(OSError):  # larger than the path, or the way out is full
                target.send(packet)
                carried.packets += 1
                carried.octets += len(packet)


def _connected(end: End) -> socket.socket:
    """A socket that hears only this end. OSError."""
    is_ipv4 = end.local.address.version == 4
    opened = socket.socket(socket.AF_INET if is_ipv4 else socket.AF_INET6, socket.SOCK_DGRAM)
    try:
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # ends of other pairs have the same port of ours
        send_whole(opened)
        opened.bind(_address(end.local))
        opened.connect(_address(end.source))
        _empty(opened)
    except OSError:
        opened.close()
        raise
    return opened


def _empty(opened: socket.socket) -> None:
    """Until it was connected it heard strangers, too."""
    with suppress(BlockingIOError):
        while True:
            opened.recv(DATAGRAM_BYTES_MAX)


def _address(endpoint: Endpoint) -> tuple[str, int]:
    return str(endpoint.address), endpoint.port
