"""The bytes that peers exchange: ring knowledge for everyone, and request, grant and deny between two. Pure codec.

A payload is one byte for the format and then MessagePack, arrays throughout. Ring entries are in order of address;
each says how far it starts behind the end of the one before (0 in a whole ring), and names peers by their place in a
table. So entries that overlap or are out of order cannot be expressed, and the ring of 1,000 peers is under 32 KiB.
Elements that a later release appends to an array are ignored. Whatever cannot be right raises `RemoteViolation` and
nothing else.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from typing import Annotated, assert_never

import msgspec

from ipam_crdt.cidr import ADDRESS_BITS, Block
from ipam_crdt.error import RemoteViolation
from ipam_crdt.ring import (
    ENTRIES_MAX,
    OWNERS_MAX,
    RING_ID_BYTES,
    VERSION_MAX,
    Entry,
    Owner,
    Ring,
    Title,
)

FORMAT = 1
PAYLOAD_BYTES_MAX = 2**20
"""One gossip frame."""
OWNER_LENGTH_MAX = 32
"""A PeerName has 16 characters."""
REQUEST_NUMBERS = 2**48
"""A peer begins anywhere among them, so that the answers to an earlier life of it fit no request of this one."""

_Address = Annotated[int, msgspec.Meta(ge=0, lt=2**ADDRESS_BITS)]
_Length = Annotated[int, msgspec.Meta(ge=0, le=ADDRESS_BITS)]
_Index = Annotated[int, msgspec.Meta(ge=0, lt=OWNERS_MAX)]
_Version = Annotated[int, msgspec.Meta(ge=1, le=VERSION_MAX)]
_Number = Annotated[int, msgspec.Meta(ge=0, lt=REQUEST_NUMBERS)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**ADDRESS_BITS)]


class DenyReason(Enum):
    """Why a request is not granted."""

    FULL = "full"
    """No address is free."""
    TAKEN = "taken"
    """The very address asked for is in use, or reserved."""
    NOT_MINE = "not mine"
    """The very address asked for belongs to somebody else; the knowledge that comes along says to whom."""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What a peer knows of a ring, or a part of it."""

    ring_id: bytes | None
    """None: the sender has no ring yet."""
    universe: Block
    """The range that the ring divides, or that the sender is configured for."""
    entries: tuple[Entry, ...]
    """Disjoint, inside the universe, in order of address."""
    free: int | None
    """How many free addresses the sender has itself; None if it does not say."""


@dataclass(frozen=True, slots=True)
class Request:
    """Give me space."""

    knowledge: Knowledge
    """All that the asker knows itself to own, so that a lost grant is repeated instead of followed by another."""
    address: int | None
    """The very address it needs; None if any will do."""
    number: int = 0
    """Comes back in the answer, so that one to an earlier request is not taken for it."""


@dataclass(frozen=True, slots=True)
class Grant:
    """The entries make you the owner of something."""

    knowledge: Knowledge
    number: int = 0
    """As in the request."""


@dataclass(frozen=True, slots=True)
class Deny:
    """You get nothing from me."""

    knowledge: Knowledge
    reason: DenyReason
    address: int | None
    """As in the request."""
    number: int = 0
    """As in the request."""


Message = Request | Grant | Deny


class _WireEntry(msgspec.Struct, array_like=True, gc=False):
    gap: _Address
    length: _Length
    owner: _Index
    version: _Version
    heir: _Index


class _WireRing(msgspec.Struct, array_like=True):
    ring_id: bytes
    start: _Address
    length: _Length
    names: Annotated[list[str], msgspec.Meta(max_length=OWNERS_MAX)]
    entries: Annotated[list[_WireEntry], msgspec.Meta(max_length=ENTRIES_MAX)]
    free: _Count | None = None


class _WireRequest(msgspec.Struct, array_like=True, tag="request"):
    ring: _WireRing
    address: _Address | None
    number: _Number = 0


class _WireGrant(msgspec.Struct, array_like=True, tag="grant"):
    ring: _WireRing
    number: _Number = 0


class _WireDeny(msgspec.Struct, array_like=True, tag="deny"):
    ring: _WireRing
    reason: DenyReason
    address: _Address | None
    number: _Number = 0


_WireMessage = _WireRequest | _WireGrant | _WireDeny

_encoder = msgspec.msgpack.Encoder()
_ring_decoder = msgspec.msgpack.Decoder(_WireRing)
_message_decoder: msgspec.msgpack.Decoder[_WireMessage] = msgspec.msgpack.Decoder(_WireMessage)


def encode_knowledge(knowledge: Knowledge) -> bytes:
    """The payload of an announcement."""
    return bytes([FORMAT]) + _encoder.encode(_to_wire(knowledge))


def decode_knowledge(payload: bytes) -> Knowledge:
    """The knowledge in an announcement; raises RemoteViolation."""
    body = _body(payload)
    try:
        wire = _ring_decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RemoteViolation(f"ring knowledge that cannot be read: {error}") from error
    return _from_wire(wire)


def encode_message(message: Message) -> bytes:
    """The payload of a message to one peer."""
    wire: _WireMessage
    match message:
        case Request(knowledge, address, number):
            wire = _WireRequest(_to_wire(knowledge), address, number)
        case Grant(knowledge, number):
            wire = _WireGrant(_to_wire(knowledge), number)
        case Deny(knowledge, reason, address, number):
            wire = _WireDeny(_to_wire(knowledge), reason, address, number)
        case _:
            assert_never(message)
    return bytes([FORMAT]) + _encoder.encode(wire)


def decode_message(payload: bytes) -> Message:
    """The message of one peer; raises RemoteViolation."""
    body = _body(payload)
    try:
        wire = _message_decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RemoteViolation(f"a ring message that cannot be read: {error}") from error
    knowledge = _from_wire(wire.ring)
    match wire:
        case _WireRequest(_, address, number):
            return Request(knowledge, address, number)
        case _WireGrant(_, number):
            return Grant(knowledge, number)
        case _WireDeny(_, reason, address, number):
            return Deny(knowledge, reason, address, number)
        case _:
            assert_never(wire)


def knowledge_of(ring: Ring, entries: Iterable[Entry], *, free: int | None) -> Knowledge:
    """Some entries of a ring, to be told; those of which nothing is known are left out."""
    known = sorted({entry for entry in entries if entry.title.version})
    return Knowledge(ring.ring_id, ring.universe, tuple(known), free)


def digest_of(ring: Ring | None) -> bytes:
    """16 bytes, equal for equal rings; empty for no ring."""
    if ring is None:
        return b""
    return sha256(encode_knowledge(knowledge_of(ring, ring.known(), free=None))).digest()[:16]


def _body(payload: bytes) -> memoryview:
    if not 0 < len(payload) <= PAYLOAD_BYTES_MAX:
        raise RemoteViolation(f"a payload of {len(payload)} bytes")
    if payload[0] != FORMAT:
        raise RemoteViolation(f"ring format {payload[0]}, which this release does not know")
    return memoryview(payload)[1:]


def _to_wire(knowledge: Knowledge) -> _WireRing:
    places: dict[Owner, int] = {}
    entries: list[_WireEntry] = []
    position = knowledge.universe.start
    for block, title in knowledge.entries:
        owner = places.setdefault(title.owner, len(places))
        heir = places.setdefault(title.heir, len(places))
        entries.append(_WireEntry(block.start - position, block.length, owner, title.version, heir))
        position = block.end
    ring_id = b"" if knowledge.ring_id is None else knowledge.ring_id
    universe = knowledge.universe
    return _WireRing(ring_id, universe.start, universe.length, [*places], entries, knowledge.free)


def _from_wire(wire: _WireRing) -> Knowledge:
    universe = Block(wire.start, wire.length)
    if not universe.is_aligned:
        raise RemoteViolation(f"a universe with host bits: {wire.start}/{wire.length}")
    if len(wire.ring_id) not in (0, RING_ID_BYTES):
        raise RemoteViolation(f"a ring identity of {len(wire.ring_id)} bytes")
    if wire.entries and not wire.ring_id:
        raise RemoteViolation("entries of no ring")
    names = [_owner(name) for name in wire.names]
    entries: list[Entry] = []
    position = universe.start
    for item in wire.entries:
        block = Block(position + item.gap, item.length)
        if not block.is_aligned or not universe.covers(block):
            raise RemoteViolation(f"an entry that is no part of the range: {block.start}/{block.length}")
        if max(item.owner, item.heir) >= len(names) or not names[item.owner]:
            raise RemoteViolation("an entry that names no owner")
        entries.append(Entry(block, Title(item.version, names[item.owner], names[item.heir])))
        position = block.end
    return Knowledge(wire.ring_id or None, universe, tuple(entries), wire.free)


def is_owner_name(name: str) -> bool:
    """Whether a peer may be called so in a ring and on a terminal: some printable ASCII, not too long."""
    return 0 < len(name) <= OWNER_LENGTH_MAX and name.isascii() and name.isprintable()


def _owner(name: str) -> Owner:
    """A name of the table; the empty one stands for no heir."""
    if name and not is_owner_name(name):
        raise RemoteViolation("a peer name that is too long or not printable")
    return Owner(name)
