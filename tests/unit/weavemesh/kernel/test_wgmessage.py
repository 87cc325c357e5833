"""WireGuard's messages: what is packed has the kernel's layout, and dumps in parts become one state."""

import struct
from ipaddress import IPv4Address, IPv6Address, ip_network

from tests.unit.weavemesh.overlay.overlay_sample import public_key
from weavemesh.kernel import wgmessage
from weavemesh.overlay.diff import SetPeer
from weavemesh.overlay.state import Endpoint, IPNetwork, PresharedKey, PrivateKey

SECRET = PresharedKey(bytes([7] * 32))
KEY = PrivateKey(bytes([9] * 32))
GENERIC = struct.pack("=BBH", 1, 1, 0)


def attribute(kind: int, content: bytes) -> bytes:
    length = 4 + len(content)
    return struct.pack("=HH", length, kind) + content + bytes(-length & 3)


def networks(count: int) -> tuple[IPNetwork, ...]:
    return tuple(ip_network(f"10.{number // 256}.{number % 256}.0/24") for number in range(count))


def test_a_peer_is_packed_as_the_kernel_reads_it() -> None:
    change = SetPeer(public_key(1), True, SECRET, Endpoint(IPv4Address("192.0.2.1"), 6783), (ip_network("10.0.0.0/8"),))
    peer = b"".join(
        (
            attribute(1, bytes(public_key(1))),
            attribute(3, struct.pack("=I", 4)),
            attribute(2, bytes(SECRET)),
            attribute(4, struct.pack("=H", 2) + b"\x1a\x7f" + bytes((192, 0, 2, 1)) + bytes(8)),
            attribute(
                0x8009,
                attribute(
                    0x8000,
                    attribute(1, struct.pack("=H", 2)) + attribute(2, bytes((10, 0, 0, 0))) + attribute(3, b"\x08"),
                ),
            ),
        )
    )
    (message,) = wgmessage.set_peers("wm0", [change])
    assert message == GENERIC + attribute(2, b"wm0\0") + attribute(0x8008, attribute(0x8000, peer))


def test_a_dump_reads_what_requests_say() -> None:
    """The kernel uses the same attributes in both directions."""
    there = Endpoint(IPv6Address("2001:db8::1"), 6783)
    changes = [
        SetPeer(public_key(1), False, SECRET, there, (ip_network("10.0.0.0/8"), ip_network("fd00::/96"))),
        SetPeer(public_key(2), False, None, None, ()),
    ]
    configured = wgmessage.configure("wm0", private_key=KEY, listen_port=6783)
    (peers,) = wgmessage.set_peers("wm0", changes)
    state = wgmessage.decode_device([memoryview(configured), memoryview(peers)])
    assert (state.private_key, state.listen_port) == (KEY, 6783)
    one, two = state.peers
    assert (one.preshared_key, one.endpoint, one.allowed_ips) == (SECRET, there, changes[0].allowed_ips)
    assert (two.preshared_key, two.endpoint, two.allowed_ips, two.last_handshake) == (None, None, (), None)


def test_many_peers_share_messages_and_many_allowed_ips_have_several() -> None:
    many = networks(3 * wgmessage.ALLOWED_IPS_MAX + 1)
    changes = [SetPeer(public_key(number), False, SECRET, None, networks(2)) for number in range(1, 200)]
    changes.append(SetPeer(public_key(200), False, None, None, many))
    messages = list(wgmessage.set_peers("wm0", changes))
    assert 2 <= len(messages) <= 6
    assert all(len(message) <= wgmessage.MESSAGE_BYTES_MAX + 64 for message in messages)
    state = wgmessage.decode_device(memoryview(message) for message in messages)
    assert [peer.public_key for peer in state.peers] == [change.public_key for change in changes]
    assert state.peers[-1].allowed_ips == many


def test_a_greeting_switches_keepalives_on_and_off_again() -> None:
    (message,) = wgmessage.set_peers("wm0", [SetPeer(public_key(1), False, None, None, (), greet=True)])
    on, off = attribute(5, struct.pack("=H", 1)), attribute(5, struct.pack("=H", 0))
    assert 0 < message.index(on) < message.index(off)


def test_the_number_of_the_family_is_found() -> None:
    answer = struct.pack("=BBH", 1, 2, 0) + attribute(2, b"wireguard\0") + attribute(1, struct.pack("=H", 31))
    assert wgmessage.family_in(memoryview(answer)) == 31
    assert wgmessage.family_in(memoryview(struct.pack("=BBH", 1, 2, 0))) is None
