"""WireGuard's generic netlink messages, packed and unpacked by hand (Linux include/uapi/linux/wireguard.h).

By hand because of number and size: many peers go into one request, a peer with many allowed IPs into several, and
pyroute2 takes seconds to read a dump of a thousand peers. Pure; `wireguard.py` sends and receives them.
"""

import socket
import struct
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

from weavemesh.kernel.device import DeviceState
from weavemesh.overlay.diff import SetPeer
from weavemesh.overlay.state import Endpoint, IPNetwork, ObservedPeer, PresharedKey, PrivateKey, PublicKey

FAMILY_NAME: Final = b"wireguard\0"
GET_DEVICE: Final = 0
SET_DEVICE: Final = 1
VERSION: Final = 1
MESSAGE_BYTES_MAX: Final = 32 << 10
"""Of the peers in a request: the length of an attribute has 16 bits. Half of that leaves room for the last one."""
ALLOWED_IPS_MAX: Final = 400
"""Of a peer in a request: 16 KiB at most."""

_GENERIC = struct.Struct("=BBH")
_ATTRIBUTE = struct.Struct("=HH")
_NESTED: Final = 0x8000
_KIND_MASK: Final = 0x3FFF
_CONTROL_GET_FAMILY, _CONTROL_FAMILY_ID, _CONTROL_FAMILY_NAME = 3, 1, 2
_DEVICE_IFNAME, _DEVICE_PRIVATE_KEY, _DEVICE_LISTEN_PORT, _DEVICE_PEERS = 2, 3, 6, 8
_PEER_PUBLIC_KEY, _PEER_PRESHARED_KEY, _PEER_FLAGS, _PEER_ENDPOINT, _PEER_KEEPALIVE = 1, 2, 3, 4, 5
_PEER_LAST_HANDSHAKE, _PEER_RX_BYTES, _PEER_TX_BYTES, _PEER_ALLOWED_IPS = 6, 7, 8, 9
_REMOVE_ME, _UPDATE_ONLY = 1, 4
_IP_FAMILY, _IP_ADDRESS, _IP_PREFIX = 1, 2, 3
_PACKED_UPDATE_ONLY: Final = struct.pack("=I", _UPDATE_ONLY)


def ask_family() -> bytes:
    """The question for the number of the kernel's WireGuard family, to the controller (type 16)."""
    return _GENERIC.pack(_CONTROL_GET_FAMILY, 1, 0) + _attribute(_CONTROL_FAMILY_NAME, FAMILY_NAME)


def family_in(payload: memoryview) -> int | None:
    """That number in an answer of the controller."""
    found = _attributes(payload[_GENERIC.size :]).get(_CONTROL_FAMILY_ID)
    return None if found is None else int(struct.unpack("=H", found)[0])


def ask_device(interface: str) -> bytes:
    """The question for all of a device; to be asked as a dump."""
    return _device(GET_DEVICE, interface)


def configure(interface: str, *, private_key: PrivateKey | None, listen_port: int | None) -> bytes:
    """Set what is given."""
    content = b"" if private_key is None else _attribute(_DEVICE_PRIVATE_KEY, bytes(private_key))
    if listen_port is not None:
        content += _attribute(_DEVICE_LISTEN_PORT, struct.pack("=H", listen_port))
    return _device(SET_DEVICE, interface) + content


def set_peers(interface: str, changes: Iterable[SetPeer]) -> Iterator[bytes]:
    """The requests that perform the changes in order, each as full as may be."""
    waiting: list[bytes] = []
    size = 0
    for part in (part for change in changes for part in _parts(change)):
        if size + len(part) > MESSAGE_BYTES_MAX and waiting:
            yield _with_peers(interface, waiting)
            waiting, size = [], 0
        waiting.append(part)
        size += len(part)
    if waiting:
        yield _with_peers(interface, waiting)


def remove_peer(interface: str, public_key: PublicKey) -> bytes:
    """Remove one peer; nothing happens if it is not there."""
    return _with_peers(interface, [_peer(public_key, struct.pack("=I", _REMOVE_ME), b"")])


def renew_peer(interface: str, peer: SetPeer) -> Iterator[bytes]:
    """Remove the peer and make it again: in one request, unless it has many allowed IPs."""
    removal = _peer(peer.public_key, struct.pack("=I", _REMOVE_ME), b"")
    first, *rest = _parts(peer)
    yield _with_peers(interface, [removal, first])
    for part in rest:
        yield _with_peers(interface, [part])


def decode_device(payloads: Iterable[memoryview]) -> DeviceState:
    """What a dump says: peers, and one peer's allowed IPs, may go on in later messages."""
    private_key: PrivateKey | None = None
    listen_port = 0
    parts: dict[bytes, list[dict[int, memoryview]]] = {}
    for payload in payloads:
        values = _attributes(payload[_GENERIC.size :])
        if _DEVICE_PRIVATE_KEY in values:
            private_key = PrivateKey(bytes(values[_DEVICE_PRIVATE_KEY]))  # a new device says nothing of it
        if _DEVICE_LISTEN_PORT in values:
            (listen_port,) = struct.unpack("=H", values[_DEVICE_LISTEN_PORT])
        for _, content in _each(values.get(_DEVICE_PEERS)):
            peer = _attributes(content)
            parts.setdefault(bytes(peer[_PEER_PUBLIC_KEY]), []).append(peer)
    return DeviceState(private_key, listen_port, tuple(_observed(key, found) for key, found in parts.items()))


# -- packing ------------------------------------------------------------------------------------------


def _parts(change: SetPeer) -> Iterator[bytes]:
    """One peer as it stands in requests: once, or again for each further portion of its allowed IPs."""
    content = b""
    if change.preshared_key is not None:
        content += _attribute(_PEER_PRESHARED_KEY, bytes(change.preshared_key))
    if change.endpoint is not None:
        content += _attribute(_PEER_ENDPOINT, _socket_address(change.endpoint))
    flags = _PACKED_UPDATE_ONLY if change.exists else bytes(4)
    for start in range(0, max(1, len(change.allowed_ips)), ALLOWED_IPS_MAX):
        portion = change.allowed_ips[start : start + ALLOWED_IPS_MAX]
        yield _peer(change.public_key, flags, content + _allowed_ips(portion))
        content, flags = b"", _PACKED_UPDATE_ONLY
    if change.greet:
        # Switching keepalives on sends one, and with it a handshake; they are not wanted for longer.
        for seconds in (1, 0):
            keepalive = _attribute(_PEER_KEEPALIVE, struct.pack("=H", seconds))
            yield _peer(change.public_key, _PACKED_UPDATE_ONLY, keepalive)


def _device(command: int, interface: str) -> bytes:
    return _GENERIC.pack(command, VERSION, 0) + _attribute(_DEVICE_IFNAME, interface.encode() + b"\0")


def _with_peers(interface: str, peers: list[bytes]) -> bytes:
    return _device(SET_DEVICE, interface) + _attribute(_DEVICE_PEERS | _NESTED, b"".join(peers))


def _peer(public_key: PublicKey, flags: bytes, content: bytes) -> bytes:
    named = _attribute(_PEER_PUBLIC_KEY, bytes(public_key)) + _attribute(_PEER_FLAGS, flags)
    return _attribute(_NESTED, named + content)


def _allowed_ips(networks: tuple[IPNetwork, ...]) -> bytes:
    if not networks:
        return b""
    return _attribute(_PEER_ALLOWED_IPS | _NESTED, b"".join(_attribute(_NESTED, _network(one)) for one in networks))


def _network(network: IPNetwork) -> bytes:
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    return (
        _attribute(_IP_FAMILY, struct.pack("=H", family))
        + _attribute(_IP_ADDRESS, network.network_address.packed)
        + _attribute(_IP_PREFIX, bytes((network.prefixlen,)))
    )


def _socket_address(endpoint: Endpoint) -> bytes:
    """A sockaddr_in or sockaddr_in6: the family in the machine's order, the port in the network's."""
    if endpoint.address.version == 4:
        return struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", endpoint.port, endpoint.address.packed)
    return struct.pack("=H", socket.AF_INET6) + struct.pack("!H4x16s4x", endpoint.port, endpoint.address.packed)


def _attribute(kind: int, content: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(content)
    return _ATTRIBUTE.pack(length, kind) + content + bytes(-length & 3)


# -- unpacking ----------------------------------------------------------------------------------------


def _each(data: memoryview | None) -> Iterator[tuple[int, memoryview]]:
    while data is not None and len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            return
        yield kind & _KIND_MASK, data[_ATTRIBUTE.size : length]
        data = data[(length + 3) & ~3 :]


def _attributes(data: memoryview) -> dict[int, memoryview]:
    return dict(_each(data))


def _observed(key: bytes, parts: list[dict[int, memoryview]]) -> ObservedPeer:
    """One peer from its parts: the first has everything but perhaps the rest of the allowed IPs."""
    first = parts[0]
    secret = bytes(first.get(_PEER_PRESHARED_KEY, b""))
    seconds, nanoseconds = struct.unpack("=qq", first.get(_PEER_LAST_HANDSHAKE, bytes(16)))
    return ObservedPeer(
        public_key=PublicKey(key),
        preshared_key=PresharedKey(secret) if any(secret) else None,
        endpoint=_endpoint(first.get(_PEER_ENDPOINT)),
        allowed_ips=tuple(
            _decode_network(content) for part in parts for _, content in _each(part.get(_PEER_ALLOWED_IPS))
        ),
        last_handshake=seconds + nanoseconds / 1e9 if seconds else None,
        rx_bytes=_counter(first.get(_PEER_RX_BYTES)),
        tx_bytes=_counter(first.get(_PEER_TX_BYTES)),
    )


def _endpoint(content: memoryview | None) -> Endpoint | None:
    if content is None:
        return None
    (family,) = struct.unpack_from("=H", content)
    (port,) = struct.unpack_from("!H", content, 2)
    if family == socket.AF_INET:
        return Endpoint(IPv4Address(bytes(content[4:8])), port)
    return Endpoint(IPv6Address(bytes(content[8:24])), port)


def _decode_network(content: memoryview) -> IPNetwork:
    values = _attributes(content)
    address, (length,) = bytes(values[_IP_ADDRESS]), bytes(values[_IP_PREFIX])
    return IPv4Network((address, length)) if len(address) == 4 else IPv6Network((address, length))


def _counter(content: memoryview | None) -> int:
    return 0 if content is None else int(struct.unpack("=Q", content)[0])
