"""Knocks and their answers as bytes. Pure.

They travel between the ports of WireGuard devices, which ignore them: a WireGuard message begins with a little-endian
type of 1 to 4. Question and answer are equally long, so nobody can use a peer to amplify anything; each is proven with
a key of the two peers. What they hold is no secret: who stands at the wire sees it anyway.
"""

import hashlib
import hmac
import struct
from ipaddress import IPv6Address
from typing import Final

from msgspec import Struct

from gossip import PeerName
from weavemesh.overlay.state import Endpoint, IPAddress, PresharedKey

MAGIC: Final = b"WMK1"
NAME_BYTES: Final = 16
KNOCK_BYTES: Final = 96

_BODY = struct.Struct(">4sBB16s16s16sQ16sH")
"""Magic, kind, flags, sender, receiver, for whom, number, address, port."""
_PROOF_BYTES = 16
_QUESTION, _ANSWER = 0, 1
_USES, _BOTH, _OTHER_USES, _REFUSED = 1, 2, 4, 8
_NOBODY = bytes(NAME_BYTES)
_NOWHERE = bytes(16)


class KnockKey(Struct, frozen=True):
    """What proves the knocks between two peers; never shown."""

    raw: bytes

    def __repr__(self) -> str:
        return "KnockKey(redacted)"

    @classmethod
    def of(cls, secret: PresharedKey) -> "KnockKey":
        """From the secret that the two share for their tunnel."""
        return cls(hashlib.blake2s(bytes(secret), digest_size=32, person=b"wm-knock").digest())


class KnockMessage(Struct, frozen=True, kw_only=True):
    """One of them."""

    sender: PeerName
    receiver: PeerName
    nonce: int
    bind_for: PeerName | None = None
    uses: bool = False
    seen_as: Endpoint | None = None
    """Only in an answer: where the knock came from."""
    both_bound: bool = False
    other_uses: bool = False
    refused: bool = False

    def encode(self, key: KnockKey) -> bytes:
        """KNOCK_BYTES bytes."""
        flags = self.uses * _USES + self.both_bound * _BOTH + self.other_uses * _OTHER_USES + self.refused * _REFUSED
        body = _BODY.pack(
            MAGIC,
            _QUESTION if self.seen_as is None else _ANSWER,
            flags,
            self.sender.encode("ascii"),
            self.receiver.encode("ascii"),
            _NOBODY if self.bind_for is None else self.bind_for.encode("ascii"),
            self.nonce,
            _NOWHERE if self.seen_as is None else _packed(self.seen_as.address),
            0 if self.seen_as is None else self.seen_as.port,
        )
        return body + _proof(key, body)


def sender_of(content: bytes) -> PeerName | None:
    """Who claims to have sent this; None if it is no knock."""
    if len(content) != KNOCK_BYTES or not content.startswith(MAGIC):
        return None
    return _name(_BODY.unpack_from(content)[3])


def decode(content: bytes, key: KnockKey) -> KnockMessage | None:
    """What `encode` wrote with this key; None for anything else."""
    if len(content) != KNOCK_BYTES:
        return None
    body, proof = content[: _BODY.size], content[_BODY.size :]
    if not hmac.compare_digest(_proof(key, body), proof):
        return None
    magic, kind, flags, sender, receiver, bind_for, nonce, address, port = _BODY.unpack(body)
    names = _name(sender), _name(receiver)
    if magic != MAGIC or names[0] is None or names[1] is None or (kind == _ANSWER and not port):
        return None
    return KnockMessage(
        sender=names[0],
        receiver=names[1],
        nonce=nonce,
        bind_for=None if bind_for == _NOBODY else _name(bind_for),
        uses=bool(flags & _USES),
        seen_as=Endpoint(_unpacked(address), port) if kind == _ANSWER else None,
        both_bound=bool(flags & _BOTH),
        other_uses=bool(flags & _OTHER_USES),
        refused=bool(flags & _REFUSED),
    )


def _proof(key: KnockKey, body: bytes) -> bytes:
    return hashlib.blake2s(body, key=key.raw, digest_size=_PROOF_BYTES).digest()


def _name(raw: bytes) -> PeerName | None:
    text = raw.rstrip(b"\0")
    return PeerName(text.decode("ascii")) if text and text.isascii() and text.isalnum() else None


def _packed(address: IPAddress) -> bytes:
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed


def _unpacked(raw: bytes) -> IPAddress:
    address = IPv6Address(raw)
    return address.ipv4_mapped or address
