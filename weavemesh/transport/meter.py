"""The meter of one link: how much the other end may say before it is held back, and how long before it is told off.

Pure: it is handed the time. What it measures is cost: bytes, and a fixed sum for each frame, because many tiny frames
keep a processor busier than their bytes tell. Who sends more is simply read more slowly; TCP holds it back.
"""

from typing import Final

COST_PER_FRAME: Final = 1024
"""A frame is decoded, judged and perhaps answered: about 50 us, the time in which some KiB are decrypted."""

COST_PER_S: Final = 4 * 1024 * 1024
"""In the long run: 4 MiB of state, or 4,096 frames, a second. A mesh of 1,000 says less than a hundredth of it."""

COST_BURST: Final = 16 * 1024 * 1024
"""At once: the whole state of the largest mesh, several times over, as a new link brings it."""

FLOOD_S: Final = 10.0
"""Who has been held back for so long without a pause floods: no state is that large."""


class Meter:
    """A token bucket that may go into debt, as what has come was read already."""

    def __init__(self, now: float) -> None:
        self._tokens = float(COST_BURST)
        self._at = now
        self._held_since: float | None = None

    def take(self, *, size: int, frames: int, now: float) -> float:
        """Count what came; return for how many seconds to read nothing, 0 as a rule."""
        self._fill(now)
        self._tokens -= size + frames * COST_PER_FRAME
        if self._tokens >= 0:
            return 0.0
        if self._held_since is None:
            self._held_since = now
        return -self._tokens / COST_PER_S

    def floods(self, now: float) -> bool:
        """Tell whether it has been held back for FLOOD_S without a pause."""
        return self._held_since is not None and now - self._held_since >= FLOOD_S

    def _fill(self, now: float) -> None:
        self._tokens = min(COST_BURST, self._tokens + (now - self._at) * COST_PER_S)
        self._at = now
        if self._tokens > COST_PER_S / 4:
            # A quarter of a second without its full pace: it has paused.
            self._held_since = None
