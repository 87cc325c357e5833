"""What an agent waits for before it calls itself ready: an address, a first link where one is expected, first tunnels.

Looked at whenever there is news of peers or tunnels, and never for long: the agent is ready without them, too.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address

from gossip import Mesh
from weavemesh.membership import Membership
from weavemesh.pool import AddressPool, AllocationRefused
from weavemesh.probing import TunnelProbes
from weavemesh.status import HOST_IDENT

HOST_ADDRESS_TRY_S = 2.0
"""One try for the host's own address; the starter is told why it takes longer after each."""
REFUSAL_PAUSE_S = 0.2
"""Between two such tries: a refusal may come at once."""
FIRST_CONTACT_S = 1.0
"""How long the start waits for a first link to the mesh, where one is expected: news may wait there."""
FIRST_TUNNELS_S = 2.0
"""How long the start waits for the tunnels of peers that are there; then the agent is ready without them."""


class Arrival:
    """The waiting of one start."""

    def __init__(self, mesh: Mesh, membership: Membership, probes: TunnelProbes) -> None:
        self._mesh, self._membership, self._probes = mesh, membership, probes
        self._news = asyncio.Event()

    def news(self) -> None:
        """Something about peers or tunnels has changed."""
        self._news.set()

    async def own_address(self, pool: AddressPool, refused: Callable[[AllocationRefused], None]) -> IPv4Address | None:
        """Our own address in the mesh, waited for as long as it takes; None if we were removed from it.

        `refused` is called after each try in vain, and may end the waiting by an exception.
        """
        while not self._membership.is_removed:
            try:
                return await pool.allocate(HOST_IDENT, deadline_s=HOST_ADDRESS_TRY_S)
            except AllocationRefused as refusal:
                refused(refusal)
                await asyncio.sleep(REFUSAL_PAUSE_S)
        return None

    async def first_contact(self, *, is_expected: bool) -> None:
        """Wait for a link to the mesh if we know of one: it may have news for us, even that we were removed."""
        if is_expected or len(self._mesh.peers()) > 1:
            await self._wait_until(
                lambda: self._membership.is_removed or any(link.established for link in self._mesh.links()),
                deadline_s=FIRST_CONTACT_S,
            )

    async def first_tunnels(self) -> None:
        """Wait for the tunnels of the peers that are there now, so that the first packet of a pod finds its way."""
        await self._wait_until(self._has_first_tunnels, deadline_s=FIRST_TUNNELS_S)

    def _has_first_tunnels(self) -> bool:
        """Peers that answer us on a link now should soon answer in a tunnel, too; of others we know less."""
        return all(
            (health := self._probes.health(link.peer)) is None or health.last_answer is not None
            for link in self._mesh.links()
        )

    async def _wait_until(self, condition: Callable[[], bool], *, deadline_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                while not condition():
                    self._news.clear()
                    await self._news.wait()
