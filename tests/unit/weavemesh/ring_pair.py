"""Peers with mesh, ring and membership over the in-memory transport, put together as the agent does it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Network
from random import Random

import gossip
import ipam_crdt
from gossip import PeerName
from ipam_crdt import Allocator, Electorate, Owner
from tests.unit.weavemesh.mesh_pair import PORT, LinkedPeer
from tests.unit.weavemesh.mesh_pair import running as linked
from weavemesh.error import UserError
from weavemesh.identity import Identity
from weavemesh.links import ControlLinks, LinkInput
from weavemesh.membership import Membership
from weavemesh.overlay.plan import ula_prefix
from weavemesh.pool import AddressPool
from weavemesh.ring_operation import RingOperation
from weavemesh.summary import Summary
from weavemesh.transport.memory import MemoryNetwork

UNIVERSE = IPv4Network("10.32.0.0/24")
CHANNEL = "ipam"


class RingPeer(LinkedPeer):
    """A peer of both cores; `targets` are hosts of the network, as the command line would give them."""

    def __init__(
        self,
        network: MemoryNetwork,
        host: str,
        *targets: str,
        electorate: Electorate | None,
        nickname: str = "",
        identity: Identity | None = None,
        snapshot: bytes | None = None,
    ) -> None:
        super().__init__(network, host, identity=identity)
        self.disk_error: UserError | None = None
        self.is_told_removal = False
        self.snapshot = snapshot
        self.targets = targets
        self._nickname = nickname or host
        self._has_news = False
        allocator = Allocator(
            owner=Owner(self.identity.name),
            universe=UNIVERSE,
            electorate=electorate,
            snapshot=snapshot,
            rng=Random(host),
            now=asyncio.get_running_loop().time(),
        )
        self.pool = AddressPool(
            allocator,
            save=self._save,
            announce=lambda payload: self.driver.feed(gossip.GossipNews(CHANNEL, payload)),
            send=lambda owner, payload: self.driver.feed(gossip.SendUnicast(CHANNEL, PeerName(owner), payload)),
            ownership_changed=self._news,
        )
        self.mesh.register(CHANNEL, self.pool)
        self.membership = Membership(
            self.mesh,
            self.pool,
            targets=[f"{target}:{PORT}" for target in targets],
            feed=self.driver.feed,
            removed=self._removed,
        )
        self.links = ControlLinks(self.transport, self._hear_link)
        self.attached: set[str] = set()
        self.operation = RingOperation(
            mesh=self.mesh,
            pool=self.pool,
            membership=self.membership,
            own_name=self.identity.name,
            ula=lambda: None if allocator.ring_id is None else ula_prefix(allocator.ring_id),
            attached=self._attached,
        )

    def start(self) -> None:
        """Say who we are, and dial."""
        summary = Summary(
            nickname=self._nickname,
            version="0",
            wireguard_public_key=bytes(self.identity.wireguard_public_key),
            port=PORT,
            advertised=(),
            endpoints=(),
            overlay_ipv4=None,
            datapath="none",
            mtu=1420,
            started_at=0.0,
        )
        self.driver.feed(gossip.PublishSummary(summary.encode()))
        self.connect(*self.targets)
        self._news()

    async def address(self, ident: str = "pod") -> IPv4Address:
        return await self.pool.allocate(ident, deadline_s=10)

    def _perform(self, output: gossip.Output) -> None:
        match output:
            case gossip.Delivered(source=source, payload=payload, unicast=True):
                self.pool.feed(ipam_crdt.MessageReceived(Owner(source), payload))
            case gossip.Delivered(source=source, payload=payload):
                self.pool.feed(ipam_crdt.RingReceived(Owner(source), payload))
            case gossip.FencedBy(peer=peer):
                self.membership.fenced_by(peer)
            case gossip.PeerChanged():
                self._news()
            case _:
                super()._perform(output)
        self.changed.set()

    def _hear_link(self, event: LinkInput) -> None:
        self.driver.feed(event)
        self._news()

    def _news(self) -> None:
        if not self._has_news:
            self._has_news = True
            asyncio.get_running_loop().call_soon(self._act)

    def _act(self) -> None:
        self._has_news = False
        self.membership.news()
        self.changed.set()

    def _save(self, snapshot: bytes) -> None:
        if self.disk_error is not None:
            raise self.disk_error
        self.snapshot = snapshot

    def _removed(self) -> None:
        assert not self.is_told_removal
        self.is_told_removal = True

    async def _attached(self) -> set[str]:
        return self.attached


@asynccontextmanager
async def running(*peers: RingPeer) -> AsyncIterator[None]:
    """The peers run within the block."""
    async with linked(*peers), asyncio.TaskGroup() as group:
        tasks = [group.create_task(peer.pool.run()) for peer in peers]
        for peer in peers:
            peer.start()
        yield
        for task in tasks:
            task.cancel()


async def together(*peers: RingPeer) -> None:
    """Return when each of them has an address of the one ring, and can reach all others."""
    await asyncio.gather(*(peer.address("host") for peer in peers))
    await until(peers, lambda peer: len(peer.pool.allocator.roster.living) == len(peers))
    await until(peers, lambda peer: len(peer.reachable()) == len(peers))


async def until(peers: Iterable[RingPeer], condition: Callable[[RingPeer], bool]) -> None:
    """Return when it holds for each of them."""
    for peer in peers:
        await peer.until(lambda peer=peer: condition(peer))  # type: ignore[misc]
