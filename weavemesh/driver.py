"""Runs a pure core: hands it inputs and the time, performs what it puts out, keeps its one timer armed.

Holds no protocol. Its counterparts are the cores `gossip.Mesh`, `ipam_crdt.Allocator` and
`weavemesh.overlay.probe.Prober`, which know nothing of clocks and event loops.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")
InputT_contra = TypeVar("InputT_contra", contravariant=True)
OutputT_co = TypeVar("OutputT_co", covariant=True)


class Core(Protocol[InputT_contra, OutputT_co]):
    """The five verbs (queries are each core's own)."""

    def receive(self, event: InputT_contra, now: float) -> None: ...
    def tick(self, now: float) -> None: ...
    def deadline(self) -> float | None: ...
    def outputs(self) -> Sequence[OutputT_co]: ...


class Driver(Generic[InputT, OutputT]):
    """Drives one core on the running event loop; `now` is the loop's monotonic clock, in seconds.

    `perform` carries out one output; it must not block and must not feed this same driver: whatever answers
    an output comes back later, from a task.
    """

    def __init__(self, core: Core[InputT, OutputT], perform: Callable[[OutputT], None]) -> None:
        self._core = core
        self._perform = perform
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._failed: asyncio.Future[None] = self._loop.create_future()
        self._performing = False

    def feed(self, event: InputT) -> None:
        """Hand the core one input and perform all that follows from it."""
        self._core.receive(event, self._loop.time())
        self._after()

    async def run(self) -> None:
        """Keep the timer going until cancelled; raises what the core or an output raised under the timer."""
        self._after()
        try:
            await self._failed
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _after(self) -> None:
        assert not self._performing, "an output of a core may not feed the same core at once"
        self._performing = True
        try:
            for output in self._core.outputs():
                self._perform(output)
        finally:
            self._performing = False
        deadline = self._core.deadline()
        if self._timer is not None:
            if self._timer.when() == deadline:
                return  # as after most inputs
            self._timer.cancel()
            self._timer = None
        if deadline is not None and not self._failed.done():
            self._timer = self._loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._timer = None
        try:
            self._core.tick(self._loop.time())
            self._after()
        except Exception as error:  # noqa: BLE001 - a timer has no caller: the error goes to run(), which has one
            if not self._failed.done():
                self._failed.set_exception(error)
