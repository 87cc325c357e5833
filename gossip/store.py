"""The records known: for each origin the one of highest rank, whoever brought it and in whatever order.

The merge is a join: commutative, associative, idempotent. Not here: sending (`gossip.exchange`), writing our own
(`gossip.author`). The record of a dead peer stays, as its rights do; only those of fenced peers, who were removed from
the mesh for ever, are dropped, and never taken again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from enum import Enum

from msgspec import Struct

from gossip.error import RemoteViolation
from gossip.name import PeerName
from gossip.pace import Pace
from gossip.record import RANK_NONE, Rank, Record, RecordBody, open_body
from gossip.view import Counters
from gossip.wire import RECORDS_MAX, DigestEntry

FINGERPRINT_BYTES = 16


class Merged(Enum):
    """What a record did to the store."""

    KNOWN = "known"
    """The very one that is known."""
    NOTHING = "nothing"
    """Older, unreadable, one too many, or come too soon."""
    RENEWED = "renewed"
    """Newer than the known one, of the same life and with the same summary: the links may differ."""
    FORGED = "forged"
    """Not written by its origin."""
    CHANGED = "changed"
    """Its origin is new, or begins another life, or gives another summary of itself."""


class Known(Struct):
    """A record and what it says; never changed but as a whole."""

    record: Record
    rank: Rank
    body: RecordBody
    heard_at: float | None
    """When it came (monotonic seconds); None if it was restored from a snapshot or is our own."""
    mark: int
    """Its part in the fingerprint."""
    pace: Pace
    """How fast its origin has spoken lately; goes on from record to record."""


class RecordStore:
    """Origin → its newest record. Iterates in the order in which origins became known."""

    def __init__(self, *, is_authentic: Callable[[Record], bool], counters: Counters) -> None:
        self._is_authentic = is_authentic
        self._counters = counters
        self._known: dict[PeerName, Known] = {}
        self._fenced: dict[PeerName, None] = {}
        self._fingerprint = 0

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, origin: object) -> bool:
        return origin in self._known

    def __iter__(self) -> Iterator[PeerName]:
        return iter(self._known)

    def get(self, origin: PeerName) -> Known | None:
        """Return what is known of `origin`, None if nothing."""
        return self._known.get(origin)

    def fence(self, origin: PeerName) -> bool:
        """Drop the record of `origin` and never take another; return whether it was not fenced before."""
        if origin in self._fenced:
            return False
        self._fenced[origin] = None
        known = self._known.pop(origin, None)
        if known is not None:
            self._fingerprint ^= known.mark
        return True

    def is_fenced(self, origin: PeerName) -> bool:
        """Tell whether `origin` was removed from the mesh."""
        return origin in self._fenced

    def rank(self, origin: PeerName) -> Rank:
        """Return the rank of the record known of `origin`; RANK_NONE if none is."""
        known = self._known.get(origin)
        return RANK_NONE if known is None else known.rank

    def merge(self, record: Record, heard_at: float | None) -> Merged:
        """Take `record` if it is authentic and newer than the known one. The costly signature is checked last."""
        if record.origin in self._fenced:
            self._counters.fenced += 1
            return Merged.NOTHING
        known, rank = self._known.get(record.origin), record.rank
        if known is not None and rank <= known.rank:
            if rank == known.rank:
                return Merged.KNOWN
            self._counters.stale += 1
            return Merged.NOTHING
        if known is None and len(self._known) >= RECORDS_MAX:
            self._counters.refused += 1
            return Merged.NOTHING
        if known is not None and heard_at is not None and known.pace.next_at(heard_at) > heard_at:
            self._counters.hurried += 1
            return Merged.NOTHING
        if not self._is_authentic(record):
            self._counters.forged += 1
            return Merged.FORGED
        if known is not None and record.public_key != known.record.public_key:
            # Its name is the hash of either key. The first that came is believed; both are known to no two peers alike.
            self._counters.collided += 1
            return Merged.NOTHING
        try:
            body = open_body(record)
        except RemoteViolation:
            # Its origin wrote that, not the neighbour who passed it on: no reason to part from the neighbour.
            self._counters.malformed += 1
            return Merged.NOTHING
        pace = Pace(heard_at) if known is None else known.pace
        pace.take(heard_at)
        mark = _mark(record.origin, rank)
        self._known[record.origin] = Known(record, rank, body, heard_at, mark, pace)
        self._fingerprint ^= mark
        if known is None:
            return Merged.CHANGED
        self._fingerprint ^= known.mark
        is_renewed = record.epoch == known.record.epoch and body.summary == known.body.summary
        return Merged.RENEWED if is_renewed else Merged.CHANGED

    def fingerprint(self) -> bytes:
        """Return a hash of all ranks, kept up at O(1) per record: equal for two stores iff they hold the same."""
        return self._fingerprint.to_bytes(FINGERPRINT_BYTES, "big")

    def digest(self) -> tuple[DigestEntry, ...]:
        """Return the rank of each record."""
        return tuple(DigestEntry(origin, *known.rank) for origin, known in self._known.items())

    def newer_than(self, digest: tuple[DigestEntry, ...]) -> tuple[PeerName, ...]:
        """Return the origins of which our record is newer than `digest` says, or not in it."""
        theirs = {entry.origin: entry.rank for entry in digest}
        return tuple(origin for origin, known in self._known.items() if known.rank > theirs.get(origin, RANK_NONE))

    def older_than(self, digest: tuple[DigestEntry, ...]) -> tuple[PeerName, ...]:
        """Return the origins of which `digest` names a newer record than ours, as far as we may take them."""
        full = len(self._known) >= RECORDS_MAX
        newer = {
            entry.origin: None
            for entry in digest
            if entry.rank > self.rank(entry.origin)
            and entry.origin not in self._fenced
            and not (full and entry.origin not in self._known)
        }
        return tuple(newer)


def _mark(origin: PeerName, rank: Rank) -> int:
    epoch, version, tag = rank
    text = f"{origin} {epoch} {version} {tag.hex()}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=FINGERPRINT_BYTES).digest(), "big")
