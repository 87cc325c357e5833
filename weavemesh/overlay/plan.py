"""From who owns which addresses to what this host's kernel should hold.

The ring is the routing table: the ranges that a peer owns are its AllowedIPs and the routes into the tunnel
device, in IPv4 and, with a ULA prefix, as their IPv6 twins. Not here: whether a path to a peer works, and the
comparison with what the kernel has (`diff.py`).
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

from msgspec import Struct

from gossip import PeerName
from weavemesh.overlay.state import (
    DesiredState,
    Endpoint,
    IPInterface,
    IPNetwork,
    PresharedKey,
    PrivateKey,
    PublicKey,
    Route,
    WireGuardPeer,
)

WIREGUARD_OVERHEAD_BYTES = 80
"""IPv6 header 40, UDP 8, WireGuard 32: what an encrypted packet is longer than its content, at most."""
MTU_MIN = 1280
"""IPv6 works on no link with less (RFC 8200 §5)."""
UNPROVEN_MTU = 1420
"""Until a path has been measured (`mtu.py`) no more is trusted: what common networks of 1500 octets carry."""
UNPROVEN_MTU_OF_JUMBO = 1408
"""The same on a device with a larger MTU, where WireGuard fills packets up to a multiple of 16 octets."""
TUNNELS_KEPT = 4096
"""Planned tunnels remembered, under 1 KiB each, so that news of one peer costs one peer."""
_IPV4_BITS = 32


class PlannedPeer(Struct, frozen=True, cache_hash=True):
    """Another peer of the mesh, as it speaks of itself."""

    name: PeerName
    public_key: PublicKey
    preshared_key: PresharedKey | None
    endpoints: tuple[Endpoint, ...]
    """Where it may be reached, the most likely first; none if it can only reach us."""


class PlanInput(Struct, frozen=True, kw_only=True):
    """All that the plan depends on."""

    interface: str
    mtu: int
    """Bytes of a packet inside the tunnel."""
    listen_port: int
    name: PeerName
    private_key: PrivateKey
    public_key: PublicKey
    address: IPv4Address | None
    """This host's own address in the mesh; None while it has none."""
    universe: IPv4Network
    ula_prefix: IPv6Network | None
    """The /96 of the twins; None without IPv6 for pods."""
    ranges: Mapping[PeerName, tuple[IPv4Network, ...]]
    """What each peer owns in the ring."""
    peers: tuple[PlannedPeer, ...]
    mtus: Mapping[PeerName, int] = {}
    """Octets of the largest packet to each peer; the device's where a peer is not in it."""


def plan(known: PlanInput) -> DesiredState:
    """What the kernel should hold. Peers that `check` finds fault with get no tunnel."""
    address6 = twin_address(known.ula_prefix, known.address) if known.ula_prefix and known.address else None
    addresses: list[IPInterface] = []
    if known.address:
        addresses.append(IPv4Interface(known.address))
    if address6:
        addresses.append(IPv6Interface(address6))
    disputed = _disputed_keys(known)
    peers: list[WireGuardPeer] = []
    routes: list[Route] = []
    for peer in sorted(known.peers, key=lambda peer: peer.name):
        if peer.name == known.name or peer.public_key in disputed:
            continue
        mtu = known.mtus.get(peer.name, known.mtu)
        tunnel, ways = _tunnel(
            peer,
            known.ranges.get(peer.name, ()),
            known.ula_prefix,
            known.address,
            mtu if mtu < known.mtu else None,
        )
        peers.append(tunnel)
        routes += ways
    routes += _fence(known.universe, known.ula_prefix)
    return DesiredState(
        interface=known.interface,
        mtu=known.mtu,
        private_key=known.private_key,
        listen_port=known.listen_port,
        addresses=tuple(addresses),
        peers=tuple(peers),
        routes=tuple(routes),
    )


@lru_cache(maxsize=TUNNELS_KEPT)
def _tunnel(
    peer: PlannedPeer,
    ranges: tuple[IPv4Network, ...],
    prefix: IPv6Network | None,
    address: IPv4Address | None,
    mtu: int | None,
) -> tuple[WireGuardPeer, tuple[Route, ...]]:
    """One peer's tunnel and routes: the very same objects again while nothing of them changes."""
    address6 = twin_address(prefix, address) if prefix and address else None
    networks = tuple(_with_twins(ranges, prefix))
    endpoint = peer.endpoints[0] if peer.endpoints else None
    routes = tuple(Route(network, "device", address if network.version == 4 else address6, mtu) for network in networks)
    return WireGuardPeer(peer.public_key, peer.preshared_key, endpoint, networks), routes


@lru_cache(maxsize=1)
def _fence(universe: IPv4Network, prefix: IPv6Network | None) -> tuple[Route, ...]:
    """What is nobody's is dropped."""
    return tuple(Route(network, "unreachable", None) for network in _with_twins((universe,), prefix))


def check(known: PlanInput) -> tuple[str, ...]:
    """What keeps peers from getting a tunnel, as sentences: WireGuard cannot tell two peers with one key apart."""
    findings = []
    for key in sorted(_disputed_keys(known)):
        names = sorted(peer.name for peer in known.peers if peer.public_key == key)
        if key == known.public_key:
            names = sorted({*names, known.name})
        findings.append(
            f"{' and '.join(names)} show the same WireGuard key, so none of them gets a tunnel: "
            "one runs on a copy of the other's state folder; run `weavemesh reset` there"
        )
    return tuple(findings)


@lru_cache(maxsize=8)
def ula_prefix(ring_id: bytes) -> IPv6Network:
    """The /96 in which the pods of a ring have their IPv6 addresses (RFC 4193 §3.2: 40 bits of a hash)."""
    global_id = hashlib.sha256(b"weavemesh ula" + ring_id).digest()[:5]
    return IPv6Network((b"\xfd" + global_id + bytes(10), 128 - _IPV4_BITS))


def twin_address(prefix: IPv6Network, address: IPv4Address) -> IPv6Address:
    """The IPv6 address that goes with an IPv4 address.

    >>> str(twin_address(IPv6Network("fd00::/96"), IPv4Address("10.32.0.1")))
    'fd00::a20:1'
    """
    return IPv6Address(int(prefix.network_address) | int(address))


@lru_cache
def twin_network(prefix: IPv6Network, network: IPv4Network) -> IPv6Network:
    """The IPv6 range that goes with an IPv4 range.

    >>> str(twin_network(IPv6Network("fd00::/96"), IPv4Network("10.32.0.0/12")))
    'fd00::a20:0/108'
    """
    return IPv6Network((int(twin_address(prefix, network.network_address)), 128 - _IPV4_BITS + network.prefixlen))


def tunnel_mtu(underlay_mtu: int) -> int:
    """MTU in bytes of the device over a network with this one; 1420 on common networks.

    >>> tunnel_mtu(1500), tunnel_mtu(9001), tunnel_mtu(1300)
    (1420, 8921, 1280)
    """
    return max(MTU_MIN, underlay_mtu - WIREGUARD_OVERHEAD_BYTES)


def unproven_mtu(device_mtu: int) -> int:
    """MTU in bytes towards a peer whose path has not been measured, of a device with this one.

    >>> unproven_mtu(1420), unproven_mtu(8921), unproven_mtu(1300)
    (1420, 1408, 1300)
    """
    return device_mtu if device_mtu <= UNPROVEN_MTU else UNPROVEN_MTU_OF_JUMBO


def _with_twins(networks: Iterable[IPv4Network], prefix: IPv6Network | None) -> Iterable[IPNetwork]:
    for network in networks:
        yield network
        if prefix:
            yield twin_network(prefix, network)


def _disputed_keys(known: PlanInput) -> set[PublicKey]:
    shown = Counter(peer.public_key for peer in known.peers if peer.name != known.name)
    shown[known.public_key] += 1
    return {key for key, count in shown.items() if count > 1}
