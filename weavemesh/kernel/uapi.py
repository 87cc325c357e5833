"""The text of WireGuard's cross-platform userspace interface (https://www.wireguard.com/xplatform/).

Requests are encoded, answers decoded; pure. The socket is in `userspace.py`.
"""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Final

from msgspec import Struct, field

from weavemesh.kernel.device import DeviceState
from weavemesh.overlay.diff import SetPeer
from weavemesh.overlay.state import (
    DISCARD_KEY,
    KEY_BYTES,
    Endpoint,
    IPNetwork,
    ObservedPeer,
    PresharedKey,
    PrivateKey,
    PublicKey,
)

GET: Final = "get=1\n\n"
"""Request for the whole state of the device."""

_NANOSECONDS: Final = 1e9
_REMEMBERED: Final = 8192
"""Endpoints and networks as they were read: the same ones come at each look, and to read them is most of the work."""


class UapiViolation(Exception):
    """The answer is not in the language of the interface."""

    def __init__(self, line: str) -> None:
        super().__init__("an answer that is not of the WireGuard userspace interface")
        self.line = line
        """The offending line, without its value if that could be a key."""


def encode_device(*, private_key: PrivateKey | None, listen_port: int | None) -> str:
    """Request that sets what is given of the device itself."""
    lines = ["set=1"]
    if private_key is not None:
        lines.append(f"private_key={bytes(private_key).hex()}")
    if listen_port is not None:
        lines.append(f"listen_port={listen_port}")
    return _request(lines)


def encode_peers(changes: Iterable[SetPeer]) -> str:
    """Request that adds or changes peers, one after the other."""
    return _request(["set=1", *(line for change in changes for line in _about(change))])


def encode_renewal(peer: SetPeer) -> str:
    """Request that removes one peer and makes it again."""
    return _request(["set=1", f"public_key={bytes(peer.public_key).hex()}", "remove=true", *_about(peer)])


def _about(change: SetPeer) -> list[str]:
    lines = [f"public_key={bytes(change.public_key).hex()}"]
    if change.exists:
        lines.append("update_only=true")
    if change.preshared_key is not None:
        lines.append(f"preshared_key={bytes(change.preshared_key).hex()}")
    if change.endpoint is not None:
        lines.append(f"endpoint={change.endpoint.text()}")
    lines += _allowed(change.allowed_ips)
    if change.greet:
        # Switching keepalives on sends one, and with it a handshake; they are not wanted for longer.
        for seconds in (1, 0):
            lines += [f"public_key={bytes(change.public_key).hex()}", "update_only=true"]
            lines += [f"persistent_keepalive_interval={seconds}"]
    return lines


def encode_discard(allowed_ips: tuple[IPNetwork, ...]) -> str:
    """Request that moves allowed IPs to a peer that nobody is, and removes that peer."""
    key = bytes(DISCARD_KEY).hex()
    return _request(["set=1", f"public_key={key}", *_allowed(allowed_ips), f"public_key={key}", "remove=true"])


def encode_removal(public_key: PublicKey) -> str:
    """Request that removes one peer."""
    return _request(["set=1", f"public_key={bytes(public_key).hex()}", "remove=true"])


def decode_errno(text: str) -> int:
    """The errno of an answer, 0 for success; UapiViolation if it has none."""
    key, _, value = text.rstrip("\n").rpartition("\n")[2].partition("=")  # it is the last line
    if key != "errno":
        raise UapiViolation("errno is missing")
    return _integer(key, value)


class StateReader:
    """Reads one answer to GET after the other: a peer of which it says the same as the last one is not read again."""

    def __init__(self) -> None:
        self._peers: dict[str, ObservedPeer] = {}
        """The lines of each peer → what they say."""

    def read(self, text: str) -> DeviceState:
        """The device that an answer describes; unknown words are passed over. Raises UapiViolation."""
        private_key: PrivateKey | None = None
        listen_port = 0
        about_device, *about_peers = f"\n{text}".split("\npublic_key=")
        for key, value in _pairs(about_device):
            if key == "private_key":
                raw = _key(key, value)
                private_key = PrivateKey(raw) if any(raw) else None
            elif key == "listen_port":
                listen_port = _integer(key, value)
        before, self._peers = self._peers, {}
        for lines in about_peers:
            self._peers[lines] = before.get(lines) or _decode_peer(lines)
        return DeviceState(private_key, listen_port, tuple(self._peers[lines] for lines in about_peers))


def _decode_peer(lines: str) -> ObservedPeer:
    public_key, _, rest = lines.partition("\n")
    peer = _Peer(PublicKey(_key("public_key", public_key)))
    for key, value in _pairs(rest):
        _decode_word(peer, key, value)
    return peer.observed()


class _Peer(Struct):
    public_key: PublicKey
    preshared_key: PresharedKey | None = None
    endpoint: Endpoint | None = None
    allowed_ips: list[IPNetwork] = field(default_factory=list)
    handshake_s: int = 0
    handshake_ns: int = 0
    rx_bytes: int = 0
    tx_bytes: int = 0

    def observed(self) -> ObservedPeer:
        handshake = self.handshake_s + self.handshake_ns / _NANOSECONDS if self.handshake_s else None
        return ObservedPeer(
            public_key=self.public_key,
            preshared_key=self.preshared_key,
            endpoint=self.endpoint,
            allowed_ips=tuple(self.allowed_ips),
            last_handshake=handshake,
            rx_bytes=self.rx_bytes,
            tx_bytes=self.tx_bytes,
        )


def _decode_word(peer: _Peer, key: str, value: str) -> None:
    match key:
        case "preshared_key":
            raw = _key(key, value)
            peer.preshared_key = PresharedKey(raw) if any(raw) else None
        case "endpoint":
            peer.endpoint = _endpoint(value)
        case "allowed_ip":
            peer.allowed_ips.append(_network(value))
        case "last_handshake_time_sec":
            peer.handshake_s = _integer(key, value)
        case "last_handshake_time_nsec":
            peer.handshake_ns = _integer(key, value)
        case "rx_bytes":
            peer.rx_bytes = _integer(key, value)
        case "tx_bytes":
            peer.tx_bytes = _integer(key, value)
        case _:
            pass


def _pairs(text: str) -> Iterable[tuple[str, str]]:
    for line in text.split("\n"):
        if not line:
            continue
        key, equals, value = line.partition("=")
        if not equals:
            raise UapiViolation("a line without =")
        yield key, value


def _allowed(networks: tuple[IPNetwork, ...]) -> list[str]:
    return [f"allowed_ip={network}" for network in networks]


def _request(lines: list[str]) -> str:
    return "\n".join(lines) + "\n\n"


def _key(name: str, value: str) -> bytes:
    try:
        raw = bytes.fromhex(value)
    except ValueError as error:
        raise UapiViolation(f"{name} is not hexadecimal") from error
    if len(raw) != KEY_BYTES:
        raise UapiViolation(f"{name} has not {KEY_BYTES} bytes")
    return raw


def _integer(name: str, value: str) -> int:
    # Longer numbers than 64 bits have are not of this interface, and int() is slow with very long ones.
    if not value.isascii() or not value.isdigit() or len(value) > 20:
        raise UapiViolation(f"{name} is not a number")
    return int(value)


@lru_cache(maxsize=_REMEMBERED)
def _network(value: str) -> IPNetwork:
    try:
        return ip_network(value, strict=False)
    except ValueError as error:
        raise UapiViolation(f"allowed_ip={value}") from error


@lru_cache(maxsize=_REMEMBERED)
def _endpoint(value: str) -> Endpoint:
    host, colon, port = value.rpartition(":")
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError as error:
        raise UapiViolation(f"endpoint={value}") from error
    number = _integer("endpoint", port)
    if not colon or number > 0xFFFF:
        raise UapiViolation(f"endpoint={value}")
    return Endpoint(address, number)
