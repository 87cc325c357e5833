"""How much may be sent of what nobody waits for: a purse that fills slowly (a token bucket). Pure."""

KNOCKS_MAX = 64.0
"""At once: enough for a small mesh. In a large one peers are tried one after the other, while the tunnels may work."""
KNOCKS_PER_SECOND = 10.0
"""In the long run, whatever the size of the mesh and however many peers cannot be reached."""


class Purse:
    """Full at first. As it is, that of the knocks which searches for paths send."""

    def __init__(self, *, most: float = KNOCKS_MAX, per_second: float = KNOCKS_PER_SECOND) -> None:
        self._most, self._per_second = most, per_second
        self._content = most
        self._at: float | None = None

    def take(self, now: float, *, count: int) -> bool:
        """So many; False, and nothing taken, if there are not so many left."""
        self._fill(now)
        if self._content < count:
            return False
        self._content -= count
        return True

    def spend(self, now: float, *, count: int) -> None:
        """So many, whatever is left: what is owed is filled up first. No more can be owed than is there at first."""
        self._fill(now)
        self._content = max(-self._most, self._content - count)

    def holds_at(self, now: float, *, count: int) -> float:
        """When it will hold so many, should nothing be taken meanwhile: now, or later."""
        self._fill(now)
        return now + max(0.0, count - self._content) / self._per_second

    def _fill(self, now: float) -> None:
        since = 0.0 if self._at is None else now - self._at
        self._at = now
        self._content = min(self._most, self._content + since * self._per_second)
