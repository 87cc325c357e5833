"""A snapshot says what was written, or says that it cannot be used."""

from ipaddress import IPv4Network
from struct import pack
from zlib import crc32

import msgspec
import pytest

from ipam_crdt.cidr import Block
from ipam_crdt.error import SnapshotCorrupt
from ipam_crdt.ring import Owner, Ring
from ipam_crdt.snapshot import SnapshotWriter, read_snapshot
from ipam_crdt.wire import Knowledge, encode_knowledge, knowledge_of

ANNE, BERT = Owner("anne"), Owner("bert")
UNIVERSE = Block.of(IPv4Network("10.0.0.0/24"))
RING = Ring.founded(bytes(range(16)), UNIVERSE, ANNE)
SPLIT = RING.grant(UNIVERSE.halves()[1], giver=ANNE, taker=BERT).ring
ALLOCATIONS = {"one": UNIVERSE.start + 1, "two": UNIVERSE.start + 2}
FREED = [UNIVERSE.start + 9, UNIVERSE.start + 4]
MAGIC = b"weavemesh ring 1\n"


def written() -> bytes:
    return SnapshotWriter(ANNE).write(SPLIT, ALLOCATIONS, FREED)


def forged(head: object, space: object) -> bytes:
    """Whole by its checksums, whatever it says."""
    first, second = msgspec.msgpack.encode(head), msgspec.msgpack.encode(space)
    checksum = crc32(first)
    tail = pack(">II", len(second), crc32(second, checksum)) + second
    return MAGIC + pack(">II", len(first), checksum) + first + tail


def ring_bytes() -> bytes:
    return encode_knowledge(knowledge_of(RING, RING.known(), free=None))


def test_what_was_written_is_read() -> None:
    past = read_snapshot(written())
    assert (past.owner, past.ring, past.allocations, past.freed) == (ANNE, SPLIT, ALLOCATIONS, FREED)


def test_a_writer_follows_the_ring_and_the_space() -> None:
    writer = SnapshotWriter(ANNE)
    for ring, allocations in ((RING, {}), (RING, ALLOCATIONS), (SPLIT, ALLOCATIONS), (RING, {})):
        snapshot = writer.write(ring, allocations, [])
        past = read_snapshot(snapshot)
        assert (past.ring, past.allocations) == (ring, allocations)
        assert snapshot == SnapshotWriter(ANNE).write(ring, allocations, [])


def test_the_ring_of_which_nothing_is_known_survives() -> None:
    ring = Ring.unknown(bytes(16), UNIVERSE)
    assert read_snapshot(SnapshotWriter(ANNE).write(ring, {}, [])).ring == ring


def test_a_snapshot_cut_anywhere_is_corrupt() -> None:
    whole = written()
    for length in range(len(whole)):
        with pytest.raises(SnapshotCorrupt):
            read_snapshot(whole[:length])


def test_any_single_flipped_bit_is_corrupt() -> None:
    whole = written()
    for index in range(len(whole)):
        for bit in range(8):
            torn = bytearray(whole)
            torn[index] ^= 1 << bit
            with pytest.raises(SnapshotCorrupt):
                read_snapshot(bytes(torn))


def test_bytes_after_the_end_are_corrupt() -> None:
    with pytest.raises(SnapshotCorrupt, match="1 bytes follow its end"):
        read_snapshot(written() + b"\0")


def test_sections_of_two_snapshots_do_not_fit_together() -> None:
    space_size = 8 + len(msgspec.msgpack.encode([ALLOCATIONS, FREED]))
    one, other = SnapshotWriter(ANNE).write(RING, ALLOCATIONS, FREED), written()
    assert one[-space_size + 8 :] == other[-space_size + 8 :]
    with pytest.raises(SnapshotCorrupt, match="checksum"):
        read_snapshot(one[:-space_size] + other[-space_size:])


def test_a_later_format_is_not_guessed_at() -> None:
    with pytest.raises(SnapshotCorrupt, match="this release"):
        read_snapshot(written().replace(b"ring 1", b"ring 2"))


def test_a_forgery_of_the_right_shape_is_read() -> None:
    assert read_snapshot(forged(["anne", ring_bytes()], [ALLOCATIONS, FREED])).ring == RING


@pytest.mark.parametrize(
    ("head", "space"),
    [
        (["anne", ring_bytes()], [{"one": 5, "two": 5}, []]),
        (["anne", ring_bytes()], [{"one": 2**32}, []]),
        (["anne", ring_bytes()], [{"one": -1}, []]),
        (["anne", ring_bytes()], [{}, ["10.0.0.1"]]),
        (["anne", ring_bytes()], {}),
        (["anne", b"garbage"], [{}, []]),
        (["anne", encode_knowledge(Knowledge(None, UNIVERSE, (), None))], [{}, []]),
        ([7, ring_bytes()], [{}, []]),
        ([], [{}, []]),
    ],
)
def test_contents_that_cannot_be_right_are_corrupt_in_spite_of_their_checksums(head: object, space: object) -> None:
    with pytest.raises(SnapshotCorrupt):
        read_snapshot(forged(head, space))
