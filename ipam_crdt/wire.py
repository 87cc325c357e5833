"""The bytes that peers exchange: ring knowledge for everyone; request, grant, deny, settle and agree between two.

A pure codec. A payload is one byte for the format and then MessagePack, arrays throughout. Ring entries are in order of
address; each says how far it starts behind the end of the one before (0 in a whole ring), and names peers by their
place in a table, which is the roster at once: whoever stands in it is a member, and a list tells who was removed. So
entries that overlap or are out of order cannot be expressed, and the ring of 1,000 peers is under 32 KiB.
Elements that a later release appends to an array are ignored. Whatever cannot be right raises `RemoteViolation` and
nothing else.
"""

from collections.abc import Iterable
from enum import Enum
from hashlib import sha256
from typing import Annotated, assert_never

import msgspec
from msgspec import Struct

from ipam_crdt.cidr import ADDRESS_BITS, Block
from ipam_crdt.error import RemoteViolation
from ipam_crdt.ring import (
    ENTRIES_MAX,
    NO_ROSTER,
    OWNERS_MAX,
    RING_ID_BYTES,
    ROUND_MAX,
    VERSION_MAX,
    Entry,
    Ring,
    Title,
)
from ipam_crdt.roster import Owner, Roster

FORMAT = 1
PAYLOAD_BYTES_MAX = 2**20
"""One gossip frame."""
DIGEST_BYTES = 16
OWNER_LENGTH_MAX = 32
"""A PeerName has 16 characters."""
REQUEST_NUMBERS = 2**48
"""A peer begins anywhere among them, so that the answers to an earlier life of it fit no request of this one."""

_Address = Annotated[int, msgspec.Meta(ge=0, lt=2**ADDRESS_BITS)]
_Length = Annotated[int, msgspec.Meta(ge=0, le=ADDRESS_BITS)]
_NAMES_MAX = OWNERS_MAX + 1
"""The empty one, for no heir, stands in the table beside those of all owners."""
_Index = Annotated[int, msgspec.Meta(ge=0, lt=_NAMES_MAX)]
_Version = Annotated[int, msgspec.Meta(ge=1, le=VERSION_MAX)]
_Round = Annotated[int, msgspec.Meta(ge=0, le=ROUND_MAX)]
_Digest = Annotated[bytes, msgspec.Meta(max_length=DIGEST_BYTES)]
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


class Knowledge(Struct, frozen=True):
    """What a peer knows of a ring, or a part of it."""

    ring_id: bytes | None
    """None: the sender has no ring yet."""
    universe: Block
    """The range that the ring divides, or that the sender is configured for."""
    entries: tuple[Entry, ...]
    """Disjoint, inside the universe, in order of address."""
    roster: Roster
    """Who takes part and who was removed, or a part of it; at least all whom the entries name."""
    free: int | None
    """How many free addresses the sender has itself; None if it does not say."""


class Request(Struct, frozen=True):
    """Give me space."""

    knowledge: Knowledge
    """All that the asker knows itself to own, so that a lost grant is repeated instead of followed by another."""
    address: int | None
    """The very address it needs; None if any of the subnet will do."""
    subnet: Block
    """A part of the universe, or all of it."""
    number: int = 0
    """Comes back in the answer, so that one to an earlier request is not taken for it."""


class Grant(Struct, frozen=True):
    """The entries make you the owner of something."""

    knowledge: Knowledge
    number: int = 0
    """As in the request."""


class Deny(Struct, frozen=True):
    """You get nothing from me."""

    knowledge: Knowledge
    reason: DenyReason
    address: int | None
    """As in the request."""
    number: int = 0
    """As in the request."""


class Notice(Struct, frozen=True):
    """You ought to know this: that you were removed, or that somebody else was given what you own."""

    knowledge: Knowledge


class Settle(Struct, frozen=True):
    """Somebody was removed: agree that I pass on what it left. The entries are its estate as far as I know."""

    knowledge: Knowledge
    round: int
    """Greater than that of any settlement that I have heard of."""
    digest: bytes
    """Of my whole roster."""


class Agree(Struct, frozen=True):
    """I have bound myself (settlement.py says to what). The entries are what I know better of the estate."""

    knowledge: Knowledge
    round: int
    """The greatest that I have heard of: my word counts if it is the one in the request."""
    digest: bytes
    """Of my whole roster: my word counts if it is the asker's, too."""


Message = Request | Grant | Deny | Notice | Settle | Agree


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
    names: Annotated[list[str], msgspec.Meta(max_length=_NAMES_MAX)]
    entries: Annotated[list[_WireEntry], msgspec.Meta(max_length=ENTRIES_MAX)]
    free: _Count | None = None
    removed: Annotated[list[_Index], msgspec.Meta(max_length=OWNERS_MAX)] = []


class _WireRequest(msgspec.Struct, array_like=True, tag="request"):
    ring: _WireRing
    address: _Address | None
    subnet_start: _Address
    subnet_length: _Length
    number: _Number = 0


class _WireGrant(msgspec.Struct, array_like=True, tag="grant"):
    ring: _WireRing
    number: _Number = 0


class _WireDeny(msgspec.Struct, array_like=True, tag="deny"):
    ring: _WireRing
    reason: DenyReason
    address: _Address | None
    number: _Number = 0


class _WireNotice(msgspec.Struct, array_like=True, tag="notice"):
    ring: _WireRing


class _WireSettle(msgspec.Struct, array_like=True, tag="settle"):
    ring: _WireRing
    round: _Round
    digest: _Digest


class _WireAgree(msgspec.Struct, array_like=True, tag="agree"):
    ring: _WireRing
    round: _Round
    digest: _Digest


_WireMessage = _WireRequest | _WireGrant | _WireDeny | _WireNotice | _WireSettle | _WireAgree

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
        case Request(knowledge, address, subnet, number):
            wire = _WireRequest(_to_wire(knowledge), address, *subnet, number)
        case Grant(knowledge, number):
            wire = _WireGrant(_to_wire(knowledge), number)
        case Deny(knowledge, reason, address, number):
            wire = _WireDeny(_to_wire(knowledge), reason, address, number)
        case Notice(knowledge):
            wire = _WireNotice(_to_wire(knowledge))
        case Settle(knowledge, round_, digest):
            wire = _WireSettle(_to_wire(knowledge), round_, digest)
        case Agree(knowledge, round_, digest):
            wire = _WireAgree(_to_wire(knowledge), round_, digest)
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
        case _WireRequest(_, address, start, length, number):
            subnet = Block(start, length)
            if not subnet.is_aligned or not knowledge.universe.covers(subnet):
                raise RemoteViolation(f"a subnet that is no part of the range: {start}/{length}")
            return Request(knowledge, address, subnet, number)
        case _WireGrant(_, number):
            return Grant(knowledge, number)
        case _WireDeny(_, reason, address, number):
            return Deny(knowledge, reason, address, number)
        case _WireNotice():
            return Notice(knowledge)
        case _WireSettle(_, round_, digest):
            return Settle(knowledge, round_, digest)
        case _WireAgree(_, round_, digest):
            return Agree(knowledge, round_, digest)
        case _:
            assert_never(wire)


def knowledge_of(
    ring: Ring, entries: Iterable[Entry], roster: Roster = NO_ROSTER, *, free: int | None = None
) -> Knowledge:
    """Some entries and names of a ring, to be told; entries of which nothing is known are left out."""
    known = sorted({entry for entry in entries if entry.title.version})
    named = frozenset(name for _, title in known for name in (title.owner, title.heir) if name)
    return Knowledge(ring.ring_id, ring.universe, tuple(known), roster.join(Roster(named)), free)


def digest_of(ring: Ring | None) -> bytes:
    """Equal for equal rings; empty for no ring."""
    if ring is None:
        return b""
    return digest_of_bytes(encode_knowledge(knowledge_of(ring, ring.known(), ring.roster)))


def digest_of_bytes(payload: bytes) -> bytes:
    """Equal for equal bytes; empty for none."""
    return sha256(payload).digest()[:DIGEST_BYTES] if payload else b""


def digest_of_roster(roster: Roster) -> bytes:
    """Equal for equal rosters."""
    return digest_of_bytes(_encoder.encode((sorted(roster.members), sorted(roster.removed))))


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
    for name in sorted(knowledge.roster.members):
        places.setdefault(name, len(places))
    removed = sorted(places[name] for name in knowledge.roster.removed)
    ring_id = b"" if knowledge.ring_id is None else knowledge.ring_id
    universe = knowledge.universe
    return _WireRing(ring_id, universe.start, universe.length, [*places], entries, knowledge.free, removed)


def _from_wire(wire: _WireRing) -> Knowledge:
    universe = Block(wire.start, wire.length)
    if not universe.is_aligned:
        raise RemoteViolation(f"a universe with host bits: {wire.start}/{wire.length}")
    if len(wire.ring_id) not in (0, RING_ID_BYTES):
        raise RemoteViolation(f"a ring identity of {len(wire.ring_id)} bytes")
    if (wire.entries or wire.names) and not wire.ring_id:
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
    if wire.removed and max(wire.removed) >= len(names):
        raise RemoteViolation("a removal that names nobody")
    roster = Roster(frozenset(filter(None, names)), frozenset(filter(None, (names[at] for at in wire.removed))))
    return Knowledge(wire.ring_id or None, universe, tuple(entries), roster, wire.free)


def is_owner_name(name: str) -> bool:
    """Whether a peer may be called so in a ring and on a terminal: some printable ASCII, not too long."""
    return 0 < len(name) <= OWNER_LENGTH_MAX and name.isascii() and name.isprintable()


def _owner(name: str) -> Owner:
    """A name of the table; the empty one stands for no heir."""
    if name and not is_owner_name(name):
        raise RemoteViolation("a peer name that is too long or not printable")
    return Owner(name)
