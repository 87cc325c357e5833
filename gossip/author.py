"""The author of our own record: the only one who may write it.

Says anew what changed: at once if it has been quiet; in a burst a loss after LOSS_INTERVAL_S, since others rely on the
link, and a further gain after GAIN_INTERVAL_S, since more are likely to follow. In the long run it keeps the pace of
`gossip.pace`. Not here: spreading it (`gossip.exchange`). The epoch is counted by the shell, once per start.
"""

from __future__ import annotations

from math import inf

import msgspec

from gossip.error import LocalMisuse
from gossip.name import PeerName
from gossip.pace import WRITE_BURST, WRITE_INTERVAL_S, Pace
from gossip.record import COUNT_MAX, REPORTS_MAX, SUMMARY_BYTES_MAX, PathReport, Record, RecordBody, Signer, seal

LOSS_INTERVAL_S = 0.1
"""Each record crosses every link of the mesh; people do not notice a tenth of a second."""

GAIN_INTERVAL_S = 1.0
"""A peer that joins gains its ten links within seconds, and each is named soon enough if named with the next ones."""

FIRST_LINKS = 3
"""The first links of a peer are what it is reached by: to gain these is as urgent as a loss."""

OVERTAKEN_INTERVAL_S = 1.0
"""Two machines with one identity overtake each other for ever: slow enough to do no harm, fast enough after a restored
backup.
"""


class Author:
    """Writes the records of one identity in one life."""

    def __init__(self, signer: Signer, epoch: int) -> None:
        if not 0 <= epoch < COUNT_MAX:
            raise LocalMisuse(f"epoch {epoch} is out of range")
        self._signer = signer
        self.epoch = epoch
        self._version = 0
        self._body = RecordBody(b"", ())
        self._written: RecordBody | None = None
        self._interval_s: float | None = 0.0
        self._written_at = -inf
        self._not_before = -inf
        self._overtaken_at = -inf
        self._pace = Pace(None, burst=WRITE_BURST, interval_s=WRITE_INTERVAL_S)

    def describe(self, summary: bytes) -> None:
        """Say `summary` from now on; the same again does nothing."""
        if len(summary) > SUMMARY_BYTES_MAX:
            raise LocalMisuse(f"a summary of {len(summary)} bytes exceeds {SUMMARY_BYTES_MAX}")
        if summary != self._body.summary:
            self._change(LOSS_INTERVAL_S, summary=summary)

    def link(self, neighbours: tuple[PeerName, ...]) -> None:
        """Name `neighbours` (sorted) as ours from now on; the same again does nothing."""
        if neighbours != self._body.links:
            is_gain = set(neighbours) > set(self._body.links)
            may_wait = is_gain and len(self._body.links) >= FIRST_LINKS
            self._change(GAIN_INTERVAL_S if may_wait else LOSS_INTERVAL_S, links=neighbours)

    def report(self, reports: tuple[PathReport, ...]) -> None:
        """Tell of these ways that are not direct from now on, the first REPORTS_MAX; the same again does nothing."""
        reports = reports[:REPORTS_MAX]
        if reports != self._body.reports:
            self._change(GAIN_INTERVAL_S, reports=reports)

    def overtaken(self, record: Record, now: float) -> None:
        """Begin an epoch above that of `record`, which bears our name but was not written in this life."""
        if record.epoch < self.epoch or record.epoch + 1 >= COUNT_MAX:
            return
        self.epoch = record.epoch + 1
        self._version = 0
        self._written = None
        self._change(0.0)
        self._not_before = max(self._not_before, self._overtaken_at + OVERTAKEN_INTERVAL_S)
        self._overtaken_at = now

    def deadline(self) -> float | None:
        """Return when `write` has something to say; None if nothing has changed."""
        if self._interval_s is None:
            return None
        return max(self._written_at + self._interval_s, self._not_before)

    def write(self, now: float) -> Record | None:
        """Return our next record if there is something new to say and it is time; else None."""
        due = self.deadline()
        if due is None or now < due:
            return None
        if self._body == self._written:
            self._interval_s = None  # What changed has changed back.
            return None
        if not self._pace.take(now):
            self._not_before = self._pace.next_at(now)
            return None
        self._interval_s = None
        self._written = self._body
        self._written_at = now
        self._version += 1
        return seal(self._signer, self.epoch, self._version, self._body)

    def _change(self, interval_s: float, **fields: object) -> None:
        self._body = msgspec.structs.replace(self._body, **fields)
        self._interval_s = interval_s if self._interval_s is None else min(self._interval_s, interval_s)
