"""What has to be done to get from what a kernel holds to what it should hold.

Theory of operation. Nothing is ever torn down to be built anew, and everything is added before anything is
taken away, in an order in which no packet can leave in clear and none that has a way is lost:

1. the `unreachable` routes, before there is a device, so that pod addresses never leave by another interface;
2. the device: made, key and port, MTU, addresses, up;
3. peers: new ones, and what is new of those that stay. An allowed IP that changes its peer is set on the new
   one, which takes it from the old one in one step (WireGuard's cryptokey table holds each prefix once);
4. routes into the device;
5. a device that has a key gets the other one that it is to have: when all its peers have the secrets that go with it;
6. removals: routes, allowed IPs, peers, addresses.

A learned endpoint outranks a wished one as long as the tunnel is alive: WireGuard follows its peer through
NATs by itself, and writing the wish over it would break what works.

A peer that changes its key (`weavemesh.rotation`) is a new peer to WireGuard. It takes the allowed IPs from the old
one, inherits where that was heard from, and is greeted at once: it cannot send before a handshake with the new key.

Not here: performing the actions (`weavemesh.kernel.applier`).
"""

from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from weavemesh.overlay.state import (
    KEY_BYTES,
    DesiredState,
    Endpoint,
    IPInterface,
    IPNetwork,
    ObservedPeer,
    ObservedState,
    PresharedKey,
    PrivateKey,
    PublicKey,
    Route,
    WireGuardPeer,
)

T = TypeVar("T")

HANDSHAKE_LIVE_S = 180.0
"""A session may be used for 180 s after its handshake (WireGuard paper, §6.1: Reject-After-Time)."""

NO_PRESHARED_KEY = PresharedKey(bytes(KEY_BYTES))
"""All zero clears the preshared key of a peer (WireGuard cross-platform interface, `preshared_key`)."""


class CreateDevice(Struct, frozen=True):
    """Make the tunnel device; whatever else has its name and is a dead tunnel of ours goes."""

    interface: str


class ConfigureDevice(Struct, frozen=True):
    """Set what differs of the device's own settings; None leaves a setting as it is."""

    private_key: PrivateKey | None
    listen_port: int | None


class SetMtu(Struct, frozen=True):
    """Set the device's MTU."""

    mtu: int
    """Bytes of an inner packet."""


class BringUp(Struct, frozen=True):
    """Let the device carry packets."""


class AddAddress(Struct, frozen=True):
    """Give the device an address, without duplicate address detection."""

    address: IPInterface


class RemoveAddress(Struct, frozen=True):
    """Take an address from the device."""

    address: IPInterface


class SetPeer(Struct, frozen=True):
    """Add a peer, or change one; None and () leave what is there."""

    public_key: PublicKey
    exists: bool
    """True if the device had it when it was observed; it is then not made again if it has gone meanwhile."""
    preshared_key: PresharedKey | None
    endpoint: Endpoint | None
    allowed_ips: tuple[IPNetwork, ...]
    """To be added to those that it has."""
    greet: bool = False
    """Shake hands at once, without waiting for a packet to send."""


class DiscardAllowedIps(Struct, frozen=True):
    """Take allowed IPs from peers that stay.

    WireGuard has no such request (before Linux 6.15), and replacing a peer's list leaves a moment in which
    it has none. So they are moved to a peer with `DISCARD_KEY`, which is then removed; the other allowed
    IPs of the peer are not touched.
    """

    allowed_ips: tuple[IPNetwork, ...]


class RemovePeer(Struct, frozen=True):
    """End a tunnel."""

    public_key: PublicKey


class AddRoute(Struct, frozen=True):
    """Add a route; fails if somebody else has the very same one."""

    route: Route


class ReplaceRoute(Struct, frozen=True):
    """Exchange a route of ours for one with another source or MTU, in one step."""

    route: Route


class RemoveRoute(Struct, frozen=True):
    """Take one of our routes away."""

    route: Route


Action = (
    CreateDevice
    | ConfigureDevice
    | SetMtu
    | BringUp
    | AddAddress
    | RemoveAddress
    | SetPeer
    | DiscardAllowedIps
    | RemovePeer
    | AddRoute
    | ReplaceRoute
    | RemoveRoute
)


def diff(desired: DesiredState, observed: ObservedState, *, now: float) -> tuple[Action, ...]:
    """The actions in the order to perform them; none if the kernel is as it should be.

    `now` is Unix time in seconds, as that of the observed handshakes. A device that is not there is observed
    as `absent()`, together with whatever routes have outlived it.
    """
    added, removed = _route_changes(desired.routes, observed.routes)
    peers, discarded = _peer_changes(desired.peers, observed.peers, now)
    device, key = _device_changes(desired, observed)
    return (
        *(action for action in added if action.route.kind == "unreachable"),
        *device,
        *peers,
        *(action for action in added if action.route.kind == "device"),
        *key,
        *removed,
        *discarded,
        *(RemoveAddress(address) for address in observed.addresses if address not in desired.addresses),
    )


def step(held: DesiredState, desired: DesiredState) -> tuple[Action, ...] | None:
    """The actions from one plan, which the kernel is known to hold, to the next; None where it must be looked at first.

    What it costs depends on what has changed alone, and nothing has to be read: so a mesh of a thousand can take in one
    peer more. It must be looked at where something goes that may be in use, or an endpoint changes that the device may
    have learned better. Of peers that are the very same object nothing is compared.
    """
    old_peers, new_peers = _parted(held.peers, desired.peers)
    before = {peer.public_key: peer for peer in old_peers}
    changed = [peer for peer in new_peers if before.get(peer.public_key) is not peer]
    present = [before[peer.public_key] for peer in changed if peer.public_key in before]
    news = len(changed) - len(present)
    if len(old_peers) + news != len(new_peers):
        return None  # somebody goes
    if any(peer.endpoint != before[peer.public_key].endpoint for peer in changed if peer.public_key in before):
        return None
    if replace(held, peers=(), routes=()) != replace(desired, peers=(), routes=()):
        return None
    old_routes, new_routes = _parted(held.routes, desired.routes)
    routes = set(old_routes) ^ set(new_routes)
    observed = ObservedState(
        interface=held.interface,
        up=True,
        mtu=held.mtu,
        private_key=held.private_key,
        listen_port=held.listen_port,
        addresses=held.addresses,
        peers=tuple(
            ObservedPeer(peer.public_key, peer.preshared_key, peer.endpoint, peer.allowed_ips, None, 0, 0)
            for peer in present
        ),
        routes=tuple(route for route in old_routes if route in routes),
    )
    wish = replace(desired, peers=tuple(changed), routes=tuple(route for route in new_routes if route in routes))
    return diff(wish, observed, now=0.0)


def _parted(one: tuple[T, ...], other: tuple[T, ...]) -> tuple[tuple[T, ...], tuple[T, ...]]:
    """What is left of both without the very same objects at their beginnings and at their ends."""
    length = min(len(one), len(other))
    start = end = 0
    while start < length and one[start] is other[start]:
        start += 1
    while end < length - start and one[-1 - end] is other[-1 - end]:
        end += 1
    return one[start : len(one) - end], other[start : len(other) - end]


def absent(interface: str, routes: tuple[Route, ...]) -> ObservedState:
    """What is observed when there is no device of this name: an MTU of 0, and the routes that are left."""
    return ObservedState(
        interface=interface,
        up=False,
        mtu=0,
        private_key=None,
        listen_port=0,
        addresses=(),
        peers=(),
        routes=routes,
    )


def _device_changes(desired: DesiredState, observed: ObservedState) -> tuple[list[Action], list[Action]]:
    """What comes before the peers, and the exchange of one key for another, which comes after them."""
    changes: list[Action] = [CreateDevice(desired.interface)] if observed.mtu == 0 else []
    key = None if desired.private_key == observed.private_key else desired.private_key
    port = None if desired.listen_port == observed.listen_port else desired.listen_port
    exchange: list[Action] = []
    if key is not None and observed.private_key is not None:
        exchange.append(ConfigureDevice(key, None))
        key = None
    if key is not None or port is not None:
        changes.append(ConfigureDevice(key, port))
    if desired.mtu != observed.mtu:
        changes.append(SetMtu(desired.mtu))
    changes += [AddAddress(address) for address in desired.addresses if address not in observed.addresses]
    if not observed.up:
        changes.append(BringUp())
    return changes, exchange


def _peer_changes(
    desired: tuple[WireGuardPeer, ...], observed: tuple[ObservedPeer, ...], now: float
) -> tuple[list[Action], list[Action]]:
    seen = {peer.public_key: peer for peer in observed}
    kept = {peer.public_key for peer in desired}
    wanted: dict[IPNetwork, PublicKey] = {}
    for peer in desired:
        for network in peer.allowed_ips:
            wanted.setdefault(network, peer.public_key)
    leaving = {
        frozenset(peer.allowed_ips): peer for peer in observed if peer.public_key not in kept and peer.allowed_ips
    }
    changes: list[Action] = []
    for peer in desired:
        own = tuple(network for network in peer.allowed_ips if wanted[network] == peer.public_key)
        present = seen.get(peer.public_key)
        if present is None:
            changes.append(_new_peer(peer, own, leaving.get(frozenset(own)), now))
        elif change := _peer_change(peer, own, present, now):
            changes.append(change)
    superfluous = tuple(
        network for peer in observed if peer.public_key in kept for network in peer.allowed_ips if network not in wanted
    )
    removals: list[Action] = [DiscardAllowedIps(superfluous)] if superfluous else []
    removals += [RemovePeer(peer.public_key) for peer in observed if peer.public_key not in kept]
    return changes, removals


def _new_peer(
    peer: WireGuardPeer, allowed_ips: tuple[IPNetwork, ...], before: ObservedPeer | None, now: float
) -> SetPeer:
    """`before` is a peer that goes and had exactly these allowed IPs: the same one with its former key."""
    succeeds = before is not None and _is_live(before, now)
    return SetPeer(
        peer.public_key,
        exists=False,
        preshared_key=peer.preshared_key,
        endpoint=before.endpoint if before is not None and succeeds else peer.endpoint,
        allowed_ips=allowed_ips,
        greet=succeeds,
    )


def _peer_change(
    peer: WireGuardPeer, allowed_ips: tuple[IPNetwork, ...], seen: ObservedPeer, now: float
) -> SetPeer | None:
    preshared_key = None if peer.preshared_key == seen.preshared_key else peer.preshared_key or NO_PRESHARED_KEY
    endpoint = None if peer.endpoint == seen.endpoint or _is_live(seen, now) else peer.endpoint
    held = set(seen.allowed_ips)
    missing = tuple(network for network in allowed_ips if network not in held)
    if preshared_key is None and endpoint is None and not missing:
        return None
    return SetPeer(peer.public_key, exists=True, preshared_key=preshared_key, endpoint=endpoint, allowed_ips=missing)


def _is_live(seen: ObservedPeer, now: float) -> bool:
    """A handshake far in the future (a clock set back) proves nothing."""
    if seen.endpoint is None or seen.last_handshake is None:
        return False
    return abs(now - seen.last_handshake) < HANDSHAKE_LIVE_S


def _route_changes(
    desired: tuple[Route, ...], observed: tuple[Route, ...]
) -> tuple[list[AddRoute | ReplaceRoute], list[Action]]:
    held = {(route.destination, route.kind): route for route in observed}
    wanted = {(route.destination, route.kind) for route in desired}
    changes: list[AddRoute | ReplaceRoute] = []
    for route in desired:
        before = held.get((route.destination, route.kind))
        if before is None:
            changes.append(AddRoute(route))
        elif before != route:
            changes.append(ReplaceRoute(route))
    gone = [route for route in observed if (route.destination, route.kind) not in wanted]
    gone.sort(key=lambda route: route.kind)  # `unreachable` goes last
    return changes, [RemoveRoute(route) for route in gone]
