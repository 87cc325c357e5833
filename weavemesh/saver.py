"""Writes what the mesh core wants to keep, some time after it changed: a burst of news is one write.

For state that promises nothing to anyone; what is promised is written by `weavemesh.pool`, before the promise.
"""

import asyncio
from collections.abc import Callable
from logging import ERROR

from weavemesh.error import UserError
from weavemesh.logs import Event, log

DELAY_S = 1.0


class Saver:
    """Writes in a thread after `changed`; a failure is told once and tried again."""

    def __init__(self, snapshot: Callable[[], bytes], write: Callable[[bytes], None]) -> None:
        """`snapshot` is called on the event loop; `write` blocks, and raises UserError when it cannot."""
        self._snapshot = snapshot
        self._write = write
        self._changed = asyncio.Event()
        self.problem: UserError | None = None
        """Why the last write failed."""

    def changed(self) -> None:
        """There is something new to keep."""
        self._changed.set()

    async def run(self) -> None:
        """Keep going until cancelled."""
        while True:
            await self._changed.wait()
            await asyncio.sleep(DELAY_S)
            await self.save_now()

    async def save_now(self) -> None:
        """Write at once, if there is anything new."""
        if not self._changed.is_set():
            return
        self._changed.clear()
        try:
            await asyncio.to_thread(self._write, self._snapshot())
        except UserError as error:
            if self.problem is None:
                log(ERROR, Event.STATE_WRITE_FAILED, reason=error)
            self.problem = error
            self._changed.set()
        else:
            self.problem = None
