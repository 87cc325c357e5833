"""The snapshot: what the Mesh wants to find again after a restart.

Records of all peers (ours among them, lest an older life outrank us) and targets. Not links, round-trip times or
reachability: those are learned anew. The shell keeps the bytes; losing them costs only the targets.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from gossip.error import SnapshotCorrupt
from gossip.name import Target
from gossip.record import Record
from gossip.target import TARGETS_MAX
from gossip.wire import RECORDS_MAX

SNAPSHOT_FORMAT = 1


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything kept over a restart."""

    format: int
    records: Annotated[tuple[Record, ...], msgspec.Meta(max_length=RECORDS_MAX)]
    targets: Annotated[tuple[Target, ...], msgspec.Meta(max_length=TARGETS_MAX)]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Snapshot)


def encode_snapshot(records: tuple[Record, ...], targets: tuple[Target, ...]) -> bytes:
    """Return a snapshot as bytes."""
    return _encoder.encode(Snapshot(format=SNAPSHOT_FORMAT, records=records, targets=targets))


def decode_snapshot(encoded: bytes) -> Snapshot:
    """Return what `encode_snapshot` was given; SnapshotCorrupt if these bytes are not its work."""
    try:
        snapshot = _decoder.decode(encoded)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SnapshotCorrupt(f"not a gossip snapshot: {error}") from error
    if snapshot.format != SNAPSHOT_FORMAT:
        raise SnapshotCorrupt(f"gossip snapshot of format {snapshot.format}, this release reads {SNAPSHOT_FORMAT}")
    return snapshot
