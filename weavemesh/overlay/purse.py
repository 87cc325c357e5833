"""How many knocks the searches for paths may send: a purse that fills slowly (a token bucket). Pure."""

KNOCKS_MAX = 64.0
"""At once: enough for a small mesh. In a large one peers are tried one after the other, while the tunnels may work."""
KNOCKS_PER_SECOND = 10.0
"""In the long run, whatever the size of the mesh and however many peers cannot be reached."""


class Purse:
    """Full at first."""

    def __init__(self) -> None:
        self._content = KNOCKS_MAX
        self._at: float | None = None

    def take(self, now: float, *, count: int) -> bool:
        """So many knocks; False, and nothing taken, if there are not so many left."""
        since = 0.0 if self._at is None else now - self._at
        self._at = now
        self._content = min(KNOCKS_MAX, self._content + since * KNOCKS_PER_SECOND)
        if self._content < count:
            return False
        self._content -= count
        return True
