"""Collects what nobody will give back: attachments whose containers are gone, and those that a runtime disowns (GC).

A container's namespace takes the veth along when it ends. So an address of a pod without an interface is of a container
that ended without a DEL, or of an ADD that was cut off by a crash; and a host's end of a veth without an address is of
an ADD that was cut off, or of a DEL. Each is looked at again in its turn, when no call for it is under way.

Leases of the IPAM plugin have no interface of ours to tell: only DEL and GC give them back.
"""

import asyncio
import logging

from weavemesh.cni.door import AddressSource, Wiring
from weavemesh.cni.request import IPAM_PREFIX, Request, is_attachment
from weavemesh.cni.result import CniError, ErrorCode
from weavemesh.cni.turn import Turns
from weavemesh.kernel.podmodel import PodLink, WiringFailed, host_ifname
from weavemesh.logs import Event, log
from weavemesh.pool import NotDurable

INTERVAL_S = 15.0
"""An address of a container that vanished is missed by nobody for so long."""
_FAILURES = (WiringFailed, NotDurable)


class Collector:
    """Works beside the plugin, with the same doors and the same turns."""

    def __init__(self, addresses: AddressSource, wiring: Wiring, turns: Turns) -> None:
        self._addresses = addresses
        self._wiring = wiring
        self._turns = turns

    async def run(self) -> None:
        """Collects now and then, until cancelled."""
        while True:
            await self.collect()
            await asyncio.sleep(INTERVAL_S)

    async def collect(self) -> int:
        """Gives back what is of containers that are gone; how many things. What cannot be done now is left."""
        try:
            links = await self._links()
            self._wiring.sweep()
            held = {host_ifname(ident): ident for ident in self._addresses.idents() if is_attachment(ident)}
            suspects = {name for name in held if name not in links} | {name for name in links if name not in held}
            suspects |= {name for name, link in links.items() if not link.is_whole}
            done = 0
            for name in sorted(suspects):
                done += await self._look_again(name, held.get(name))
        except _FAILURES as error:
            log(logging.WARNING, Event.CONTAINER_FAILED, reason=f"what is left of containers stays for now: {error}")
            return 0
        return done

    async def collect_all_but(self, request: Request) -> None:
        """GC: gives back all of a network that the runtime does not list. CniError if something cannot be."""
        if request.valid is None:
            return
        problems: list[str] = []
        for ident in sorted(await self._idents_of(request) - request.valid):
            try:
                async with self._turns.take(host_ifname(ident)):
                    await self._give_back(ident, why="the runtime knows it no longer")
            except _FAILURES as error:
                problems.append(f"{ident}: {error}")
        if problems:
            raise CniError(ErrorCode.TRY_AGAIN_LATER, "not all that is stale could be given back", "; ".join(problems))

    async def _idents_of(self, request: Request) -> set[str]:
        mark = f"{IPAM_PREFIX if request.is_ipam else ''}{request.network}/"
        idents = {ident for ident in self._addresses.idents() if ident.startswith(mark)}
        if not request.is_ipam:
            idents |= {one.ident for one in (await self._links()).values() if one.ident and one.ident.startswith(mark)}
        return {ident for ident in idents if request.is_ipam or is_attachment(ident)}

    async def _links(self) -> dict[str, PodLink]:
        return {link.host_ifname: link for link in await self._wiring.list_pod_links() if not link.is_retired}

    async def _look_again(self, name: str, ident: str | None) -> int:
        async with self._turns.take(name):
            link = (await self._links()).get(name)
            has_address = ident is not None and self._addresses.address_of(ident) is not None
            if link is not None and link.is_whole and has_address:
                return 0  # an ADD that was under way
            if link is None and not has_address:
                return 0  # a DEL that was under way
            await self._give_back(ident or (link.ident if link else None), name=name, why="its container is gone")
        return 1

    async def _give_back(self, ident: str | None, *, why: str, name: str | None = None) -> None:
        if ident is None:  # whoever made it did not come to write its ident on it, nor to keep an address
            assert name is not None, "there is an ident or a name"
            await self._wiring.detach_link(name)
            log(logging.WARNING, Event.CONTAINER_DETACHED, link=name, reason="it was never finished")
            return
        await self._wiring.detach(ident, self._addresses.address_of(ident))
        await self._addresses.release(ident)
        log(logging.WARNING, Event.CONTAINER_DETACHED, container=ident, reason=why)
