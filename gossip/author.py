"""The author of our own record: the only one who may write it.

Says anew what changed, the sooner the more hangs on it: each record crosses every link of the mesh, so that what can
wait is told together with what follows. In the long run it keeps the pace of `gossip.pace`. Not here: spreading it
(`gossip.exchange`). The epoch is counted by the shell, once per start.
"""

from __future__ import annotations

from math import inf

import msgspec

from gossip.error import LocalMisuse
from gossip.name import PeerName
from gossip.pace import WRITE_BURST, WRITE_INTERVAL_S, Pace
from gossip.record import COUNT_MAX, REPORTS_MAX, SUMMARY_BYTES_MAX, PathReport, Record, RecordBody, Signer, seal

LOSS_INTERVAL_S = 0.1
"""Between two records that tell of a lost link, as others rely on it. People do not notice a tenth of a second."""

SUMMARY_INTERVAL_S = 0.3
"""Between two that tell of a summary; the first goes at once. At a start several things become known of one by one."""

JOINING_INTERVAL_S = 1.0
"""Between two that tell of a link by which somebody becomes reachable: a hub has many of them when a mesh starts."""

JOINING_WAIT_S = 0.02
"""The first of them waits for so long: links come together where several targets were given."""

CALM_INTERVAL_S = 3.0
"""Between two that tell of what changes nobody's reachability: a link more, or one less where there are enough."""

CALM_WAIT_S = 3.0
"""The first of them waits for so long: links come and go in groups."""

REPORT_INTERVAL_S = 1.0
"""Between two that tell of ways that are not direct."""

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
        self._due_at: float | None = -inf
        self._written_at = -inf
        self._not_before = -inf
        self._overtaken_at = -inf
        self._pace = Pace(None, burst=WRITE_BURST, interval_s=WRITE_INTERVAL_S)

    def describe(self, summary: bytes) -> None:
        """Say `summary` from now on; the same again does nothing."""
        if len(summary) > SUMMARY_BYTES_MAX:
            raise LocalMisuse(f"a summary of {len(summary)} bytes exceeds {SUMMARY_BYTES_MAX}")
        if summary != self._body.summary:
            self._change(SUMMARY_INTERVAL_S if self._body.summary else 0.0, summary=summary)

    def link(self, neighbours: tuple[PeerName, ...], *, matters: bool, now: float) -> None:
        """Name `neighbours` (sorted) as ours from now on; the same again does nothing.

        `matters`: somebody may be reachable by what was gained, or no longer by what was lost.
        """
        if neighbours == self._body.links:
            return
        if not matters:
            self._change(CALM_INTERVAL_S, now + CALM_WAIT_S, links=neighbours)
        elif len(neighbours) < len(self._body.links):
            self._change(LOSS_INTERVAL_S, links=neighbours)
        else:
            # Who had no neighbour spoke to nobody: our first link is told at once.
            interval_s = JOINING_INTERVAL_S if self._body.links else 0.0
            self._change(interval_s, now + JOINING_WAIT_S, links=neighbours)

    def report(self, reports: tuple[PathReport, ...]) -> None:
        """Tell of these ways that are not direct from now on, the first REPORTS_MAX; the same again does nothing."""
        reports = reports[:REPORTS_MAX]
        if reports != self._body.reports:
            self._change(REPORT_INTERVAL_S, reports=reports)

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
        return None if self._due_at is None else max(self._due_at, self._not_before)

    def write(self, now: float) -> Record | None:
        """Return our next record if there is something new to say and it is time; else None."""
        due = self.deadline()
        if due is None or now < due:
            return None
        if self._body == self._written:
            self._due_at = None  # What changed has changed back.
            return None
        if not self._pace.take(now):
            self._not_before = self._pace.next_at(now)
            return None
        self._due_at = None
        self._written = self._body
        self._written_at = now
        self._version += 1
        return seal(self._signer, self.epoch, self._version, self._body)

    def _change(self, interval_s: float, not_before: float = -inf, **fields: object) -> None:
        self._body = msgspec.structs.replace(self._body, **fields)
        due_at = max(self._written_at + interval_s, not_before)
        self._due_at = due_at if self._due_at is None else min(self._due_at, due_at)
