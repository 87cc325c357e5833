"""What the allocator keeps over a restart, as bytes: its ring, its allocations, and whose they are. Not the file.

Two sections behind a magic with the format number, each with its length and CRC-32; the second checksum goes on from
the first, so that sections of two snapshots do not fit together. The ring's section changes seldom and is encoded
once. The caller writes a snapshot atomically; this recognises one that was torn or altered all the same.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Annotated
from zlib import crc32

import msgspec
from msgspec import Struct, field

from ipam_crdt.cidr import ADDRESS_BITS, Block
from ipam_crdt.error import RemoteViolation, SnapshotCorrupt
from ipam_crdt.promise import Fence, Promises
from ipam_crdt.quarantine import Claim, Quarantine
from ipam_crdt.ring import Ring
from ipam_crdt.roster import Owner
from ipam_crdt.wire import decode_knowledge, encode_knowledge, knowledge_of

_MAGIC = b"weavemesh ring 2\n"
_VOTES_MAGIC = b"weavemesh vote 2\n"
_HEADER = struct.Struct(">II")
_Address = Annotated[int, msgspec.Meta(ge=0, lt=2**ADDRESS_BITS)]
_Length = Annotated[int, msgspec.Meta(ge=0, le=ADDRESS_BITS)]


class Snapshot(Struct, frozen=True):
    """The meaning of a snapshot."""

    owner: Owner
    """The peer whose promises these are."""
    ring: Ring
    """All that it knew of the ring."""
    allocations: Mapping[str, int]
    """The address of each ident."""
    freed: Sequence[int]
    """The addresses given back lately, longest ago first."""
    promises: Promises = field(default_factory=Promises)
    """What it agreed to for the settlement of estates."""
    quarantine: Quarantine = field(default_factory=Quarantine)
    """What it owns but does not hand out."""


class _RingSection(msgspec.Struct, array_like=True):
    owner: str
    ring: bytes


class _SpaceSection(msgspec.Struct, array_like=True):
    allocations: Mapping[str, _Address]
    freed: Sequence[_Address]
    round: int
    fences: list[tuple[_Address, _Length, int, int]]
    """Block, round, and the place of its members in the next list."""
    members: list[list[str]]
    quarantine: list[tuple[_Address, _Length, str, int]]
    """Block, who else claims it, and by which version."""


_encoder = msgspec.msgpack.Encoder()
_ring_decoder = msgspec.msgpack.Decoder(_RingSection)
_space_decoder = msgspec.msgpack.Decoder(_SpaceSection)


class SnapshotWriter:
    """Encodes snapshots of one owner, the ring's section once per ring."""

    def __init__(self) -> None:
        self._ring: Ring | None = None
        self._head = b""
        self._checksum = 0

    def write(self, snapshot: Snapshot) -> bytes:
        """The snapshot as bytes."""
        ring = snapshot.ring
        if ring is not self._ring:
            knowledge = encode_knowledge(knowledge_of(ring, ring.known(), ring.roster))
            section = _encoder.encode(_RingSection(snapshot.owner, knowledge))
            self._ring = ring
            self._checksum = crc32(section)
            self._head = b"".join((_MAGIC, _HEADER.pack(len(section), self._checksum), section))
        section = _encoder.encode(_space_section(snapshot))
        return b"".join((self._head, _HEADER.pack(len(section), crc32(section, self._checksum)), section))


def _space_section(snapshot: Snapshot) -> _SpaceSection:
    places: dict[frozenset[Owner], int] = {}
    fences = [
        (*block, fence.round, places.setdefault(fence.members, len(places)))
        for block, fence in snapshot.promises.fences.items()
    ]
    return _SpaceSection(
        allocations=snapshot.allocations,
        freed=snapshot.freed,
        round=snapshot.promises.round,
        fences=fences,
        members=[sorted(members) for members in places],
        quarantine=[(*block, claim.by, claim.version) for block, claim in snapshot.quarantine.claims.items()],
    )


def write_votes(votes: bytes) -> bytes:
    """The snapshot of a peer that has no ring but takes part in an election."""
    return b"".join((_VOTES_MAGIC, _HEADER.pack(len(votes), crc32(votes)), votes))


def read_votes(snapshot: bytes) -> bytes | None:
    """The votes in a snapshot, not decoded; None if it is one of a ring. Raises SnapshotCorrupt."""
    if not snapshot.startswith(_VOTES_MAGIC):
        return None
    votes, rest, _ = _take_section(snapshot[len(_VOTES_MAGIC) :], 0)
    if rest:
        raise SnapshotCorrupt(f"{len(rest)} bytes follow its end")
    return votes


def read_snapshot(snapshot: bytes) -> Snapshot:
    """What a snapshot means; raises SnapshotCorrupt."""
    if not snapshot.startswith(_MAGIC):
        raise SnapshotCorrupt("it does not begin as a ring of this release does")
    first, rest, checksum = _take_section(snapshot[len(_MAGIC) :], 0)
    second, rest, _ = _take_section(rest, checksum)
    if rest:
        raise SnapshotCorrupt(f"{len(rest)} bytes follow its end")
    try:
        head = _ring_decoder.decode(first)
        knowledge = decode_knowledge(head.ring)
        space = _space_decoder.decode(second)
    except (msgspec.MsgspecError, UnicodeDecodeError, RemoteViolation) as error:
        raise SnapshotCorrupt(str(error)) from error
    if knowledge.ring_id is None:
        raise SnapshotCorrupt("it names no ring")
    if len(set(space.allocations.values())) != len(space.allocations):
        raise SnapshotCorrupt("it gives one address to two idents")
    if any(not 0 <= place < len(space.members) for _, _, _, place in space.fences):
        raise SnapshotCorrupt("it has a fence without members")
    members = [frozenset(Owner(name) for name in names) for names in space.members]
    fences = {Block(start, length): Fence(round_, members[at]) for start, length, round_, at in space.fences}
    claims = {Block(start, length): Claim(Owner(by), version) for start, length, by, version in space.quarantine}
    return Snapshot(
        owner=Owner(head.owner),
        ring=Ring.unknown(knowledge.ring_id, knowledge.universe).merge(knowledge.entries, knowledge.roster).ring,
        allocations=space.allocations,
        freed=space.freed,
        promises=Promises(space.round, fences),
        quarantine=Quarantine(claims),
    )


def _take_section(snapshot: bytes, checksum: int) -> tuple[bytes, bytes, int]:
    if len(snapshot) < _HEADER.size:
        raise SnapshotCorrupt("it is cut short")
    length, expected = _HEADER.unpack_from(snapshot)
    section = snapshot[_HEADER.size : _HEADER.size + length]
    if len(section) < length:
        raise SnapshotCorrupt("it is cut short")
    if crc32(section, checksum) != expected:
        raise SnapshotCorrupt("its checksum does not fit")
    return section, snapshot[_HEADER.size + length :], expected
