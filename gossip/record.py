"""Records: what a peer says of itself, signed by it, ordered by it alone.

A record is (origin, epoch, version, public key, body, signature). The body is bytes: a MessagePack map that carries the
summary and the links. It is signed and passed on as it came, so that fields of later releases travel through older
peers untouched. Not here: which record is known (`gossip.store`), who writes ours (`gossip.author`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Protocol

import msgspec

from gossip.error import RemoteViolation
from gossip.name import PEER_NAME_PATTERN, PeerName

SUMMARY_BYTES_MAX = 8 * 1024
"""A summary is keys, endpoints and names: some hundred bytes. Room for growth, yet 1,000 of them stay within 8 MiB."""

RECORD_LINKS_MAX = 256
"""Neighbours that a record may name: four times our own LINKS_MAX, so that a later release may allow itself more."""

REPORT_CHARACTERS_MAX = 120
"""A phrase: `no answer from 198.51.100.7:51820 for 12 s`."""

REPORTS_MAX = 32
"""Ways that one record tells of: 5 KiB. Where more fail, the fault is near the peer that reports, and these show it."""

BODY_BYTES_MAX = 16 * 1024
"""Summary, links (17 bytes each) and fields that are yet to come."""

KEY_BYTES_MAX = 64
"""Ed25519 has 32; a larger scheme would change the name as well."""

SIGNATURE_BYTES_MAX = 128
"""Ed25519 has 64 (RFC 8032)."""

COUNT_MAX = 2**62
"""Epochs, versions and sequence numbers: beyond any life, and one more still fits into 64 bits."""

Name = Annotated[PeerName, msgspec.Meta(pattern=PEER_NAME_PATTERN)]
Origin = Annotated[PeerName, msgspec.Meta(min_length=16, max_length=16)]
"""The name of who wrote a record. Its letters are not looked at, which would take longer than reading all the rest: a
record is believed only if its origin is the hash of the key that signed it.
"""

Count = Annotated[int, msgspec.Meta(ge=0, le=COUNT_MAX)]
PublicKeyBytes = Annotated[bytes, msgspec.Meta(max_length=KEY_BYTES_MAX)]
SignatureBytes = Annotated[bytes, msgspec.Meta(max_length=SIGNATURE_BYTES_MAX)]

Rank = tuple[int, int, bytes]
"""(epoch, version, first bytes of the signature): the total order in which records of one origin replace each other.
The third part decides only when one identity signed twice under one version, as cloned machines do: then too all peers
keep the same one.
"""

RANK_NONE: Rank = (-1, -1, b"")
"""The rank of a record we do not have: below all others."""

RANK_TAG_BYTES = 8
"""Bytes of the signature in a rank: a collision would need 2**32 records under one version."""

Verify = Callable[[PeerName, bytes, bytes, bytes], bool]
"""(name, public key, message, signature) → True iff the signature holds and the name belongs to the key."""


class Signer(Protocol):
    """Our identity, handed in: this package has no keys of its own."""

    @property
    def name(self) -> PeerName:
        """Our name."""
        ...

    @property
    def public_key(self) -> bytes:
        """What others check signatures with; at most KEY_BYTES_MAX bytes."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the signature of `message`; at most SIGNATURE_BYTES_MAX bytes."""
        ...


class Record(msgspec.Struct, frozen=True, array_like=True):
    """What one peer says of itself at one time."""

    origin: Origin
    epoch: Count
    version: Count
    public_key: PublicKeyBytes
    body: Annotated[bytes, msgspec.Meta(max_length=BODY_BYTES_MAX)]
    signature: SignatureBytes

    @property
    def rank(self) -> Rank:
        """Return its place in the order of its origin's records."""
        return (self.epoch, self.version, self.signature[:RANK_TAG_BYTES])


class PathReport(msgspec.Struct, frozen=True, array_like=True):
    """Packets of the origin do not go to `peer` directly. What is direct is not reported: there are N² ways."""

    peer: Name
    """Who is not reached directly."""
    relay: Name | None
    """Over whom packets go; None if they do not get there at all."""
    reason: Annotated[str, msgspec.Meta(max_length=REPORT_CHARACTERS_MAX)]
    """A phrase for people: why not directly."""


class RecordBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """The fields of a body that this release knows. Others are ignored here and travel on in the bytes."""

    summary: Annotated[bytes, msgspec.Meta(max_length=SUMMARY_BYTES_MAX)]
    links: Annotated[tuple[Name, ...], msgspec.Meta(max_length=RECORD_LINKS_MAX)]
    reports: Annotated[tuple[PathReport, ...], msgspec.Meta(max_length=REPORTS_MAX)] = ()
    """Ways that are not direct, as the origin sees them."""


_encoder = msgspec.msgpack.Encoder()
_body_decoder = msgspec.msgpack.Decoder(RecordBody)


def signed_bytes(origin: PeerName, epoch: int, version: int, body: bytes) -> bytes:
    """Return what the signature of a record covers; the prefix keeps it apart from all else that the key signs."""
    return b"weavemesh record 1\0" + _encoder.encode((origin, epoch, version, body))


def seal(signer: Signer, epoch: int, version: int, body: RecordBody) -> Record:
    """Return `body` as a record of ours, signed."""
    encoded = _encoder.encode(body)
    signature = signer.sign(signed_bytes(signer.name, epoch, version, encoded))
    return Record(signer.name, epoch, version, signer.public_key, encoded, signature)


def is_authentic(record: Record, verify: Verify) -> bool:
    """Tell whether its origin, and nobody else, wrote `record`."""
    message = signed_bytes(record.origin, record.epoch, record.version, record.body)
    return verify(record.origin, record.public_key, message, record.signature)


def open_body(record: Record) -> RecordBody:
    """Return the known fields of the body; RemoteViolation if it cannot be read."""
    try:
        return _body_decoder.decode(record.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RemoteViolation("unreadable record body", str(error)) from error
