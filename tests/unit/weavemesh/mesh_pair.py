"""Peers made of real gossip cores and real links over the in-memory transport, for tests of the shell around them."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import gossip
from gossip import Mesh, MeshOptions, PeerName, Target
from weavemesh.driver import Driver
from weavemesh.identity import Identity, verify
from weavemesh.links import ControlLinks
from weavemesh.planning import dial_addresses
from weavemesh.transport.memory import MemoryNetwork

PORT = 6783


class LinkedPeer:
    """A gossip core with its links, on a host of the in-memory network."""

    def __init__(
        self, network: MemoryNetwork, host: str, *, secret: str = "the secret", identity: Identity | None = None
    ) -> None:
        """With the identity of a peer that lived before, it begins the next life of that."""
        self.identity = identity or Identity.generate(nickname=host)
        self.mesh = Mesh(
            signer=self.identity,
            verify=verify,
            epoch=1 if identity is None else 2,
            options=MeshOptions(dial_addresses=dial_addresses),
            rng=random.Random(host),
            snapshot=None,
            now=asyncio.get_running_loop().time(),
        )
        self.transport = network.transport(host, peer=self.identity.name, secret=secret)
        self.driver: Driver[gossip.Input, gossip.Output] = Driver(self.mesh, self._perform)
        self.links = ControlLinks(self.transport, self.driver.feed)
        self.changed = asyncio.Event()

    def _perform(self, output: gossip.Output) -> None:
        match output:
            case gossip.Dial() | gossip.SendFrame() | gossip.CloseLink():
                self.links.perform(output)
            case _:
                pass
        self.changed.set()

    def connect(self, *hosts: str) -> None:
        targets = tuple(Target(f"{host}:{PORT}") for host in hosts)
        self.driver.feed(gossip.ConnectTargets(targets, replace=False))

    def reachable(self) -> set[PeerName]:
        return {view.name for view in self.mesh.peers() if view.reachable}

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when the condition holds; it is looked at after each output of the core."""
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                try:
                    async with asyncio.timeout(0.05):
                        await self.changed.wait()
                except TimeoutError:
                    continue


@asynccontextmanager
async def running(*peers: LinkedPeer) -> AsyncIterator[None]:
    """The peers run within the block."""
    async with asyncio.TaskGroup() as group:
        tasks = []
        for peer in peers:
            listener = await peer.transport.listen(PORT)
            tasks += [group.create_task(peer.links.run(listener)), group.create_task(peer.driver.run())]
        await asyncio.sleep(0)  # the tasks begin
        yield
        for task in tasks:
            task.cancel()
