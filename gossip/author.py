"""The author of our own record: the only one who may write it.

Says anew what changed, at once if it has been quiet, otherwise at most every PUBLISH_INTERVAL_S, so that a burst of
links becomes one record. Not here: spreading it (`gossip.exchange`). The epoch is counted by the shell, once per start.
"""

from __future__ import annotations

from math import inf

from gossip.error import LocalMisuse
from gossip.name import PeerName
from gossip.record import COUNT_MAX, SUMMARY_BYTES_MAX, Record, RecordBody, Signer, seal

PUBLISH_INTERVAL_S = 0.1
"""Each record crosses every link of the mesh; people do not notice a tenth of a second."""

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
        self._is_due = True
        self._not_before = -inf
        self._overtaken_at = -inf

    def describe(self, summary: bytes) -> None:
        """Say `summary` from now on; the same again does nothing."""
        if len(summary) > SUMMARY_BYTES_MAX:
            raise LocalMisuse(f"a summary of {len(summary)} bytes exceeds {SUMMARY_BYTES_MAX}")
        self._change(RecordBody(summary, self._body.links))

    def link(self, neighbours: tuple[PeerName, ...]) -> None:
        """Name `neighbours` (sorted) as ours from now on; the same again does nothing."""
        self._change(RecordBody(self._body.summary, neighbours))

    def overtaken(self, record: Record, now: float) -> None:
        """Begin an epoch above that of `record`, which bears our name but was not written in this life."""
        if record.epoch < self.epoch or record.epoch + 1 >= COUNT_MAX:
            return
        self.epoch = record.epoch + 1
        self._version = 0
        self._is_due = True
        self._not_before = max(self._not_before, self._overtaken_at + OVERTAKEN_INTERVAL_S)
        self._overtaken_at = now

    def deadline(self) -> float | None:
        """Return when `write` has something to say; None if nothing has changed."""
        return self._not_before if self._is_due else None

    def write(self, now: float) -> Record | None:
        """Return our next record if there is something new to say and it is time; else None."""
        if not self._is_due or now < self._not_before:
            return None
        self._is_due = False
        self._not_before = now + PUBLISH_INTERVAL_S
        self._version += 1
        return seal(self._signer, self.epoch, self._version, self._body)

    def _change(self, body: RecordBody) -> None:
        if body != self._body:
            self._body = body
            self._is_due = True
