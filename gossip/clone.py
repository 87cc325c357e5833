"""Clones: another machine that lives under our identity, because its state folder or its whole disk was copied.

It shows in two ways: records in our name that we did not write in this life, and links whose other end has our key but
another life. Once may be a backup that was restored under a clock set back; what comes again is a machine that runs.
Not here: outranking such records (`gossip.author`), saying it to people (the shell).
"""

from __future__ import annotations

from gossip.view import CloneView

SHOWN_S = 120.0
"""How long after its last sign a clone is shown: the two overtake each other all the time while both run."""

TIMES_MIN = 2
"""Signs within SHOWN_S that make a clone."""


class CloneWatch:
    """The signs of a clone."""

    def __init__(self) -> None:
        self._times = 0
        self._last_at = 0.0
        self._summary: bytes | None = None
        self._address: str | None = None

    def record_seen(self, summary: bytes, now: float) -> None:
        """Note a record in our name that is not ours."""
        self._seen(now)
        self._summary = summary

    def link_seen(self, address: str, now: float) -> None:
        """Note a link whose other end has our key and is not us. It is proof: it counts for all the signs needed."""
        self._seen(now)
        self._times = max(self._times, TIMES_MIN)
        self._address = address

    def view(self, now: float) -> CloneView | None:
        """Return what is known of the clone; None if there is none."""
        if self._times < TIMES_MIN or now - self._last_at > SHOWN_S:
            return None
        return CloneView(times=self._times, last_at=self._last_at, summary=self._summary, address=self._address)

    def _seen(self, now: float) -> None:
        if now - self._last_at > SHOWN_S:
            self._times, self._summary, self._address = 0, None, None
        self._times += 1
        self._last_at = now
