"""Keeps one table of the packet filter as it was declared: applies it, sees when somebody removes it, puts it back.

Firewalls are flushed: by people, by other programs' restarts. The kernel tells of each change; after one to a table of
that name, and now and then without, the table is read back and compared with what it was when it had been applied.
"""

import asyncio
from contextlib import suppress
from logging import INFO, WARNING
from typing import Final

from weavemesh.kernel import nftables
from weavemesh.kernel.nftables import Family, NftablesError, Table, TableChanges
from weavemesh.logs import Event, log

CHECK_INTERVAL_S: Final = 30.0
"""Without a word from the kernel."""
RETRY_S: Final = 2.0
PAUSE_S: Final = 0.1
"""After a look at the table: whoever flushes it in a loop does not get a loop of ours."""


class KeptTable:
    """One table, by family and name; it stays in the kernel when this ends."""

    def __init__(self, family: Family, name: str) -> None:
        self._family = family
        self._name = name
        self._declared: Table | None = None
        self._as_applied: str | None = None
        """What the kernel showed when the declared table was in it; None: it has not been applied."""
        self._is_declared = False
        self._news = asyncio.Event()
        self._settled = asyncio.Event()
        self.failures: tuple[str, ...] = ()
        """Why the kernel does not hold what was declared, as sentences with the remedy."""

    def declare(self, table: Table | None) -> None:
        """This is what the table should be from now on; None: there should be none. The same again does nothing."""
        assert table is None or (table.family, table.name) == (self._family, self._name), "this keeps another table"
        if self._is_declared and table == self._declared:
            return
        self._declared, self._is_declared, self._as_applied = table, True, None
        self._settled.clear()
        self._news.set()

    async def wait_applied(self) -> None:
        """Returns once the kernel holds what was declared last."""
        await self._settled.wait()

    async def run(self) -> None:
        """Keeps it until cancelled."""
        changes: TableChanges | None = None
        with suppress(OSError):  # then it is looked at by the clock alone, and applying says what is wrong
            changes = TableChanges.open()
        try:
            async with asyncio.TaskGroup() as group:
                if changes is not None:
                    group.create_task(self._watch(changes))
                while True:
                    await self._wait()
                    if self._is_declared:
                        await self._keep(self._declared)
                    await asyncio.sleep(PAUSE_S)
        finally:
            if changes is not None:
                changes.close()

    async def _watch(self, changes: TableChanges) -> None:
        while True:
            await changes.of(self._name)
            self._news.set()

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(RETRY_S if self.failures else CHECK_INTERVAL_S):
                await self._news.wait()
        self._news.clear()

    async def _keep(self, table: Table | None) -> None:
        try:
            if table is None:
                await nftables.remove(self._family, self._name)
            elif self._as_applied is None or await self._is_changed():
                as_applied = await nftables.apply(table)
                self._as_applied = as_applied if table == self._declared else None  # something else may be by now
                log(INFO, Event.KERNEL_CHANGED, action=f"apply the table {self._name} of the packet filter")
        except NftablesError as error:
            self._fail(error.reason)
            return
        self.failures = ()
        if table == self._declared:
            self._settled.set()

    async def _is_changed(self) -> bool:
        as_applied = self._as_applied
        is_changed = await nftables.read(self._family, self._name) != as_applied
        if as_applied != self._as_applied:
            return False  # something else was declared during the look: that is applied next
        if is_changed:
            log(WARNING, Event.KERNEL_FAILED, reason=f"somebody changed or removed the table {self._name}; put back")
        return is_changed

    def _fail(self, reason: str) -> None:
        sentence = f"the table {self._name} of the packet filter cannot be set up: {reason}"
        if sentence not in self.failures:
            log(WARNING, Event.KERNEL_FAILED, reason=sentence)
        self.failures = (sentence,)
