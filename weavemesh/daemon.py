"""The composition root: the only file that knows all parts of an agent and ties them together.

No protocol, no kernel call, no address rule is here; each is behind a door. What is here is the order of things at the
start (what can fail fails before anything is made), who is told of whose changes, and the end (the data path stays).
"""

import asyncio
import gc
import random
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from ipaddress import IPv4Address, IPv6Network
from logging import INFO

import gossip
import ipam_crdt
from gossip import PeerName, Target
from ipam_crdt import Electorate, Owner
from weavemesh import __version__, logs, opening
from weavemesh.api.message import SOCKET_NAME
from weavemesh.api.readiness import ReadinessLog
from weavemesh.api.server import ApiServer
from weavemesh.arrival import Arrival
from weavemesh.burst import Burst
from weavemesh.callwire import NothingKept
from weavemesh.config import AgentConfig
from weavemesh.driver import Driver
from weavemesh.error import UserError
from weavemesh.founding import electorate
from weavemesh.identity import Identity
from weavemesh.kernel.applier import Kernel
from weavemesh.kernel.carried import CarriedOctets
from weavemesh.kernel.steering import DeviceSteering
from weavemesh.links import ControlLinks, LinkInput
from weavemesh.logs import Event, log
from weavemesh.membership import Membership
from weavemesh.metrics.server import MetricsServer
from weavemesh.operation import Operation
from weavemesh.overlay.mtu import MtuChanged, PathMtus
from weavemesh.overlay.plan import tunnel_mtu, ula_prefix
from weavemesh.overlay.probe import Prober, TunnelAlive, TunnelDead
from weavemesh.overlay.state import DesiredState, Endpoint, IPAddress
from weavemesh.pathing import PathFinder
from weavemesh.peerbook import PeerBook
from weavemesh.planning import with_nicknames
from weavemesh.podside import PodSide
from weavemesh.pool import AddressPool, AllocationRefused
from weavemesh.probing import TunnelProbes
from weavemesh.reconciler import Reconciler
from weavemesh.rotation import KeyRotation
from weavemesh.saver import Saver
from weavemesh.secret import DEFAULT_FILE
from weavemesh.store import StateFolder
from weavemesh.summary import Summary
from weavemesh.transport.datagram import refuse_taken_port
from weavemesh.transport.link import Listener
from weavemesh.transport.stream import StreamTransport
from weavemesh.trust import Secrets
from weavemesh.verdict import REMOVED, REMOVED_REMEDY
from weavemesh.wish import Wish

RING_CHANNEL = "ipam"
PATH_CHANNEL = "path"
NEWS_INTERVAL_S = 0.1
"""Between two looks at what has changed among the peers: while a mesh forms, something has at each moment."""


async def run_agent(config: AgentConfig, *, on_ready: Callable[[str], None]) -> None:
    """Run an agent until SIGTERM, SIGINT or a stop over the API; the data path stays as it is.

    UserError if it cannot start, or if every peer it was told to join has another cluster secret; nothing is then left.
    """
    logs.configure(level=config.log_level)
    async with AsyncExitStack() as stack:
        agent = await Agent.assemble(config, stack, on_ready)
        gc.freeze()  # what was made until now stays for ever
        gc.enable()
        await agent.run()
    log(INFO, Event.AGENT_STOPPED)


class Agent:
    """All parts of one agent."""

    def __init__(
        self,
        *,
        config: AgentConfig,
        folder: StateFolder,
        secrets: Secrets,
        identity: Identity,
        kernel: Kernel,
        mtu: int,
        mtus: PathMtus,
        host_addresses: tuple[IPAddress, ...],
        electorate: Electorate | None,
        on_ready: Callable[[str], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        self._config = config
        self._secrets = secrets
        self._identity = identity
        self._kernel = kernel
        self._mtu = mtu
        self._host_addresses = host_addresses
        self._on_ready = on_ready
        self._started_at = time.time()
        self._stopped = asyncio.Event()
        self._peer_news = Burst(self._act_on_news, interval_s=NEWS_INTERVAL_S)
        self._overlay_address: IPv4Address | None = None
        self.readiness = ReadinessLog()

        saved_mesh, saved_ring = folder.read(opening.MESH_FILE), folder.read(opening.RING_FILE)
        self._mesh = opening.open_mesh(config, identity, folder.next_epoch(time.time()), saved_mesh, loop.time())
        allocator = opening.open_allocator(config, identity, electorate, saved_ring, loop.time())
        self._saver = Saver(self._mesh.snapshot, lambda snapshot: folder.write(opening.MESH_FILE, snapshot))
        self._pool = self._address_pool(allocator, folder)
        self._mesh.register(RING_CHANNEL, self._pool)
        self._transport = StreamTransport(secrets.issuer(identity))
        self._gossip: Driver[gossip.Input, gossip.Output] = Driver(self._mesh, self._perform)
        self._links = ControlLinks(self._transport, self._hear_link)
        self._membership = Membership(
            self._mesh, self._pool, targets=config.targets, feed=self._gossip.feed, removed=self._leave_overlay
        )
        self._probes = TunnelProbes(Prober(rng=random.Random()), mtus, hear=self._hear_tunnel, resized=self._resized)
        self._arrival = Arrival(self._mesh, self._membership, self._probes)
        self._paths = self._path_finder()
        self._mesh.register(PATH_CHANNEL, NothingKept())
        self._book = PeerBook(
            self._mesh, own_key=lambda: identity.wireguard_public_key, secrets=secrets, chosen=self._paths.chosen
        )
        self._wish = Wish(
            config, identity=identity, mtus=mtus, allocator=allocator, ula=lambda: self.ula, peers=self._book.planned
        )
        self._reconciler = Reconciler(kernel, self._plan, applied=self._look_for_paths)
        self._rotation = self._key_rotation(folder)
        self._pods = PodSide(
            self._pool, ula=lambda: self.ula, mtu=lambda: mtu, interface=config.interface, masquerade=config.masquerade
        )

    def _address_pool(self, allocator: ipam_crdt.Allocator, folder: StateFolder) -> AddressPool:
        return AddressPool(
            allocator,
            save=lambda snapshot: folder.write(opening.RING_FILE, snapshot),
            announce=lambda payload: self._gossip.feed(gossip.GossipNews(RING_CHANNEL, payload)),
            send=lambda owner, payload: self._gossip.feed(gossip.SendUnicast(RING_CHANNEL, PeerName(owner), payload)),
            ownership_changed=self._peer_news.notice,
        )

    def _key_rotation(self, folder: StateFolder) -> KeyRotation:
        return KeyRotation(
            self._identity,
            folder.path,
            every_s=self._config.rotate_key_every_s,
            settle=self._reconciler.settle,
            announce=self._publish,
        )

    def _path_finder(self) -> PathFinder:
        return PathFinder(
            name=self._identity.name,
            port=self._config.port,
            relays=self._config.relay,
            tunnel=DeviceSteering(self._kernel.device, self._kernel.host_addresses),
            carried=CarriedOctets(self._config.interface),
            probes=self._probes,
            send_call=lambda peer, content: self._gossip.feed(gossip.SendUnicast(PATH_CHANNEL, peer, content)),
            report=lambda reports: self._gossip.feed(gossip.ReportPaths(reports)),
            chose=lambda peer: self._book.changed(peer),
            seen_elsewhere=self._publish,
            moved=self._move,
            lost=lambda: self._reconciler.changed(),
        )

    @classmethod
    async def assemble(cls, config: AgentConfig, stack: AsyncExitStack, on_ready: Callable[[str], None]) -> "Agent":
        """Open all that an agent needs, the cheapest refusals first; `stack` closes it. UserError: nothing was made."""
        secrets = Secrets.load(config.secret_file or DEFAULT_FILE, force=config.force_weak_secret)
        kernel = await Kernel.open(interface=config.interface, datapath=config.datapath)
        stack.push_async_callback(kernel.close)
        opening.refuse_overlap(await kernel.routes_overlapping(config.ipalloc_range), config.ipalloc_range)
        if not await kernel.has_interface():
            refuse_taken_port(config.port)
        host_addresses = await kernel.host_addresses()
        mtu = config.mtu or tunnel_mtu(await kernel.underlay_mtu())
        folder = stack.enter_context(StateFolder.open(config.state_dir))
        agent = cls(
            config=config,
            folder=folder,
            secrets=secrets,
            identity=Identity.load_or_create(folder.path, nickname=config.nickname),
            kernel=kernel,
            mtu=mtu,
            mtus=await opening.open_mtus(kernel, device_mtu=mtu),
            host_addresses=host_addresses,
            electorate=await electorate(config, host_addresses),
            on_ready=on_ready,
        )
        stack.push_async_callback(agent._pods.close)
        agent._listener = await agent._transport.listen(config.port)
        stack.callback(agent._listener.close)
        agent._api = ApiServer.open(config.run_dir / SOCKET_NAME)
        stack.callback(agent._api.close)
        agent._pods.listen(config.run_dir)
        agent._metrics = stack.enter_context(MetricsServer.open(config.metrics_addr))
        return agent

    _listener: Listener
    _api: ApiServer
    _metrics: MetricsServer

    @property
    def ula(self) -> IPv6Network | None:
        """The /96 of pods' IPv6 addresses; None before there is a ring."""
        ring_id = self._pool.allocator.ring_id
        return ula_prefix(ring_id) if ring_id else None

    async def run(self) -> None:
        """Run until told to stop."""
        self._publish()  # before any part speaks to the mesh, or the first that others hear of this life says nothing
        log(INFO, Event.AGENT_STARTED, peer=self._identity.name, datapath=self._kernel.datapath, version=__version__)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopped.set)
        operation = Operation(
            config=self._config,
            identity=self._identity,
            secrets=self._secrets,
            republish=self._publish,
            started_at=self._started_at,
            mtu=self._mtu,
            mesh=self._mesh,
            feed=self._gossip.feed,
            pool=self._pool,
            probes=self._probes,
            paths=self._paths,
            membership=self._membership,
            kernel=self._kernel,
            podside=self._pods,
            readiness=self.readiness,
            rotate_key=self._rotation.rotate,
            findings=lambda: (
                *self._wish.findings,
                *self._reconciler.failures,
                *self._pods.failures,
                *self._paths.failures,
            ),
            terminations=lambda: self._links.terminations,
            stop_agent=self._stopped.set,
        )
        async with asyncio.TaskGroup() as group:
            eternal = (
                self._links.run(self._listener),
                self._gossip.run(),
                self._pool.run(),
                self._reconciler.run(),
                self._rotation.run(),
                self._paths.run(),
                self._saver.run(),
                self._api.serve(operation),
                self._metrics.serve(operation.status),
                self._pods.run(),
                self._start(group),
            )
            tasks = [group.create_task(work) for work in eternal]
            await self._stopped.wait()
            for task in tasks:
                task.cancel()
        await self._saver.save_now()

    async def _start(self, group: asyncio.TaskGroup) -> None:
        """From nothing to ready: a place in the mesh, an address of our own, the tunnels; then keep probing."""
        self._gossip.feed(gossip.ConnectTargets(tuple(Target(text) for text in self._config.targets), replace=True))
        self._overlay_address = await self._arrival.own_address(self._pool, self._wait_for_address)
        if self._overlay_address is None:
            return
        self._reconciler.changed()
        await self._reconciler.wait_applied()
        self._publish()
        probing = group.create_task(self._probe(self._overlay_address))
        try:
            await self._become_ready(self._overlay_address)
            await self._stopped.wait()
        finally:
            probing.cancel()

    async def _become_ready(self, address: IPv4Address) -> None:
        self._watch_tunnels()
        await self._arrival.first_contact(is_expected=bool(self._config.targets))
        self.readiness.step("waiting for the tunnels to answer")
        await self._arrival.first_tunnels()
        if self._membership.is_removed:
            return
        others = len(self._mesh.peers()) - 1
        sentence = opening.ready_sentence(self._identity, address, others=others, datapath=self._kernel.datapath)
        log(INFO, Event.AGENT_READY, address=address)
        self.readiness.finish(sentence)
        self._on_ready(sentence)

    async def _probe(self, address: IPv4Address) -> None:
        try:
            await self._probes.run(address)
        except UserError:
            if not self._membership.is_removed:  # then the address has gone
                raise

    def _wait_for_address(self, refused: AllocationRefused) -> None:
        """Tell people what is missing; UserError where it can never come."""
        if not self._pool.allocator.ready:
            opening.refuse_wrong_secret(self._mesh.targets(), self._links.failures, self._secrets.shown.fingerprint())
        reasons = [f"{target}: {failure.reason}" for target, failure in self._links.failures.items()]
        excuse = with_nicknames(str(refused), self._membership.nicknames())
        self.readiness.step("; ".join((f"waiting for an address: {excuse}", *reasons)))

    def _publish(self) -> None:
        """Tell the mesh what we are."""
        endpoints = [Endpoint(address, self._config.port) for address in self._host_addresses]
        summary = Summary(
            nickname=self._identity.nickname,
            version=__version__,
            wireguard_public_key=bytes(self._rotation.announced),
            port=self._config.port,
            advertised=tuple(endpoint.text() for endpoint in self._config.advertise),
            endpoints=tuple(endpoint.text() for endpoint in endpoints),
            overlay_ipv4=str(self._overlay_address) if self._overlay_address else None,
            datapath=self._kernel.datapath,
            mtu=self._mtu,
            started_at=self._started_at,
            secrets=self._secrets.fingerprints(),
            seen_as=tuple(endpoint.text() for endpoint in self._paths.paths.seen.endpoints()),
            relay_ports=self._paths.relay_ports,
            node=self._config.node,
        )
        self._gossip.feed(gossip.PublishSummary(summary.encode()))
        self._peer_news.notice()

    def _perform(self, output: gossip.Output) -> None:
        match output:
            case gossip.Dial() | gossip.SendFrame() | gossip.CloseLink():
                self._links.perform(output)
            case gossip.PeerChanged(peer=peer):
                self._book.changed(peer)
                self._peer_news.notice()
            case gossip.Persist():
                self._saver.changed()
            case gossip.FencedBy(peer=peer):
                self._membership.fenced_by(peer)
            case gossip.Delivered(channel=channel, source=source, payload=payload) if channel == PATH_CHANNEL:
                self._paths.hear_call(source, payload)
            case gossip.Delivered(source=source, payload=payload, unicast=True):
                self._pool.feed(ipam_crdt.MessageReceived(Owner(source), payload))
            case gossip.Delivered(source=source, payload=payload):
                self._pool.feed(ipam_crdt.RingReceived(Owner(source), payload))

    def _act_on_news(self) -> None:
        self._membership.news()
        self._reconciler.changed()
        self._watch_tunnels()
        self._arrival.news()

    def _leave_overlay(self) -> None:
        """We were removed: others have our addresses. The plan is empty from now on, and people are told."""
        self.readiness.refuse(REMOVED, REMOVED_REMEDY)
        self._reconciler.changed()

    def _hear_link(self, event: LinkInput) -> None:
        self._gossip.feed(event)
        self._paths.glance()
        if isinstance(event, gossip.LinkOpened) and event.target is not None:
            self._peer_news.notice()  # who is at that target may be news, also where nothing of that peer is

    def _watch_tunnels(self) -> None:
        if self._overlay_address is not None:
            self._probes.watch({} if self._membership.is_removed else self._book.probe_addresses(self._wish.owned))

    def _look_for_paths(self) -> None:
        """Only to whom the device knows: a handshake that comes before that is lost, and the next is 5 s later."""
        if self._membership.is_removed:
            self._paths.know((), {})
        elif self._overlay_address is not None:
            self._paths.know(self._book.planned(), self._book.path_peers())

    def _move(self, addresses: tuple[IPAddress, ...]) -> None:
        self._host_addresses = addresses
        self._publish()

    def _hear_tunnel(self, event: TunnelAlive | TunnelDead) -> None:
        self._paths.hear_tunnel(event)
        if isinstance(event, TunnelDead) or event.is_first:
            log(INFO, Event.PATH_CHANGED, peer=event.peer, answers=isinstance(event, TunnelAlive))
            self._arrival.news()

    def _resized(self, event: MtuChanged) -> None:
        log(INFO, Event.PATH_CHANGED, peer=event.peer, mtu=event.octets)
        self._reconciler.changed()

    def _plan(self) -> DesiredState | None:
        return self._wish.plan(self._overlay_address, is_removed=self._membership.is_removed)
