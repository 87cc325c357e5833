"""Keeps the kernel as the plan says: plans anew when something changed, applies the difference, tries failures again.

Neither the plan (`weavemesh.overlay.plan`) nor the kernel (`weavemesh.kernel`) is known here; only when to call them.
"""

import asyncio
from collections.abc import Callable
from logging import INFO, WARNING
from math import inf

from weavemesh.burst import interval_after
from weavemesh.kernel.sentence import describe
from weavemesh.logs import Event, log
from weavemesh.overlay.state import DesiredState
from weavemesh.overlay.tunnel import Tunnel

COALESCE_S = 0.02
"""News comes in bursts (a record, then the ring): one plan for the burst."""
PACE_S = 0.2
"""Between two plans: while a mesh forms there is news all the time, and each plan looks at all peers.
On a starved host it is more."""
CHECK_INTERVAL_S = 30.0
"""Without news the kernel is compared again so often: what someone else removed comes back."""
RETRY_S = 2.0


class Reconciler:
    """Applies `plan()` to the tunnel after each `changed()`; `plan` returns None while there is nothing to wish.

    `applied` is called after each attempt.
    """

    def __init__(
        self,
        tunnel: Tunnel,
        plan: Callable[[], DesiredState | None],
        *,
        applied: Callable[[], None] = lambda: None,
    ) -> None:
        self._tunnel = tunnel
        self._plan = plan
        self._tell_applied = applied
        self._changed = asyncio.Event()
        self._next_at = -inf
        self._plans = 0
        """How many plans were made."""
        self._applied = 0
        """The last of them that was applied without failures."""
        self._success = asyncio.Event()
        self.failures: tuple[str, ...] = ()
        """What the last attempt could not do, as sentences."""

    def changed(self) -> None:
        """Something that the plan is made of has changed."""
        self._changed.set()

    async def wait_applied(self) -> None:
        """Return once a plan has been applied without failures, since the start."""
        await self._wait_for(1)

    async def settle(self) -> None:
        """Return once a plan that is made from now on has been applied without failures."""
        wanted = self._plans + 1
        self.changed()
        await self._wait_for(wanted)

    async def run(self) -> None:
        """Keep going until cancelled."""
        while True:
            await self._wait()
            begin = asyncio.get_running_loop().time()
            desired = self._plan()
            if desired is not None:
                self._plans += 1
                await self._apply(desired)
            took_s = asyncio.get_running_loop().time() - begin
            self._next_at = begin + interval_after(took_s, at_least_s=PACE_S)

    async def _wait_for(self, number: int) -> None:
        while self._applied < number:
            self._success.clear()
            await self._success.wait()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(RETRY_S if self.failures else CHECK_INTERVAL_S):
                await self._changed.wait()
                await asyncio.sleep(max(COALESCE_S, self._next_at - asyncio.get_running_loop().time()))
        except TimeoutError:
            pass
        self._changed.clear()

    async def _apply(self, desired: DesiredState) -> None:
        report = await self._tunnel.apply(desired)
        for action in report.actions:
            log(INFO, Event.KERNEL_CHANGED, action=describe(action))
        for sentence in report.settings:
            log(INFO, Event.KERNEL_CHANGED, setting=sentence)
        for failure in set(report.failures) - set(self.failures):
            log(WARNING, Event.KERNEL_FAILED, reason=failure)
        self.failures = report.failures
        if not report.failures:
            self._applied = self._plans
            self._success.set()
        self._tell_applied()
