"""Runs the path machine and the relay: knocks through raw sockets, calls over the mesh, endpoints into the device.

Decides nothing: whom to knock at and where to send is `weavemesh.overlay.path`'s, whom to forward
`weavemesh.overlay.relay`'s business. What the kernel forwards and where the device sends stays when this ends.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from logging import INFO, WARNING

from msgspec import Struct

from gossip import PathReport, PeerName
from gossip.record import REPORT_CHARACTERS_MAX
from weavemesh.callwire import decode_call, encode_call
from weavemesh.driver import Driver
from weavemesh.glance import Glance
from weavemesh.kernel.addresswatch import AddressWatch
from weavemesh.kernel.carried import CarriedOctets
from weavemesh.kernel.device import DeviceError
from weavemesh.kernel.forwarding import RELAY_PORTS, KernelRelay
from weavemesh.kernel.nftables import NftablesError
from weavemesh.kernel.nftables import is_installed as has_nft
from weavemesh.logs import Event, log
from weavemesh.overlay import pathevent
from weavemesh.overlay.knock import MAGIC, KnockKey, KnockMessage, decode, sender_of
from weavemesh.overlay.path import Paths
from weavemesh.overlay.pathevent import DIRECT, PathInput, PathOutput, PathPeer, PathView
from weavemesh.overlay.plan import PlannedPeer
from weavemesh.overlay.probe import ProbeName, TunnelAlive, TunnelDead
from weavemesh.overlay.relay import BindAnswer, BindHeard, End, ForwardingsChanged, Relay, RelayOutput
from weavemesh.overlay.state import Endpoint, IPAddress, PublicKey
from weavemesh.overlay.tunnel import Steering, Turn
from weavemesh.overlay.usage import Usage
from weavemesh.probing import TunnelProbes
from weavemesh.transport.carrier import Carrier
from weavemesh.transport.rawport import RawPort

LOOK_INTERVAL_S = 1.0
LOOK_INTERVAL_IDLE_S = 15.0
"""While no tunnel is in use, or so little that a glance does not show it."""
LOOK_PEERS_PER_SECOND = 200
"""Reading a device takes time in proportion to its peers: with more than these it is looked at less often."""
REPORT_AFTER_S = 5.0
"""The mesh is told of a path that has not been direct for so long: what mends itself is nobody's news, and each piece
of news crosses the whole mesh.
"""
REPORT_PAUSE_S = 1.5
"""News of paths are told in one piece."""
GREET_AFTER_S = 0.3
"""Of two ends that have found a path at once the one with the greater name waits so long with its greeting: WireGuard
gives up its own handshake for the other end's, so that two which cross leave both ends without a session for 5 s.
"""
ADDRESSES_SETTLE_S = 0.2
"""An address that changes goes before it comes."""


class Known(Struct, frozen=True):
    """A peer's keys: of its device, and what proves its knocks."""

    public_key: PublicKey
    knock_key: KnockKey


class PathFinder:
    """All paths of this host. Nothing is sent before `run`."""

    def __init__(
        self,
        *,
        name: PeerName,
        port: int,
        relays: bool,
        tunnel: Steering,
        carried: CarriedOctets,
        probes: TunnelProbes,
        send_call: Callable[[PeerName, bytes], None],
        report: Callable[[tuple[PathReport, ...]], None],
        chose: Callable[[PeerName], None],
        seen_elsewhere: Callable[[], None],
        moved: Callable[[tuple[IPAddress, ...]], None],
        lost: Callable[[], None],
    ) -> None:
        """`carried` counts what the device has carried; `lost` is called when it is another device."""
        self._name, self._port = name, port
        self._tunnel, self._carried, self._probes = tunnel, carried, probes
        self._glance = Glance(carried.read)
        self._send_call, self._report = send_call, report
        self._chose, self._seen_elsewhere, self._moved = chose, seen_elsewhere, moved
        self._lost = lost
        self._relays = relays
        self._known: dict[PeerName, Known] = {}
        self._secrets: dict[PeerName, tuple[object, Known]] = {}
        self.paths = Paths(name=name, nonce=time.time_ns())
        self.relay = Relay(willing=relays)
        self.kernel_relay = KernelRelay()
        self.carrier = Carrier()
        self._driver: Driver[PathInput, PathOutput] = Driver(self.paths, self._perform)
        self._relay_driver: Driver[BindHeard, RelayOutput] = Driver(self.relay, self._perform_relay)
        self._usage = Usage()
        self._raw: RawPort | None = None
        self._steering: dict[PeerName, tuple[Endpoint, bool]] = {}
        self._steer_now = asyncio.Event()
        self._forward_now = asyncio.Event()
        self._report_now = asyncio.Event()
        self._forwarded: frozenset[tuple[PeerName, PeerName]] = frozenset()
        self._failure: str | None = None
        """Why the kernel does not forward what it should."""

    # -- what others tell -----------------------------------------------------------------------------

    def know(self, planned: Iterable[PlannedPeer], peers: Mapping[PeerName, PathPeer]) -> None:
        """Have paths to exactly these peers."""
        self._known = {peer.name: self._keys(peer) for peer in planned if peer.preshared_key is not None}
        self._secrets = {name: entry for name, entry in self._secrets.items() if name in self._known}
        self._driver.feed(
            pathevent.PathPeers(
                {name: peer for name, peer in peers.items() if name in self._known and name != self._name}
            )
        )

    def hear_call(self, peer: PeerName, content: bytes) -> None:
        """A unicast of the mesh."""
        if (call := decode_call(content)) is not None:
            self._driver.feed(pathevent.CallHeard(peer, call))

    def hear_tunnel(self, event: TunnelAlive | TunnelDead) -> None:
        """The prober has heard, or has not."""
        if isinstance(event, TunnelDead):
            self._driver.feed(pathevent.TunnelSilent(PeerName(event.peer)))
        else:
            self._driver.feed(pathevent.TunnelAnswered(PeerName(event.peer), event.rtt_s))

    def glance(self) -> None:
        """Somebody has woken us: see by the way whether the device is in use."""
        self._glance.glance()

    # -- questions ------------------------------------------------------------------------------------

    def view(self, peer: str) -> PathView | None:
        """The path to this peer."""
        return self.paths.view(PeerName(peer))

    def chosen(self, peer: PeerName) -> Endpoint | None:
        """The endpoint that was found to work."""
        view = self.paths.view(peer)
        return view.endpoint if view is not None else None

    @property
    def relay_ports(self) -> tuple[int, int] | None:
        """The ports at which this host forwards for others, the first and the last; None if it does not."""
        return (RELAY_PORTS[0], RELAY_PORTS[-1]) if self._relays and has_nft() else None

    @property
    def failures(self) -> tuple[str, ...]:
        """What does not work here, as sentences."""
        return () if self._failure is None else (self._failure,)

    # -- performing -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look for paths until cancelled. UserError without the right to open raw sockets."""
        self._raw = RawPort.open(port=self._port, others=RELAY_PORTS, magic=MAGIC)
        try:
            async with asyncio.TaskGroup() as group:
                for work in (
                    self._driver.run(),
                    self._relay_driver.run(),
                    self._receive(self._raw),
                    self._steer(),
                    self._look(),
                    self._watch_addresses(),
                    self._forward(),
                    self._tell(),
                ):
                    group.create_task(work)
        finally:
            self._raw.close()
            self._raw = None
            self.carrier.close()
            self._carried.close()

    def _perform(self, output: PathOutput) -> None:
        match output:
            case pathevent.Knock(peer=peer, endpoint=endpoint, nonce=nonce, bind_for=bind_for, uses=uses):
                message = KnockMessage(sender=self._name, receiver=peer, nonce=nonce, bind_for=bind_for, uses=uses)
                self._send(message, endpoint)
            case pathevent.SetEndpoint(peer=peer, endpoint=endpoint, greet=greet):
                if greet and peer < self._name:
                    asyncio.get_running_loop().call_later(GREET_AFTER_S, self._greet, peer, endpoint)
                    greet = False
                self._steering[peer] = (endpoint, greet or self._steering.get(peer, (endpoint, False))[1])
                self._steer_now.set()
                self._chose(peer)
            case pathevent.SendCall(peer=peer, call=call):
                asyncio.get_running_loop().call_soon(self._send_call, peer, encode_call(call))
            case pathevent.PathsChanged():
                self._report_now.set()
            case pathevent.SeenAsChanged():
                asyncio.get_running_loop().call_soon(self._seen_elsewhere)

    def _greet(self, peer: PeerName, endpoint: Endpoint) -> None:
        """Greet at an endpoint that was chosen a moment ago, if it is still in use."""
        view = self.paths.view(peer)
        if view is not None and view.endpoint == endpoint:
            self._steering[peer] = (endpoint, True)
            self._steer_now.set()

    def _perform_relay(self, output: RelayOutput) -> None:
        match output:
            case ForwardingsChanged():
                self._forward_now.set()
            case BindAnswer(peer=peer, other=other, end=end, nonce=nonce):
                # Both are bound only when the kernel knows: what came before would be lost.
                both = output.both_bound and (min(peer, other), max(peer, other)) in self._forwarded
                answer = KnockMessage(
                    sender=self._name,
                    receiver=peer,
                    nonce=nonce,
                    seen_as=end.source,
                    both_bound=both,
                    other_uses=both and output.other_uses,
                    refused=output.refused or self._failure is not None,
                )
                self._send(answer, end.source, local=end.local)

    def _send(self, message: KnockMessage, to: Endpoint, *, local: Endpoint | None = None) -> None:
        known = self._known.get(message.receiver)
        if self._raw is not None and known is not None:
            self._raw.send(message.encode(known.knock_key), to, local=local)

    async def _receive(self, raw: RawPort) -> None:
        async for content, source, local in raw:
            sender = sender_of(content)
            known = None if sender is None else self._known.get(sender)
            message = None if known is None else decode(content, known.knock_key)
            if message is None or message.receiver != self._name:
                continue
            if message.seen_as is not None:
                self._driver.feed(
                    pathevent.KnockAnswered(
                        message.sender,
                        message.nonce,
                        message.seen_as,
                        message.both_bound,
                        message.other_uses,
                        message.refused,
                    )
                )
            elif local.port != self._port:
                if message.bind_for is not None:
                    end = End(source, local)
                    bind = BindHeard(message.sender, message.bind_for, end, message.nonce, message.uses)
                    self._relay_driver.feed(bind)
            elif message.bind_for is None:
                answer = KnockMessage(sender=self._name, receiver=message.sender, nonce=message.nonce, seen_as=source)
                self._send(answer, source, local=local)
                self._driver.feed(pathevent.KnockHeard(message.sender, source))

    async def _steer(self) -> None:
        while True:
            await self._steer_now.wait()
            self._steer_now.clear()
            steering, self._steering = self._steering, {}
            turns = {peer: self._turn(peer, *steering[peer]) for peer in steering if peer in self._known}
            if not await self._have_steered(list(turns.values())) and len(turns) > 1:
                for turn in turns.values():  # one of them may be to blame: the others go on
                    await self._have_steered([turn])
            for peer, turn in turns.items():
                if turn.greet:
                    via = self.paths.via(peer)
                    log(INFO, Event.PATH_CHANGED, peer=peer, via=via, endpoint=turn.endpoint.text())
                    self._probes.path_changed(ProbeName(peer))

    def _turn(self, peer: PeerName, endpoint: Endpoint, greet: bool) -> Turn:  # noqa: FBT001 - as it is kept
        # Of two ends one begins anew: the one with the smaller name, which also chooses the relay.
        return Turn(self._known[peer].public_key, endpoint, greet, renew=greet and self._name < peer)

    async def _have_steered(self, turns: Sequence[Turn]) -> bool:
        try:
            await self._tunnel.steer(turns)
        except DeviceError:  # no device yet, or none any more: the plan puts it there, with the endpoints
            return False
        return True

    async def _look(self) -> None:
        """See where the device sends by itself, and which tunnels are in use."""
        while True:
            names = {known.public_key: name for name, known in self._known.items()}
            with suppress(DeviceError):
                peers = [
                    (names[peer.public_key], peer) for peer in await self._tunnel.peers() if peer.public_key in names
                ]
                now = asyncio.get_running_loop().time()
                used = self._usage.look(
                    {name: peer.rx_bytes + peer.tx_bytes for name, peer in peers}, self._probed, now
                )
                self._probes.use(frozenset(ProbeName(name) for name in used))
                self._driver.feed(
                    pathevent.DeviceSeen({name: peer.endpoint for name, peer in peers if peer.endpoint is not None})
                )
            if self._usage.is_any_used:
                await asyncio.sleep(max(LOOK_INTERVAL_S, len(names) / LOOK_PEERS_PER_SECOND))
            else:
                await self._glance.rest(max(LOOK_INTERVAL_IDLE_S, len(names) / LOOK_PEERS_PER_SECOND))

    def _probed(self, peer: PeerName) -> int:
        return self._probes.octets_with(ProbeName(peer))

    async def _watch_addresses(self) -> None:
        try:
            watch = AddressWatch.open()
        except OSError:
            return
        try:
            before, carried = await self._tunnel.host_addresses(), self._carried.read()
            self._driver.feed(pathevent.AddressesChanged(before))
            while True:
                await watch.changed(settle_s=ADDRESSES_SETTLE_S)
                carried, carried_before = self._carried.read(), carried
                if carried < carried_before:  # with a device go its addresses and routes; a new one counts from nothing
                    self._lost()
                addresses = await self._tunnel.host_addresses()
                if addresses != before:
                    before = addresses
                    self._moved(addresses)
                    self._driver.feed(pathevent.AddressesChanged(addresses))
        finally:
            watch.close()

    async def _forward(self) -> None:
        await self.kernel_relay.adopt()
        self._forward_now.set()  # what nobody has bound again by now is forwarded no longer
        while True:
            await self._forward_now.wait()
            self._forward_now.clear()
            pairs = self.relay.forwardings()
            carried = self.carrier.carry(pair for pair in pairs if not pair.is_one_family)
            pairs = tuple(pair for pair in pairs if pair.is_one_family)
            try:
                await self.kernel_relay.forward(pairs)
            except NftablesError as error:
                if self._failure is None:
                    log(WARNING, Event.KERNEL_FAILED, reason=error.reason)
                self._failure = f"nothing can be forwarded for other peers: {error.reason}"
                continue
            self._failure = None
            self._forwarded = carried | {(pair.one_name, pair.other_name) for pair in pairs}

    async def _tell(self) -> None:
        """Tell the mesh which paths are not direct, and why."""
        since: dict[PeerName, float] = {}
        loop = asyncio.get_running_loop()
        while True:
            await self._report_now.wait()
            await asyncio.sleep(REPORT_PAUSE_S)
            self._report_now.clear()
            views = {name: view for name in sorted(self._known) if (view := self.paths.view(name)) and view.reason}
            since = {name: since.get(name, loop.time()) for name in views}
            reports = []
            for name, view in views.items():
                if loop.time() - since[name] < REPORT_AFTER_S:
                    self._report_now.set()  # look again
                    continue
                relay = None if view.via in (None, DIRECT) else PeerName(str(view.via))
                reports.append(PathReport(name, relay, view.reason[:REPORT_CHARACTERS_MAX]))
            self._report(tuple(sorted(reports, key=lambda one: one.relay is not None)))

    def _keys(self, peer: PlannedPeer) -> Known:
        """Made once for each secret."""
        assert peer.preshared_key is not None
        secret = (peer.public_key, peer.preshared_key)
        held = self._secrets.get(peer.name)
        if held is None or held[0] != secret:
            held = (secret, Known(peer.public_key, KnockKey.of(peer.preshared_key)))
            self._secrets[peer.name] = held
        return held[1]
