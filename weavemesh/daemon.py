"""The composition root: the only file that knows all parts of an agent and ties them together.

No protocol, no kernel call, no address rule is here; each is behind a door. What is here is the order of things at the
start (what can fail fails before anything is made), who is told of whose changes, and the end (the data path stays).
"""

import asyncio
import random
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from logging import INFO

import gossip
import ipam_crdt
from gossip import Mesh, MeshOptions, PeerName, Target
from ipam_crdt import Allocator, Founding, Owner
from weavemesh import __version__, logs
from weavemesh.api.message import SOCKET_NAME
from weavemesh.api.readiness import ReadinessLog
from weavemesh.api.server import ApiServer
from weavemesh.certificate import LeafIssuer, MembershipAuthority
from weavemesh.cni import tombstone
from weavemesh.cni.plugin import Plugin
from weavemesh.cni.server import CniServer
from weavemesh.config import AgentConfig
from weavemesh.driver import Driver
from weavemesh.error import UserError
from weavemesh.identity import Identity, verify
from weavemesh.kernel.applier import Kernel
from weavemesh.kernel.pod import PodWiring
from weavemesh.links import ControlLinks
from weavemesh.logs import Event, log
from weavemesh.operation import Operation
from weavemesh.overlay.plan import PlanInput, check, plan, tunnel_mtu, ula_prefix
from weavemesh.overlay.probe import ProbeName, Prober
from weavemesh.overlay.state import DesiredState, Endpoint, IPAddress
from weavemesh.planning import dial_addresses, planned_peers, probe_addresses
from weavemesh.pool import AddressPool, AllocationRefused, PodAddresses
from weavemesh.probing import TunnelProbes
from weavemesh.reconciler import Reconciler
from weavemesh.saver import Saver
from weavemesh.secret import DEFAULT_FILE, ClusterSecret
from weavemesh.status import HOST_IDENT
from weavemesh.store import StateFolder
from weavemesh.summary import Summary
from weavemesh.transport.datagram import refuse_taken_port
from weavemesh.transport.failure import Failure
from weavemesh.transport.link import Listener
from weavemesh.transport.stream import StreamTransport

CNI_SOCKET_NAME = "cni.sock"
RING_CHANNEL = "ipam"
MESH_FILE, RING_FILE = "mesh", "ring"
HOST_ADDRESS_TRY_S = 2.0
"""One try for the host's own address; the starter is told why it takes longer after each."""
FIRST_TUNNELS_S = 2.0
"""How long the start waits for the tunnels of peers that are there; then the agent is ready without them."""


async def run_agent(config: AgentConfig, *, on_ready: Callable[[str], None]) -> None:
    """Run an agent until SIGTERM, SIGINT or a stop over the API; the data path stays as it is.

    UserError if it cannot start, or if every peer it was told to join has another cluster secret; nothing is then left.
    """
    logs.configure(level=config.log_level)
    async with AsyncExitStack() as stack:
        agent = await Agent.assemble(config, stack, on_ready)
        await agent.run()
    log(INFO, Event.AGENT_STOPPED)


class Agent:
    """All parts of one agent."""

    def __init__(
        self,
        *,
        config: AgentConfig,
        folder: StateFolder,
        secret: ClusterSecret,
        identity: Identity,
        kernel: Kernel,
        mtu: int,
        host_addresses: tuple[IPAddress, ...],
        on_ready: Callable[[str], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        self._config = config
        self._secret = secret
        self._identity = identity
        self._kernel = kernel
        self._mtu = mtu
        self._host_addresses = host_addresses
        self._on_ready = on_ready
        self._started_at = time.time()
        self._stopped = asyncio.Event()
        self._peers_changed = False
        self._overlay_address: IPv4Address | None = None
        self._findings: tuple[str, ...] = ()
        self._tunnel_answered = asyncio.Event()
        self.readiness = ReadinessLog()

        saved_mesh, saved_ring = folder.read(MESH_FILE), folder.read(RING_FILE)
        self._is_new = saved_ring is None
        self._mesh = _open_mesh(config, identity, folder.next_epoch(), saved_mesh, loop.time())
        joins = bool(config.targets)
        allocator = _open_allocator(config, identity, saved_ring, joins=joins, now=loop.time())
        self._saver = Saver(self._mesh.snapshot, lambda snapshot: folder.write(MESH_FILE, snapshot))
        self._pool = AddressPool(
            allocator,
            save=lambda snapshot: folder.write(RING_FILE, snapshot),
            announce=lambda payload: self._gossip.feed(gossip.GossipNews(RING_CHANNEL, payload)),
            send=lambda owner, payload: self._gossip.feed(gossip.SendUnicast(RING_CHANNEL, PeerName(owner), payload)),
            ownership_changed=self._news_of_peers,
        )
        self._mesh.register(RING_CHANNEL, self._pool)
        transport = StreamTransport(
            LeafIssuer(identity=identity, authority=MembershipAuthority.from_seed(secret.authority_seed()))
        )
        self._transport = transport
        self._gossip: Driver[gossip.Input, gossip.Output] = Driver(self._mesh, self._perform)
        self._links = ControlLinks(transport, self._gossip.feed)
        self._probes = TunnelProbes(Prober(rng=random.Random()), first_answer=self._tunnel_is_alive)
        self._reconciler = Reconciler(kernel, self._plan)
        self._wiring = PodWiring()

    @classmethod
    async def assemble(cls, config: AgentConfig, stack: AsyncExitStack, on_ready: Callable[[str], None]) -> "Agent":
        """Open all that an agent needs, the cheapest refusals first; `stack` closes it. UserError: nothing was made."""
        secret = ClusterSecret.load(config.secret_file or DEFAULT_FILE, force=config.force_weak_secret)
        kernel = await Kernel.open(interface=config.interface, datapath=config.datapath)
        stack.push_async_callback(kernel.close)
        await _refuse_overlap(kernel, config)
        if await kernel.observe() is None:
            refuse_taken_port(config.port)
        folder = stack.enter_context(StateFolder.open(config.state_dir))
        agent = cls(
            config=config,
            folder=folder,
            secret=secret,
            identity=Identity.load_or_create(folder.path, nickname=config.nickname),
            kernel=kernel,
            mtu=config.mtu or tunnel_mtu(await kernel.underlay_mtu()),
            host_addresses=await kernel.host_addresses(),
            on_ready=on_ready,
        )
        stack.push_async_callback(agent._wiring.close)
        agent._listener = await agent._transport.listen(config.port)
        stack.callback(agent._listener.close)
        agent._api = ApiServer.open(config.run_dir / SOCKET_NAME)
        stack.callback(agent._api.close)
        agent._cni = CniServer.open(config.run_dir / CNI_SOCKET_NAME, tombstones=tombstone.FOLDER)
        stack.callback(agent._cni.close)
        return agent

    _listener: Listener
    _api: ApiServer
    _cni: CniServer

    @property
    def ula(self) -> IPv6Network | None:
        """The /96 of pods' IPv6 addresses; None before there is a ring."""
        ring_id = self._pool.allocator.ring_id
        return ula_prefix(ring_id) if ring_id else None

    async def run(self) -> None:
        """Run until told to stop."""
        log(INFO, Event.AGENT_STARTED, peer=self._identity.name, datapath=self._kernel.datapath, version=__version__)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopped.set)
        operation = Operation(
            config=self._config,
            identity=self._identity,
            fingerprint=self._secret.fingerprint(),
            started_at=self._started_at,
            mtu=self._mtu,
            mesh=self._mesh,
            feed=self._gossip.feed,
            pool=self._pool,
            probes=self._probes,
            kernel=self._kernel,
            wiring=self._wiring,
            readiness=self.readiness,
            findings=lambda: (*self._findings, *self._reconciler.failures),
            stop_agent=self._stopped.set,
        )
        addresses = PodAddresses(self._pool, lambda: self.ula)
        plugin = Plugin(addresses=addresses, wiring=self._wiring, mtu=lambda: self._mtu)
        async with asyncio.TaskGroup() as group:
            eternal = (
                self._links.run(self._listener),
                self._gossip.run(),
                self._pool.run(),
                self._reconciler.run(),
                self._saver.run(),
                self._api.serve(operation),
                self._cni.serve(plugin),
                self._start(group),
            )
            tasks = [group.create_task(work) for work in eternal]
            await self._stopped.wait()
            for task in tasks:
                task.cancel()
        await self._saver.save_now()

    async def _start(self, group: asyncio.TaskGroup) -> None:
        """From nothing to ready: a place in the mesh, an address of our own, the tunnels; then keep probing."""
        self._publish()
        self._gossip.feed(gossip.ConnectTargets(tuple(Target(text) for text in self._config.targets), replace=True))
        self._news_of_peers()
        self._overlay_address = await self._own_address()
        self._reconciler.changed()
        await self._reconciler.wait_applied()
        self._publish()
        probing = group.create_task(self._probes.run(self._overlay_address))
        self._watch_tunnels()
        await self._first_tunnels()
        others = len(self._mesh.peers()) - 1
        sentence = (
            f"ready: {self._identity.nickname} ({self._identity.name}) has {self._overlay_address} in the mesh with "
            f"{others} other peer{'' if others == 1 else 's'}; encrypted by WireGuard, {self._kernel.datapath}"
        )
        log(INFO, Event.AGENT_READY, address=self._overlay_address)
        self.readiness.finish(sentence)
        self._on_ready(sentence)
        try:
            await self._stopped.wait()
        finally:
            probing.cancel()

    async def _own_address(self) -> IPv4Address:
        while True:
            try:
                return await self._pool.allocate(HOST_IDENT, deadline_s=HOST_ADDRESS_TRY_S)
            except AllocationRefused as refused:
                self._refuse_wrong_secret()
                reasons = [f"{target}: {failure.reason}" for target, failure in self._links.failures.items()]
                self.readiness.step("; ".join(reasons) or f"waiting for an address: {refused}")

    def _refuse_wrong_secret(self) -> None:
        """A new peer that only finds meshes with another secret was given the wrong one; an old one waits instead."""
        failures = [self._links.failures.get(target.target) for target in self._mesh.targets()]
        codes = [failure.code if failure else None for failure in failures]
        if self._is_new and codes and all(code is Failure.WRONG_SECRET for code in codes):
            where = ", ".join(target.target for target in self._mesh.targets())
            raise UserError(
                f"{where} has another cluster secret than this host (fingerprint {self._secret.fingerprint()})",
                remedy="copy the secret file from a host of the mesh to this one; "
                "`weavemesh secret fingerprint` shows whether two hosts have the same",
            )

    async def _first_tunnels(self) -> None:
        """Wait for the tunnels of the peers that are there now, so that the first packet of a pod finds its way."""
        self.readiness.step("waiting for the tunnels to answer")
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_TUNNELS_S):
                while any(not self._is_alive(name) for name in self._linked_tunnels()):
                    self._tunnel_answered.clear()
                    await self._tunnel_answered.wait()

    def _linked_tunnels(self) -> list[ProbeName]:
        """Peers that answer us on a link now should soon answer in a tunnel, too; of others we know less."""
        linked = [view for view in self._mesh.peers() if view.linked is not None]
        return list(probe_addresses(linked, owned=self._owned))

    def _is_alive(self, name: str) -> bool:
        health = self._probes.health(name)
        return health is not None and health.last_answer is not None

    def _publish(self) -> None:
        """Tell the mesh what we are."""
        endpoints = [Endpoint(address, self._config.port) for address in self._host_addresses]
        summary = Summary(
            nickname=self._identity.nickname,
            version=__version__,
            wireguard_public_key=bytes(self._identity.wireguard_public_key),
            port=self._config.port,
            advertised=tuple(endpoint.text() for endpoint in self._config.advertise),
            endpoints=tuple(endpoint.text() for endpoint in endpoints),
            overlay_ipv4=str(self._overlay_address) if self._overlay_address else None,
            datapath=self._kernel.datapath,
            mtu=self._mtu,
            started_at=self._started_at,
        )
        self._gossip.feed(gossip.PublishSummary(summary.encode()))

    def _perform(self, output: gossip.Output) -> None:
        match output:
            case gossip.Dial() | gossip.SendFrame() | gossip.CloseLink():
                self._links.perform(output)
            case gossip.PeerChanged():
                self._news_of_peers()
            case gossip.Persist():
                self._saver.changed()
            case gossip.Delivered(source=source, payload=payload, unicast=True):
                self._pool.feed(ipam_crdt.MessageReceived(Owner(source), payload))
            case gossip.Delivered(source=source, payload=payload):
                self._pool.feed(ipam_crdt.RingReceived(Owner(source), payload))

    def _news_of_peers(self) -> None:
        """Something about peers or their ranges has changed; a burst of it is acted on once."""
        if not self._peers_changed:
            self._peers_changed = True
            asyncio.get_running_loop().call_soon(self._act_on_peers)

    def _act_on_peers(self) -> None:
        self._peers_changed = False
        reachable = tuple(Owner(view.name) for view in self._mesh.peers() if view.reachable and view.hops != 0)
        self._pool.feed(ipam_crdt.PeersReachable(reachable))
        self._reconciler.changed()
        self._watch_tunnels()

    def _owned(self, peer: PeerName) -> tuple[IPv4Network, ...]:
        return self._pool.allocator.owned(Owner(peer))

    def _watch_tunnels(self) -> None:
        if self._overlay_address is not None:
            self._probes.watch(probe_addresses(self._mesh.peers(), owned=self._owned))

    def _tunnel_is_alive(self, peer: ProbeName) -> None:
        log(INFO, Event.PATH_CHANGED, peer=peer, tunnel="answers")
        self._tunnel_answered.set()

    def _plan(self) -> DesiredState | None:
        """What the kernel should hold; None before this host has an address in the mesh."""
        if self._overlay_address is None:
            return None
        allocator = self._pool.allocator
        known = PlanInput(
            interface=self._config.interface,
            mtu=self._mtu,
            listen_port=self._config.port,
            name=self._identity.name,
            private_key=self._identity.wireguard_key,
            public_key=self._identity.wireguard_public_key,
            address=self._overlay_address,
            universe=self._config.ipalloc_range,
            ula_prefix=self.ula,
            ranges={PeerName(owner): allocator.owned(owner) for owner in allocator.owners()},
            peers=planned_peers(self._mesh.peers(), own_key=self._identity.wireguard_public_key, secret=self._secret),
        )
        self._findings = check(known)
        return plan(known)


async def _refuse_overlap(kernel: Kernel, config: AgentConfig) -> None:
    if overlapping := await kernel.routes_overlapping(config.ipalloc_range):
        raise UserError(
            f"the address range {config.ipalloc_range} overlaps this host's route {overlapping[0]}",
            remedy="choose a range that no host of the mesh uses, with --ipalloc-range, the same on all peers",
        )


def _open_mesh(config: AgentConfig, identity: Identity, epoch: int, snapshot: bytes | None, now: float) -> Mesh:
    options = MeshOptions(dial_addresses=dial_addresses, discovery=config.discovery)
    try:
        return Mesh(
            signer=identity,
            verify=verify,
            epoch=epoch,
            options=options,
            rng=random.Random(),
            snapshot=snapshot,
            now=now,
        )
    except gossip.SnapshotCorrupt as error:
        raise UserError(
            f"the file {MESH_FILE} in the state folder cannot be used: {error}",
            remedy=f"remove {config.state_dir / MESH_FILE}; the other peers will tell its contents again",
        ) from error


def _open_allocator(
    config: AgentConfig, identity: Identity, snapshot: bytes | None, *, joins: bool, now: float
) -> Allocator:
    try:
        return Allocator(
            owner=Owner(identity.name),
            universe=config.ipalloc_range,
            founding=Founding.JOIN if joins else Founding.FOUND,
            snapshot=snapshot,
            rng=random.SystemRandom(),
            now=now,
        )
    except ipam_crdt.UniverseMismatch as error:
        raise UserError(
            f"this peer's address ring divides {error.persisted}, but --ipalloc-range says {error.configured}",
            remedy=f"start it with --ipalloc-range {error.persisted}, or begin anew with `weavemesh reset`",
        ) from error
    except ipam_crdt.SnapshotCorrupt as error:
        raise UserError(
            f"{config.state_dir / RING_FILE}: {error}",
            remedy="restore the file from a backup, or begin as a new peer with `weavemesh reset`",
        ) from error
