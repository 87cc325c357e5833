import msgspec
import pytest

from gossip import SnapshotCorrupt, Target
from gossip.snapshot import decode_snapshot, encode_snapshot
from tests.unit.gossip.transcript import record


def test_a_snapshot_gives_back_what_was_put_in() -> None:
    records, targets = (record("ann", 1, 2, ["bob"], b"s"),), (Target("h:1"), Target("[::1]:6783"))
    snapshot = decode_snapshot(encode_snapshot(records, targets))
    assert (snapshot.records, snapshot.targets) == (records, targets)


def test_fields_of_a_later_release_are_skipped() -> None:
    encoded = msgspec.msgpack.encode({"format": 1, "records": [], "targets": ["h:1"], "future": {}})
    assert decode_snapshot(encoded).targets == ("h:1",)


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"garbage",
        b"\x91" * 3000,
        encode_snapshot((), (Target("h:1"),)).replace(b"h:1", b"\xff:1"),
        msgspec.msgpack.encode({"format": 2, "records": [], "targets": []}),
        msgspec.msgpack.encode({"format": 1, "records": [["x"]], "targets": []}),
        msgspec.msgpack.encode({"format": 1, "records": [], "targets": ["h:1"] * 2000}),
    ],
    ids=range(7),
)
def test_anything_else_is_corrupt(encoded: bytes) -> None:
    with pytest.raises(SnapshotCorrupt):
        decode_snapshot(encoded)
