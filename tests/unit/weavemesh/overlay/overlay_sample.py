"""A small overlay for tests: hosts with numbers, their keys and ranges, and a wish made of them."""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from gossip import PeerName
from weavemesh.overlay.plan import PlanInput, PlannedPeer
from weavemesh.overlay.state import Endpoint, PresharedKey, PrivateKey, PublicKey

UNIVERSE = IPv4Network("10.32.0.0/12")
ULA = IPv6Network("fd00:77::/96")
PORT = 6783


def name(number: int) -> PeerName:
    """Sixteen letters; sorted as the numbers are."""
    return PeerName(f"host{number:012}".translate(str.maketrans("0123456789", "abcdefghij")))


def public_key(number: int) -> PublicKey:
    """A key that no device of the tests has; sorted as the numbers are."""
    return PublicKey(number.to_bytes(32, "big"))


def endpoint(number: int) -> Endpoint:
    return Endpoint(IPv4Address("192.0.2.0") + number, PORT)


def secret(number: int) -> PresharedKey:
    return PresharedKey(bytes([number] * 32))


def peer(number: int, *, key: PublicKey | None = None, at: Endpoint | None = None) -> PlannedPeer:
    return PlannedPeer(name(number), key or public_key(number), secret(number), (at or endpoint(number),))


def known(
    ranges: Mapping[int, str],
    *peers: PlannedPeer,
    interface: str = "wm0",
    address: str | None = "10.32.0.1",
    private_key: PrivateKey | None = None,
    mtu: int = 1420,
    port: int = PORT,
) -> PlanInput:
    """What host 1 knows; ranges are written `10.33.0.0/24 10.34.0.0/24` by host number."""
    return PlanInput(
        interface=interface,
        mtu=mtu,
        listen_port=port,
        name=name(1),
        private_key=private_key or PrivateKey(bytes([0x40] * 32)),
        public_key=public_key(1),
        address=IPv4Address(address) if address else None,
        universe=UNIVERSE,
        ula_prefix=ULA,
        ranges={name(number): tuple(map(IPv4Network, text.split())) for number, text in ranges.items()},
        peers=peers,
    )
