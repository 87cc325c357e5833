"""The agent's start, told step by step to whoever waits for it.

The daemon calls `step` and `finish`; `weavemesh up` asks over GET /v1/ready.
"""

import asyncio
from contextlib import suppress

from weavemesh.api.message import WAIT_S_MAX, Failure, Readiness

STEPS_MAX = 64
"""Older steps are dropped: an agent that waits for days must not grow."""


class ReadinessLog:
    """Sentences in order, and whether the last one is "ready"."""

    def __init__(self) -> None:
        self._steps: list[str] = []
        self._count = 0
        self._ready = False
        self._refusal: Failure | None = None
        self._changed = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether the start is finished."""
        return self._ready

    @property
    def last(self) -> str | None:
        """The newest sentence; None before the first."""
        return self._steps[-1] if self._steps else None

    def step(self, sentence: str) -> None:
        """Tell what is being done or waited for; telling the same again is nothing new."""
        if sentence == self.last:
            return
        self._steps = [*self._steps, sentence][-STEPS_MAX:]
        self._count += 1
        self._wake()

    def finish(self, sentence: str) -> None:
        """Tell that the agent is ready."""
        self._ready = True
        self.step(sentence)
        self._wake()

    def refuse(self, sentence: str, remedy: str) -> None:
        """Tell that the agent will never be ready, or is so no longer."""
        self._refusal = Failure(sentence=sentence, remedy=remedy)
        self.step(f"{sentence}; {remedy}")
        self._wake()

    async def wait(self, *, known: int, wait_s: float) -> Readiness:
        """What is new after `known` sentences: at once if there is anything or all is decided, else within `wait_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(min(max(wait_s, 0.0), WAIT_S_MAX)):
                while self._count <= known and not self._ready and self._refusal is None:
                    await self._changed.wait()
        new = min(max(self._count - known, 0), len(self._steps))
        return Readiness(
            ready=self._ready,
            steps=tuple(self._steps[len(self._steps) - new :]),
            known=self._count,
            refusal=self._refusal,
        )

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
