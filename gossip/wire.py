"""Frames: what peers say to each other on a link, as MessagePack.

Each frame is an array whose first element is its kind. A later release may append elements (older ones skip them) and
may add kinds only under a newer wire version, which `Hello` settles. Not here: lengths on the stream and encryption
(the shell), what a frame brings about (`gossip.mesh`, `gossip.exchange`).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

import msgspec

from gossip.error import RemoteViolation
from gossip.name import Target
from gossip.record import COUNT_MAX, Count, Name, Origin, PublicKeyBytes, Rank, Record, SignatureBytes

WIRE_OLDEST = 1
"""The oldest wire version this release speaks."""

WIRE_NEWEST = 1
"""The newest wire version this release speaks."""

FRAME_BYTES_MAX = 1024 * 1024
"""The address ring of 1,000 peers is some 100 KiB; more than this in one piece would hold up heartbeats on slow lines.
"""

PAYLOAD_BYTES_MAX = FRAME_BYTES_MAX - 4096
"""A frame's payload; the rest is for names, keys, signatures and what later releases append."""

RECORDS_MAX = 4096
"""Origins known: four times the mesh we build for. Without it, one member could invent identities until our memory is
full.
"""

CHANNELS_MAX = 64
"""Channels compared in one glance; this release has fewer than ten."""

MESH_CHANNEL = "mesh"
"""Unicasts between Meshes themselves (`gossip.suspicion`); nobody else can register it."""

HOPS_MAX = 32
"""Links a unicast may cross: a mesh of log2 N links has paths below 10, a chain of hosts without discovery may need
more. Ends loops.
"""

REASON_CHARACTERS_MAX = 256
"""A sentence, for people."""

OTHERS_MAX = 4
"""Addresses named by a peer that has no room: one of them will have some."""

ADDRESS_CHARACTERS_MAX = 300
"""A host name has 253 at most (RFC 1035 section 2.3.4), and there is the port."""

FEATURES_MAX = 64
"""Far more than there will be before the wire version grows."""

FEATURES: tuple[str, ...] = ()
"""What this release can do beyond WIRE_NEWEST: nothing yet."""

Feature = Annotated[str, msgspec.Meta(max_length=32)]
Address = Annotated[Target, msgspec.Meta(min_length=1, max_length=ADDRESS_CHARACTERS_MAX)]
Channel = Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
Payload = Annotated[bytes, msgspec.Meta(max_length=PAYLOAD_BYTES_MAX)]
Fingerprint = Annotated[bytes, msgspec.Meta(max_length=64)]


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """First frame on a link, each way: which versions we speak, which life of ours this is, which of our dials."""

    wire_oldest: Count
    wire_newest: Count
    epoch: Count
    serial: Count
    """The dialler's number for this dial, growing within its epoch; 0 from the side that was dialled."""
    features: Annotated[tuple[Feature, ...], msgspec.Meta(max_length=FEATURES_MAX)] = ()
    """What the sender can do beyond its wire versions. Only what both ends name is used on a link."""


class ByeCode(IntEnum):
    """Reasons for closing a link that the other end acts upon. Later releases may know more: others mean nothing."""

    OTHER = 0
    """Nothing that it could act upon."""
    REMOVED = 1
    """It was removed from the mesh; no member will speak with it again."""
    BUSY = 2
    """There is no room for a link with it; others are named instead."""
    SURPLUS = 3
    """There are links enough, at both ends: its targets at this peer need no dial while this peer can be reached."""


class Bye(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Last frame on a link: why it is being closed."""

    reason: Annotated[str, msgspec.Meta(max_length=REASON_CHARACTERS_MAX)]
    code: Count = ByeCode.OTHER.value
    """The same for the machine at the other end, see `ByeCode`."""
    others: Annotated[tuple[Address, ...], msgspec.Meta(max_length=OTHERS_MAX)] = ()
    """Where else to dial, with BUSY."""


class Ping(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Heartbeat; answered at once by a Pong of the same number."""

    number: Count
    rtt_us: Count = 0
    """The round-trip time as the sender knows it, in microseconds: who only answers cannot measure. 0: unknown."""


class Pong(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Answer to a Ping."""

    number: Count


class ChannelDigest(msgspec.Struct, frozen=True, array_like=True):
    """The digest of one channel's state: equal iff the states are."""

    channel: Channel
    digest: Fingerprint


class Glance(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """All that we know, in a few bytes. Where it differs, the other end answers with a Digest and with its channels'
    states.
    """

    fingerprint: Fingerprint
    channels: Annotated[tuple[ChannelDigest, ...], msgspec.Meta(max_length=CHANNELS_MAX)]


class DigestEntry(msgspec.Struct, frozen=True, array_like=True):
    """Which record of `origin` we have."""

    origin: Origin
    epoch: Count
    version: Count
    tag: Annotated[bytes, msgspec.Meta(max_length=8)]

    @property
    def rank(self) -> Rank:
        """Return the rank of the record meant."""
        return (self.epoch, self.version, self.tag)


class Digest(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """The ranks of all records we have. Answered with Records that we lack and a Request for those they lack
    (Scuttlebutt).
    """

    entries: Annotated[tuple[DigestEntry, ...], msgspec.Meta(max_length=RECORDS_MAX)]


class Request(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """Asks for the records of these origins."""

    origins: Annotated[tuple[Origin, ...], msgspec.Meta(max_length=RECORDS_MAX)]


class Records(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """Records: pushed as news, or asked for."""

    records: Annotated[tuple[Record, ...], msgspec.Meta(max_length=RECORDS_MAX)]


class State(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """The whole state of one channel; with `answer`, the other end sends its own in return."""

    channel: Channel
    payload: Payload
    answer: bool


class News(msgspec.Struct, frozen=True, array_like=True, tag=9):
    """A delta on one channel."""

    channel: Channel
    payload: Payload


class Unicast(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """A message for one peer, passed on hop by hop, signed by its source. `hops` is outside the signature: it is
    counted down.
    """

    channel: Channel
    source: Name
    destination: Name
    hops: Annotated[int, msgspec.Meta(ge=0, le=HOPS_MAX)]
    epoch: Count
    sequence: Count
    public_key: PublicKeyBytes
    payload: Payload
    signature: SignatureBytes


Talk = Ping | Pong | Glance | Digest | Request | Records | State | News | Unicast
"""What is said on an established link."""

Frame = Hello | Bye | Talk

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Frame] = msgspec.msgpack.Decoder(Frame)


def encode(frame: Frame) -> bytes:
    """Return `frame` as bytes, never more than FRAME_BYTES_MAX of them (callers bound what they put in)."""
    encoded = _encoder.encode(frame)
    assert len(encoded) <= FRAME_BYTES_MAX, f"{type(frame).__name__} of {len(encoded)} bytes"
    return encoded


def decode(encoded: bytes) -> Frame:
    """Return the frame that `encoded` is; RemoteViolation, and nothing else, if it is none."""
    if len(encoded) > FRAME_BYTES_MAX:
        raise RemoteViolation("frame too long", f"{len(encoded)} bytes")
    try:
        return _decoder.decode(encoded)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RemoteViolation("unreadable frame", str(error)) from error


def bye(reason: str, code: ByeCode = ByeCode.OTHER, others: tuple[Target, ...] = ()) -> Bye:
    """Return a Bye with as much of `reason` and `others` as it holds."""
    named = tuple(other for other in others if 0 < len(other) <= ADDRESS_CHARACTERS_MAX)
    return Bye(reason[:REASON_CHARACTERS_MAX], code.value, named[:OTHERS_MAX])


assert COUNT_MAX < 2**63
