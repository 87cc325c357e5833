"""A snapshot says what was written, or says that it cannot be used."""

from ipaddress import IPv4Network
from struct import pack
from zlib import crc32

import msgspec
import pytest

from ipam_crdt.cidr import Block
from ipam_crdt.error import SnapshotCorrupt
from ipam_crdt.promise import Fence, Promises
from ipam_crdt.quarantine import Claim, Quarantine
from ipam_crdt.ring import Ring
from ipam_crdt.roster import Owner, Roster
from ipam_crdt.snapshot import Snapshot, SnapshotWriter, read_snapshot, read_votes, write_votes
from ipam_crdt.wire import Knowledge, encode_knowledge, knowledge_of

ANNE, BERT, CARL = Owner("anne"), Owner("bert"), Owner("carl")
UNIVERSE = Block.of(IPv4Network("10.0.0.0/24"))
RING = Ring.founded(bytes(range(16)), UNIVERSE, (ANNE,))
SPLIT = RING.grant(UNIVERSE.halves()[1], giver=ANNE, taker=BERT).ring
ALLOCATIONS = {"one": UNIVERSE.start + 1, "two": UNIVERSE.start + 2}
FREED = [UNIVERSE.start + 9, UNIVERSE.start + 4]
BEQUEATHED = SPLIT.merge((), Roster.of(CARL, removed=(BERT,))).ring
LOWER, UPPER = UNIVERSE.halves()
PROMISES = Promises(7, {LOWER: Fence(6, frozenset({ANNE, BERT})), UPPER: Fence(7, frozenset({ANNE, BERT}))})
QUARANTINE = Quarantine({Block(UNIVERSE.start, 30): Claim(CARL, 3)})
SPACE: list[object] = [ALLOCATIONS, FREED, 0, [], [], []]
EMPTY: list[object] = [{}, [], 0, [], [], []]
MAGIC = b"weavemesh ring 2\n"
VOTES_MAGIC = b"weavemesh vote 2\n"


def written() -> bytes:
    return write(BEQUEATHED, ALLOCATIONS)


def write(ring: Ring, allocations: dict[str, int], writer: SnapshotWriter | None = None) -> bytes:
    """A snapshot in which only the ring and the allocations differ."""
    return (writer or SnapshotWriter()).write(Snapshot(ANNE, ring, allocations, FREED, PROMISES, QUARANTINE))


def forged(head: object, space: object) -> bytes:
    """Whole by its checksums, whatever it says."""
    first, second = msgspec.msgpack.encode(head), msgspec.msgpack.encode(space)
    checksum = crc32(first)
    tail = pack(">II", len(second), crc32(second, checksum)) + second
    return MAGIC + pack(">II", len(first), checksum) + first + tail


def ring_bytes() -> bytes:
    return encode_knowledge(knowledge_of(RING, RING.known()))


def test_what_was_written_is_read() -> None:
    past = read_snapshot(written())
    assert (past.owner, past.ring, past.allocations, past.freed) == (ANNE, BEQUEATHED, ALLOCATIONS, FREED)
    promises = past.promises
    assert (promises.round, promises.fences) == (7, PROMISES.fences)
    assert past.quarantine.claims == QUARANTINE.claims


def test_who_has_promised_and_isolated_nothing_has_nothing_of_it_in_its_snapshot() -> None:
    past = read_snapshot(SnapshotWriter().write(Snapshot(ANNE, RING, {}, [])))
    assert (past.promises.round, past.promises.fences) == (0, {})
    assert past.quarantine.claims == {}


def test_a_writer_follows_the_ring_and_the_space() -> None:
    writer = SnapshotWriter()
    for ring, allocations in ((RING, {}), (RING, ALLOCATIONS), (SPLIT, ALLOCATIONS), (BEQUEATHED, {}), (RING, {})):
        snapshot = write(ring, allocations, writer)
        past = read_snapshot(snapshot)
        assert (past.ring, past.allocations) == (ring, allocations)
        assert snapshot == write(ring, allocations)


def test_the_ring_of_which_nothing_is_known_survives() -> None:
    ring = Ring.unknown(bytes(16), UNIVERSE)
    assert read_snapshot(write(ring, {})).ring == ring


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
    one, other = write(RING, ALLOCATIONS), written()
    space_size = len(one) - len(MAGIC) - 8 - int.from_bytes(one[len(MAGIC) : len(MAGIC) + 4], "big")
    assert one[-space_size + 8 :] == other[-space_size + 8 :]
    with pytest.raises(SnapshotCorrupt, match="checksum"):
        read_snapshot(one[:-space_size] + other[-space_size:])


def test_a_later_format_is_not_guessed_at() -> None:
    with pytest.raises(SnapshotCorrupt, match="this release"):
        read_snapshot(written().replace(b"ring 2", b"ring 3"))


def test_a_forgery_of_the_right_shape_is_read() -> None:
    assert read_snapshot(forged(["anne", ring_bytes()], SPACE)).ring == RING


@pytest.mark.parametrize(
    ("head", "space"),
    [
        (["anne", ring_bytes()], [{"one": 5, "two": 5}, *EMPTY[1:]]),
        (["anne", ring_bytes()], [{"one": 2**32}, *EMPTY[1:]]),
        (["anne", ring_bytes()], [{"one": -1}, *EMPTY[1:]]),
        (["anne", ring_bytes()], [{}, ["10.0.0.1"], *EMPTY[2:]]),
        (["anne", ring_bytes()], {}),
        (["anne", ring_bytes()], [{}, []]),
        (["anne", ring_bytes()], [*EMPTY[:3], [[UNIVERSE.start, 24, 1, 0]], [], []]),
        (["anne", ring_bytes()], [*EMPTY[:3], [[UNIVERSE.start, 24, 1, -1]], [["anne"]], []]),
        (["anne", ring_bytes()], [*EMPTY[:3], [[UNIVERSE.start, 33, 1, 0]], [["anne"]], []]),
        (["anne", ring_bytes()], [*EMPTY[:5], [[UNIVERSE.start, 33, "bert", 1]]]),
        (["anne", b"garbage"], EMPTY),
        (["anne", encode_knowledge(Knowledge(None, UNIVERSE, (), Roster(), None))], EMPTY),
        ([7, ring_bytes()], EMPTY),
        ([], EMPTY),
    ],
)
def test_contents_that_cannot_be_right_are_corrupt_in_spite_of_their_checksums(head: object, space: object) -> None:
    with pytest.raises(SnapshotCorrupt):
        read_snapshot(forged(head, space))


def test_votes_that_were_written_are_read_and_a_ring_has_none() -> None:
    for votes in (b"", b"\2votes", bytes(1000)):
        assert read_votes(write_votes(votes)) == votes
    assert read_votes(written()) is None
    with pytest.raises(SnapshotCorrupt, match="as a ring"):
        read_snapshot(write_votes(b"votes"))


def test_votes_cut_anywhere_are_corrupt_or_no_votes() -> None:
    whole = write_votes(b"votes")
    for length in range(len(VOTES_MAGIC), len(whole)):
        with pytest.raises(SnapshotCorrupt):
            read_votes(whole[:length])
    for length in range(len(VOTES_MAGIC)):
        assert read_votes(whole[:length]) is None
        with pytest.raises(SnapshotCorrupt):
            read_snapshot(whole[:length])


def test_any_single_flipped_bit_of_votes_is_corrupt() -> None:
    whole = write_votes(b"votes")
    for index in range(len(VOTES_MAGIC), len(whole)):
        for bit in range(8):
            torn = bytearray(whole)
            torn[index] ^= 1 << bit
            with pytest.raises(SnapshotCorrupt):
                read_votes(bytes(torn))


def test_bytes_after_the_votes_are_corrupt() -> None:
    with pytest.raises(SnapshotCorrupt, match="1 bytes follow its end"):
        read_votes(write_votes(b"votes") + b"\0")
