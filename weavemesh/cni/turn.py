"""Turns: a lock for each name that somebody holds or waits for, in the order in which they came."""

import asyncio

from msgspec import Struct, field


class _Turn(Struct):
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class Turns:
    """Who works on the same thing works on it one after the other."""

    def __init__(self) -> None:
        self._turns: dict[str, _Turn] = {}

    def take(self, name: str) -> "_Taking":
        """Waits for those who came before, and holds the name until the block is left."""
        return _Taking(self._turns, name)


class _Taking:
    """A block in which a name is held. Not by `asynccontextmanager`: a container waits for this."""

    __slots__ = ("_name", "_turn", "_turns")

    def __init__(self, turns: dict[str, _Turn], name: str) -> None:
        self._turns = turns
        self._name = name
        self._turn = _Turn()

    async def __aenter__(self) -> None:
        self._turn = self._turns.setdefault(self._name, self._turn)
        self._turn.users += 1
        try:
            await self._turn.lock.acquire()
        except BaseException:
            self._leave()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._turn.lock.release()
        self._leave()

    def _leave(self) -> None:
        self._turn.users -= 1
        if not self._turn.users:
            del self._turns[self._name]
