"""A program: the CNI side of an agent with addresses from a file, in the network namespace in which it is started.

    python -m tests.kernel.cni_agent SOCKET TOMBSTONES JOURNAL [GATE]

With GATE, the path of a file, an allocation makes GATE.reached and waits until GATE is there. Prints "serving" when it
listens.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

from weavemesh.cni import CniServer, Plugin
from weavemesh.kernel.pod import PodWiring
from weavemesh.kernel.podmessage import IPAddress
from weavemesh.kernel.podmodel import PodAddress
from weavemesh.kernel.sysctl import Settings
from weavemesh.pool import AllocationRefused

FIRST = int(IPv4Address("10.32.0.1"))
ULA = int(IPv6Address("fd57:4d00::"))
CAPACITY = 200
MESH = (IPv4Network("10.32.0.0/12"), IPv6Network("fd57:4d00::a20:0/108"))
MTU = 1380


class JournalAddresses:
    """Addresses in a file that is replaced whole, so that it survives `kill -9`."""

    def __init__(self, journal: Path, gate: Path | None) -> None:
        self._journal = journal
        self._gate = gate
        self._held: dict[str, int] = json.loads(journal.read_text()) if journal.exists() else {}

    async def promise(self, ident: str, wanted: Sequence[IPAddress], *, deadline_s: float) -> PodAddress:
        if self._gate:
            self._gate.with_suffix(".reached").touch()
        async with asyncio.timeout(deadline_s):
            while self._gate and not self._gate.exists():  # noqa: ASYNC110  # another process makes it
                await asyncio.sleep(0.005)
        if ident not in self._held:
            free = set(range(FIRST, FIRST + CAPACITY)).difference(self._held.values())
            if not free:
                raise AllocationRefused("no peer owns a free address")
            self._held[ident] = int(wanted[0]) if wanted else min(free)
            self._save()
        return _address(self._held[ident])

    async def release(self, ident: str) -> None:
        if self._held.pop(ident, None) is not None:
            self._save()

    def address_of(self, ident: str) -> PodAddress | None:
        number = self._held.get(ident)
        return None if number is None else _address(number)

    async def durable(self) -> None:
        pass  # all is on disk as soon as it is promised

    def idents(self) -> tuple[str, ...]:
        return tuple(self._held)

    def mesh(self) -> tuple[IPv4Network | IPv6Network, ...]:
        return MESH

    def subnet_of(self, address: IPAddress) -> int:
        return address.max_prefixlen - 20

    def host(self) -> PodAddress | None:
        return _address(FIRST + CAPACITY)

    def obstacle(self) -> str | None:
        return None

    def _save(self) -> None:
        beside = self._journal.with_suffix(".new")
        beside.write_text(json.dumps(self._held))
        beside.replace(self._journal)


def _address(number: int) -> PodAddress:
    return PodAddress(IPv4Address(number), IPv6Address(ULA | number))


async def _serve(socket: Path, tombstones: Path, journal: Path, gate: Path | None) -> None:
    settings = Settings()
    settings.prepare_host()
    assert not settings.failures, settings.failures
    plugin = Plugin(addresses=JournalAddresses(journal, gate), wiring=PodWiring(), mtu=lambda: MTU)
    server = CniServer.open(socket, tombstones=tombstones)
    sys.stdout.write("serving\n")
    sys.stdout.flush()
    await server.serve(plugin)


if __name__ == "__main__":
    paths = [Path(argument) for argument in sys.argv[1:]]
    asyncio.run(_serve(paths[0], paths[1], paths[2], paths[3] if len(paths) > 3 else None))
