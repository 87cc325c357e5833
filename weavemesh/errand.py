"""A thread that runs one errand after the other for an event loop, and tells it at once how each went.

For what is waited for: `asyncio.to_thread` and executors make four objects and four turns of the loop of each call.
"""

import asyncio
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread

from msgspec import Struct


class _Errand(Struct):
    work: Callable[[], None]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[None]


class ErrandThread:
    """Begins with the first errand, and ends after the last one when it is closed."""

    def __init__(self, name: str) -> None:
        self._errands: SimpleQueue[_Errand | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name=name)
        self._has_begun = False

    def submit(self, work: Callable[[], None]) -> asyncio.Future[None]:
        """Done when the work is, with what it raised; whoever waits for it no longer does not stop the work."""
        loop = asyncio.get_running_loop()
        errand = _Errand(work, loop, loop.create_future())
        if not self._has_begun:
            self._has_begun = True
            self._thread.start()
        self._errands.put(errand)
        return errand.done

    def close(self) -> None:
        """Takes no more, and does not wait for those that it has; again does nothing."""
        self._errands.put(None)

    def _run(self) -> None:
        while errand := self._errands.get():
            failure: Exception | None = None
            try:
                errand.work()
            except Exception as error:  # noqa: BLE001  # carried over to who waits
                failure = error
            try:
                errand.loop.call_soon_threadsafe(_tell, errand.done, failure)
            except RuntimeError:  # the loop is closed: nobody waits
                return


def _tell(done: asyncio.Future[None], failure: Exception | None) -> None:
    if done.done():  # who waited is gone
        return
    if failure is None:
        done.set_result(None)
    else:
        done.set_exception(failure)
