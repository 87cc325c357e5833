"""The overlay as plain values: what a host's WireGuard device and routes should be, and what they are.

Not here: how the wish is computed (`plan.py`), how the two are compared (`diff.py`), how a kernel is
changed (`weavemesh.kernel`). The reader of these values on the other side is `weavemesh.kernel.applier`.
"""

import hashlib
import hmac
from base64 import b64decode, b64encode
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Literal, Self

from msgspec import Struct

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network
IPInterface = IPv4Interface | IPv6Interface

KEY_BYTES = 32
"""Length of every WireGuard key (WireGuard paper, §5.4: Curve25519 points and 256-bit symmetric keys)."""


class _Key:
    """32 bytes. Equality takes the same time wherever the first difference lies."""

    __slots__ = ("_raw",)

    def __init__(self, raw: bytes) -> None:
        """Raises ValueError for any length but 32 bytes."""
        if len(raw) != KEY_BYTES:
            raise ValueError(f"a WireGuard key has {KEY_BYTES} bytes, not {len(raw)}")
        self._raw = bytes(raw)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The key written as `wg` writes it (base64); ValueError for anything else."""
        return cls(b64decode(text, validate=True))

    def __bytes__(self) -> bytes:
        return self._raw

    def text(self) -> str:
        """The key as `wg` writes it: 44 characters of base64."""
        return b64encode(self._raw).decode("ascii")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and hmac.compare_digest(self._raw, bytes(other))

    def __hash__(self) -> int:
        return hash((type(self).__name__, self._raw))


class PublicKey(_Key):
    """Names a WireGuard peer; no secret."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"PublicKey({self.text()!r})"

    def __lt__(self, other: "PublicKey") -> bool:
        return bytes(self) < bytes(other)


class PrivateKey(_Key):
    """The secret half of a device's key; never shown by repr.

    Kept as WireGuard keeps it, with the bits set that X25519 sets anyway (RFC 7748 §5): otherwise a device would
    give back another key than it was given.
    """

    __slots__ = ()

    def __init__(self, raw: bytes) -> None:
        """Raises ValueError for any length but 32 bytes."""
        super().__init__(raw)
        self._raw = bytes((raw[0] & 248, *raw[1:31], raw[31] & 127 | 64))

    def __repr__(self) -> str:
        return "PrivateKey(redacted)"


class PresharedKey(_Key):
    """The symmetric secret of one pair of peers; never shown by repr."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "PresharedKey(redacted)"


class Endpoint(Struct, frozen=True):
    """Where a peer's WireGuard packets are sent."""

    address: IPAddress
    port: int
    """UDP port, 1…65535."""

    def text(self) -> str:
        """The form that `wg` prints: `192.0.2.1:6783` or `[2001:db8::1]:6783`."""
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


class WireGuardPeer(Struct, frozen=True):
    """One tunnel as it should be."""

    public_key: PublicKey
    preshared_key: PresharedKey | None
    endpoint: Endpoint | None
    """None leaves whatever the device has or learns."""
    allowed_ips: tuple[IPNetwork, ...]
    """Sources accepted from, and destinations sent to, this peer."""


class ObservedPeer(Struct, frozen=True):
    """One tunnel as the device has it."""

    public_key: PublicKey
    preshared_key: PresharedKey | None
    endpoint: Endpoint | None
    allowed_ips: tuple[IPNetwork, ...]
    last_handshake: float | None
    """Unix time in seconds; None before the first handshake."""
    rx_bytes: int
    tx_bytes: int


class Route(Struct, frozen=True, cache_hash=True):
    """One route that is ours."""

    destination: IPNetwork
    kind: Literal["device", "unreachable"]
    """`device`: into the tunnel device; `unreachable`: dropped with an error to the sender."""
    source: IPAddress | None
    """Address that the host itself uses towards this destination; None lets the kernel choose."""
    mtu: int | None = None
    """Octets of the largest packet that goes this way; None where the device's MTU is the limit."""


class DesiredState(Struct, frozen=True):
    """Everything of the overlay that this host's kernel should hold."""

    interface: str
    mtu: int
    """Bytes of an inner packet."""
    private_key: PrivateKey
    listen_port: int
    addresses: tuple[IPInterface, ...]
    peers: tuple[WireGuardPeer, ...]
    routes: tuple[Route, ...]


class ObservedState(Struct, frozen=True):
    """What the kernel holds of the overlay, seen at one moment."""

    interface: str
    up: bool
    mtu: int
    private_key: PrivateKey | None
    """None on a device that has just been made."""
    listen_port: int
    """0 while the device has none."""
    addresses: tuple[IPInterface, ...]
    """Link-local addresses are the kernel's own business and left out."""
    peers: tuple[ObservedPeer, ...]
    routes: tuple[Route, ...]
    """Routes with our protocol number, without those to pods of this host."""


DISCARD_KEY = PublicKey(hashlib.sha256(b"weavemesh: peer that takes allowed IPs away").digest())
"""A public key whose private half nobody has; see `diff.DiscardAllowedIps`."""


def render(state: ObservedState) -> str:
    """The state as text for people and for golden tests: no counters, no times, secrets only as present or absent."""
    condition = f"{'up' if state.up else 'down'} mtu {state.mtu} port {state.listen_port}"
    lines = [f"interface {state.interface} {condition} key {'set' if state.private_key else 'none'}"]
    lines += [f"  address {address}" for address in sorted(state.addresses, key=_by_family)]
    for peer in sorted(state.peers, key=lambda peer: peer.public_key):
        endpoint = peer.endpoint.text() if peer.endpoint else "none"
        secret = "set" if peer.preshared_key else "none"
        lines.append(f"  peer {peer.public_key.text()} endpoint {endpoint} preshared {secret}")
        lines += [f"    allowed {network}" for network in sorted(peer.allowed_ips, key=_by_family)]
    lines += [
        f"  route {route.destination} {route.kind}{f' src {route.source}' if route.source else ''}"
        f"{f' mtu {route.mtu}' if route.mtu else ''}"
        for route in sorted(state.routes, key=lambda route: (route.kind, _by_family(route.destination)))
    ]
    return "\n".join(lines) + "\n"


def overlap(one: IPNetwork, other: IPNetwork) -> bool:
    """True if some address is in both.

    >>> overlap(IPv4Network("10.0.0.0/8"), IPv4Network("10.32.0.0/12"))
    True
    """
    if one.version == 4 and other.version == 4:
        return one.overlaps(other)
    return one.version == 6 and other.version == 6 and one.overlaps(other)


def _by_family(item: IPNetwork | IPInterface) -> tuple[int, int, int]:
    network = item if isinstance(item, IPv4Network | IPv6Network) else item.network
    address = network.network_address if network is item else item.ip  # type: ignore[union-attr]  # narrowed above
    return item.version, int(address), network.prefixlen
