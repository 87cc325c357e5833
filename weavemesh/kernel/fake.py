"""A kernel in memory: the `Tunnel` for tests without root.

It performs the very same actions in the very same order as `applier.Kernel`, on a value instead of a kernel,
and shows itself as text. What only a kernel does (timing, packets) it does not imitate; the golden cases of
its tests run on real namespaces too.
"""

from collections.abc import Callable
from typing import Literal, assert_never

from msgspec.structs import replace

from weavemesh.kernel.sentence import describe
from weavemesh.overlay.diff import (
    NO_PRESHARED_KEY,
    Action,
    AddAddress,
    AddRoute,
    BringUp,
    ConfigureDevice,
    CreateDevice,
    DiscardAllowedIps,
    RemoveAddress,
    RemovePeer,
    RemoveRoute,
    ReplaceRoute,
    SetMtu,
    SetPeer,
    absent,
    diff,
)
from weavemesh.overlay.state import (
    DesiredState,
    Endpoint,
    IPAddress,
    IPNetwork,
    ObservedPeer,
    ObservedState,
    PublicKey,
    overlap,
    render,
)
from weavemesh.overlay.tunnel import ApplyReport

_NEW_DEVICE_MTU = 1420


class FakeKernel:
    """One host without a kernel."""

    datapath: Literal["fake"] = "fake"

    def __init__(self, *, interface: str, clock: Callable[[], float], underlay_mtu: int = 1500) -> None:
        self._state = absent(interface, ())
        self._clock = clock
        self._underlay_mtu = underlay_mtu
        self.foreign_routes: dict[IPNetwork, str] = {}
        """Routes of the host that are not ours, and their interface."""
        self.addresses: tuple[IPAddress, ...] = ()
        """What `host_addresses` answers."""
        self.refusals: dict[type[Action], str] = {}
        """Actions that this kernel refuses, and why."""

    def render(self) -> str:
        """The device and the routes as text."""
        return render(self._state)

    def shake_hands(self, public_key: PublicKey, endpoint: Endpoint) -> None:
        """Let a peer be heard from, now, at this endpoint; KeyError for one that is not there."""
        peer = {peer.public_key: peer for peer in self._state.peers}[public_key]
        self._put(replace(peer, endpoint=endpoint, last_handshake=self._clock()))

    def lose_device(self) -> None:
        """The device is removed by hand, or its process killed: the routes into it go with it."""
        routes = tuple(route for route in self._state.routes if route.kind != "device")
        self._state = absent(self._state.interface, routes)

    async def apply(self, desired: DesiredState) -> ApplyReport:
        """See Tunnel."""
        done: list[Action] = []
        failures: list[str] = []
        for action in diff(desired, self._state, now=self._clock()):
            reason = self.refusals.get(type(action))
            if reason is None:
                self._perform(action)
                done.append(action)
                continue
            failures.append(f"{describe(action)} failed: {reason}")
            if isinstance(action, CreateDevice | ConfigureDevice | BringUp):
                break
        return ApplyReport(tuple(done), (), tuple(failures))

    async def observe(self) -> ObservedState | None:
        """See Tunnel."""
        return self._state if self._state.mtu else None

    async def routes_overlapping(self, network: IPNetwork) -> tuple[str, ...]:
        """See Tunnel."""
        return tuple(
            f"{destination} dev {name}"
            for destination, name in self.foreign_routes.items()
            if overlap(destination, network)
        )

    async def host_addresses(self) -> tuple[IPAddress, ...]:
        """See Tunnel."""
        return self.addresses

    async def underlay_mtu(self) -> int:
        """See Tunnel."""
        return self._underlay_mtu

    async def close(self) -> None:
        """See Tunnel."""

    def _perform(self, action: Action) -> None:
        state = self._state
        match action:
            case CreateDevice():
                self._state = replace(state, mtu=_NEW_DEVICE_MTU)
            case ConfigureDevice() | SetMtu() | BringUp() | AddAddress() | RemoveAddress():
                self._perform_on_device(action)
            case SetPeer() | DiscardAllowedIps() | RemovePeer():
                self._perform_on_peers(action)
            case AddRoute(route=route):
                self._state = replace(state, routes=(*state.routes, route))
            case ReplaceRoute(route=new):
                routes = (
                    new if (route.destination, route.kind) == (new.destination, new.kind) else route
                    for route in state.routes
                )
                self._state = replace(state, routes=tuple(routes))
            case RemoveRoute(route=gone):
                self._state = replace(state, routes=tuple(route for route in state.routes if route != gone))
            case _:
                assert_never(action)

    def _perform_on_device(self, action: ConfigureDevice | SetMtu | BringUp | AddAddress | RemoveAddress) -> None:
        state = self._state
        match action:
            case ConfigureDevice(private_key=private_key, listen_port=listen_port):
                self._state = replace(
                    state,
                    private_key=private_key or state.private_key,
                    listen_port=state.listen_port if listen_port is None else listen_port,
                )
            case SetMtu(mtu=mtu):
                self._state = replace(state, mtu=mtu)
            case BringUp():
                self._state = replace(state, up=True)
            case AddAddress(address=address):
                self._state = replace(state, addresses=(*state.addresses, address))
            case RemoveAddress(address=address):
                self._state = replace(state, addresses=tuple(have for have in state.addresses if have != address))
            case _:
                assert_never(action)

    def _perform_on_peers(self, action: SetPeer | DiscardAllowedIps | RemovePeer) -> None:
        match action:
            case SetPeer(public_key=key, allowed_ips=allowed_ips):
                self._take(allowed_ips)
                before = {peer.public_key: peer for peer in self._state.peers}.get(
                    key, ObservedPeer(key, None, None, (), None, 0, 0)
                )
                secret = action.preshared_key or before.preshared_key
                self._put(
                    replace(
                        before,
                        preshared_key=None if secret == NO_PRESHARED_KEY else secret,
                        endpoint=action.endpoint or before.endpoint,
                        allowed_ips=(*before.allowed_ips, *allowed_ips),
                    )
                )
            case DiscardAllowedIps(allowed_ips=allowed_ips):
                self._take(allowed_ips)
            case RemovePeer(public_key=key):
                peers = tuple(peer for peer in self._state.peers if peer.public_key != key)
                self._state = replace(self._state, peers=peers)
            case _:
                assert_never(action)

    def _take(self, networks: tuple[IPNetwork, ...]) -> None:
        """WireGuard has each allowed IP once: who is given one takes it from whoever had it."""
        peers = (
            replace(peer, allowed_ips=tuple(have for have in peer.allowed_ips if have not in networks))
            for peer in self._state.peers
        )
        self._state = replace(self._state, peers=tuple(peers))

    def _put(self, peer: ObservedPeer) -> None:
        others = tuple(have for have in self._state.peers if have.public_key != peer.public_key)
        self._state = replace(self._state, peers=(*others, peer))
