"""The pods' side of an agent: the CNI plugin, the wiring, the packet filter's table for pods, the exposed address.

Ties these together and decides only what they depend on: the table follows the networks of the mesh and whether this
host is exposed. Exposed it is while the ring holds an address for that, so it survives restarts and needs no file.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import IPv6Network
from logging import WARNING
from pathlib import Path

from weavemesh.cni import tombstone
from weavemesh.cni.plugin import Plugin
from weavemesh.cni.server import CniServer
from weavemesh.kernel import exposure, podtable
from weavemesh.kernel.kepttable import KeptTable
from weavemesh.kernel.pod import PodWiring
from weavemesh.kernel.podmodel import PodAddress, WiringFailed
from weavemesh.logs import Event, log
from weavemesh.overlay.state import IPAddress
from weavemesh.podaddress import PodAddresses
from weavemesh.pool import AddressPool
from weavemesh.status import EXPOSED_IDENT

CNI_SOCKET_NAME = "cni.sock"
"""In the run folder."""
LOOK_INTERVAL_S = 10.0
"""The exposed address is put back so soon after somebody took it away."""
FIRST_LOOKS_S = 0.2
"""Before there is a ring, the prefix of IPv6 addresses is not known."""
ALLOCATION_DEADLINE_S = 20.0


class PodSide:
    """Listens from the beginning, serves while `run` runs; pods stay as they are when it ends."""

    def __init__(
        self,
        pool: AddressPool,
        *,
        ula: Callable[[], IPv6Network | None],
        mtu: Callable[[], int],
        interface: str,
        masquerade: bool,
    ) -> None:
        """`interface` is the tunnel device; `ula` tells the prefix of IPv6 addresses once there is a ring."""
        self.wiring = PodWiring()
        self.addresses = PodAddresses(pool, ula)
        self._plugin = Plugin(addresses=self.addresses, wiring=self.wiring, mtu=mtu)
        self._table = KeptTable(podtable.FAMILY, podtable.NAME)
        self._interface = interface
        self._masquerade = masquerade
        self._failures: tuple[str, ...] = ()
        self._server: CniServer | None = None

    def listen(self, run_dir: Path) -> None:
        """Takes calls of the executable from now on. See CniServer.open for what can go wrong."""
        self._server = CniServer.open(run_dir / CNI_SOCKET_NAME, tombstones=tombstone.FOLDER)

    async def close(self) -> None:
        """Listens no longer, and waits for what is being wired."""
        if self._server is not None:
            self._server.close()
        await self.wiring.close()

    async def run(self) -> None:
        """Serves until cancelled."""
        assert self._server is not None, "it listens before it runs"
        async with asyncio.TaskGroup() as group:
            group.create_task(self._server.serve(self._plugin))
            group.create_task(self._table.run())
            while True:
                await self.refresh()
                await asyncio.sleep(LOOK_INTERVAL_S if self.addresses.host() else FIRST_LOOKS_S)

    @property
    def failures(self) -> tuple[str, ...]:
        """What is wrong, as sentences with the remedy."""
        return (*self._failures, *self._table.failures)

    @property
    def exposed(self) -> PodAddress | None:
        """The address that this host has besides its own; None: it is not exposed."""
        return self.addresses.address_of(EXPOSED_IDENT)

    async def expose(self, wanted: Sequence[IPAddress]) -> PodAddress:
        """Gives this host an address for what is no pod; the same again if it has one. Raises as `promise` does."""
        address = await self.addresses.promise(EXPOSED_IDENT, wanted, deadline_s=ALLOCATION_DEADLINE_S)
        await self.addresses.durable()
        await self.refresh()
        await self._table_settled()
        return address

    async def hide(self) -> PodAddress | None:
        """Takes it back; what it was. NotDurable, WiringFailed."""
        address = self.exposed
        if address is not None:
            exposure.hide(address)
            await self.addresses.release(EXPOSED_IDENT)
            await self.refresh()
            await self._table_settled()
        return address

    async def refresh(self) -> None:
        """Has the kernel follow what is known now."""
        exposed = self.exposed
        mesh = self.addresses.mesh()
        self._table.declare(podtable.pod_table(mesh, self._interface, exposed, masquerade=self._masquerade))
        try:
            if exposed is not None:
                exposure.expose(exposed)
            self._failures = ()
        except WiringFailed as error:
            sentence = f"this host cannot answer under {exposed and exposed.ipv4}: {error.reason}"
            if sentence not in self._failures:
                log(WARNING, Event.KERNEL_FAILED, reason=sentence)
            self._failures = (sentence,)

    async def _table_settled(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await self._table.wait_applied()
