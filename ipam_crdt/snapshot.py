"""What the allocator keeps over a restart, as bytes: its ring, its allocations, and whose they are. Not the file.

Two sections behind a magic with the format number, each with its length and CRC-32; the second checksum goes on from
the first, so that sections of two snapshots do not fit together. The ring's section changes seldom and is encoded
once. The caller writes a snapshot atomically; this recognises one that was torn or altered all the same.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Annotated
from zlib import crc32

import msgspec

from ipam_crdt.cidr import ADDRESS_BITS
from ipam_crdt.error import RemoteViolation, SnapshotCorrupt
from ipam_crdt.ring import Owner, Ring
from ipam_crdt.wire import decode_knowledge, encode_knowledge, knowledge_of

_MAGIC = b"weavemesh ring 1\n"
_HEADER = Struct(">II")
_Address = Annotated[int, msgspec.Meta(ge=0, lt=2**ADDRESS_BITS)]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The meaning of a snapshot."""

    owner: Owner
    """The peer whose promises these are."""
    ring: Ring
    """All that it knew of the ring."""
    allocations: dict[str, int]
    """The address of each ident."""
    freed: list[int]
    """The addresses given back lately, longest ago first."""


class _RingSection(msgspec.Struct, array_like=True):
    owner: str
    ring: bytes


class _SpaceSection(msgspec.Struct, array_like=True):
    allocations: dict[str, _Address]
    freed: list[_Address]


_encoder = msgspec.msgpack.Encoder()
_ring_decoder = msgspec.msgpack.Decoder(_RingSection)
_space_decoder = msgspec.msgpack.Decoder(_SpaceSection)


class SnapshotWriter:
    """Encodes snapshots of one owner, the ring's section once per ring."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._ring: Ring | None = None
        self._head = b""
        self._checksum = 0

    def write(self, ring: Ring, allocations: Mapping[str, int], freed: Iterable[int]) -> bytes:
        """The snapshot."""
        if ring is not self._ring:
            knowledge = encode_knowledge(knowledge_of(ring, ring.known(), free=None))
            section = _encoder.encode(_RingSection(self._owner, knowledge))
            self._ring = ring
            self._checksum = crc32(section)
            self._head = b"".join((_MAGIC, _HEADER.pack(len(section), self._checksum), section))
        section = _encoder.encode(_SpaceSection(dict(allocations), list(freed)))
        return b"".join((self._head, _HEADER.pack(len(section), crc32(section, self._checksum)), section))


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
    ring = Ring.unknown(knowledge.ring_id, knowledge.universe).merge(knowledge.entries).ring
    return Snapshot(Owner(head.owner), ring, space.allocations, space.freed)


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
