"""Addresses for this host's pods: runs the allocator, keeps its state on disk, answers those who wait.

Holds no rule about addresses: those are `ipam_crdt`'s. What it adds is the order of things: a snapshot is on disk
before anything that relies on it leaves this process, to a pod or to another peer. Who asked for a change is told
when that is durable (`change`, `release`), not when it is made. What follows from a burst of messages is taken from the
allocator in one piece: one snapshot, one announcement.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from ipaddress import IPv4Address
from logging import ERROR
from math import inf
from typing import assert_never

from msgspec import Struct

import ipam_crdt
from ipam_crdt import Allocator, Owner, Roster
from weavemesh.burst import interval_after
from weavemesh.driver import Driver
from weavemesh.errand import ErrandThread
from weavemesh.error import UserError
from weavemesh.logs import Event, log

SAVE_RETRY_S = 1.0
"""A disk that is full now may have room later; until then nothing new is promised to anyone."""


PACE_S = 0.2
"""Between two writes for which nobody here waits: while a mesh forms there is news all the time, and who still waits
for an address gets it by a message to him alone. On a starved host it is more.
"""
CHANGE_DEADLINE_S = 10.0
"""How long who asks for a change waits for the disk; a write takes milliseconds."""


class AllocationRefused(Exception):
    """No address within the deadline; the text is a sentence with the reason and the remedy."""


class NotDurable(Exception):
    """A change was made but is not on disk, and a crash would undo it; the text says why. It is written later."""


class Published(Struct, frozen=True):
    """The ring as others may see it: only what is safely on disk."""

    digest: bytes
    state: bytes
    roster: Roster


class _Batch(Struct):
    """What follows from some news, while it is written."""

    outputs: tuple[ipam_crdt.Output, ...]
    to_tell: list[asyncio.Future[None]]
    """Who waits for all that was decided until it began."""
    snapshot: bytes | None = None
    saving: asyncio.Future[None] | None = None
    published: Published | None = None


class _Silent(Struct):
    """An allocator that only tells the driver's turns: its outputs are taken by the pool, in batches."""

    allocator: Allocator
    has_news: asyncio.Event

    def receive(self, event: ipam_crdt.Input, now: float) -> None:
        self.allocator.receive(event, now)

    def tick(self, now: float) -> None:
        self.allocator.tick(now)

    def deadline(self) -> float | None:
        return self.allocator.deadline()

    def outputs(self) -> tuple[ipam_crdt.Output, ...]:
        self.has_news.set()
        return ()


class AddressPool:
    """Drives one allocator. Also the ring's `gossip.Gossiper`: tells digest and state for anti-entropy."""

    def __init__(
        self,
        allocator: Allocator,
        *,
        save: Callable[[bytes], None],
        announce: Callable[[bytes], None],
        send: Callable[[Owner, bytes], None],
        ownership_changed: Callable[[], None],
    ) -> None:
        """`save` makes a snapshot durable, blocking, and runs in a thread; UserError from it is retried for ever.

        What the allocator has to keep from its very beginning is saved here and now: UserError if it cannot be.
        """
        self.allocator = allocator
        self.problem: UserError | None = None
        """Why nothing can be saved at the moment."""
        self._save = save
        self._disk = ErrandThread("weavemesh-disk")
        self._announce = announce
        self._send = send
        self._ownership_changed = ownership_changed
        self._waiting: dict[str, list[asyncio.Future[IPv4Address]]] = {}
        self._early: list[ipam_crdt.Output] = []
        """What was to be done before `run` began."""
        self._has_news = asyncio.Event()
        self._is_awaited = asyncio.Event()
        """Somebody here waits for what follows from the news."""
        self._batch: _Batch | None = None
        """Is being written and told."""
        self._is_behind = False
        """How much is free, as it is on disk, is not published."""
        self._rests_until = -inf
        self._changed = asyncio.Event()
        self._to_tell: set[asyncio.Future[None]] = set()
        self._has_ended = False
        for output in allocator.outputs():
            if isinstance(output, ipam_crdt.Persist):
                save(output.snapshot)
            else:
                self._early.append(output)
        self._published = self._present()
        self._driver: Driver[ipam_crdt.Input, ipam_crdt.Output] = Driver(
            _Silent(allocator, self._has_news), perform=self._early.append
        )

    async def run(self) -> None:
        """Keep going until cancelled; who still waits for the disk then is told that it will not come."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._driver.run())
                group.create_task(self._perform_in_order())
        finally:
            self._has_ended = True
            self._disk.close()
            for told in self._to_tell:
                if not told.done():
                    told.set_exception(NotDurable("the agent stops"))

    def feed(self, event: ipam_crdt.Input) -> None:
        """Hand the allocator a message or a change of the mesh."""
        self._driver.feed(event)
        if self._waiting and not isinstance(event, ipam_crdt.RingReceived | ipam_crdt.PeersReachable):
            self._is_awaited.set()
        self._wake()

    async def change(self, event: ipam_crdt.Input) -> None:
        """Hand the allocator an order; return when what followed from it at once is on disk and told. NotDurable."""
        if self._has_ended:
            raise NotDurable("the agent stops")
        self.feed(event)
        await self.durable()

    def durable(self) -> Awaitable[None]:
        """Done when all that was decided before is on disk and told; the disk begins at this call. NotDurable."""
        if self._has_ended:
            raise NotDurable("the agent stops")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        is_all_begun = not (self._has_news.is_set() or self._early)
        if self._batch is None and is_all_begun:
            done.set_result(None)
            return done
        self._to_tell.add(done)
        deadline = loop.call_later(CHANGE_DEADLINE_S, self._give_up, done)
        done.add_done_callback(partial(self._forget_told, deadline))
        if self._batch is not None and is_all_begun:
            self._batch.to_tell.append(done)
        else:
            self._has_news.set()
            self._is_awaited.set()
            self._begin()
        return done

    async def until(self, condition: Callable[[], bool], *, deadline_s: float) -> bool:
        """Whether the condition, looked at whenever the allocator may have changed, comes true in time."""
        try:
            async with asyncio.timeout(deadline_s):
                while not condition():
                    await self._changed.wait()
        except TimeoutError:
            return condition()
        return True

    async def allocate(self, ident: str, address: IPv4Address | None = None, *, deadline_s: float) -> IPv4Address:
        """The address of `ident`; the same one if it has one already. AllocationRefused after `deadline_s` seconds.

        With `address`, that very one.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[IPv4Address] = loop.create_future()
        self._waiting.setdefault(ident, []).append(answer)
        deadline = loop.time() + deadline_s
        self.feed(_wish(ident, address, deadline))
        self._is_awaited.set()
        try:
            # The allocator answers by its deadline with its own reason; beyond it only the disk can be the cause.
            async with asyncio.timeout(deadline_s + SAVE_RETRY_S):
                return await answer
        except TimeoutError:
            reason = (
                str(self.problem) if self.problem else f"no address after {deadline_s:g} s; see `weavemesh status ipam`"
            )
            raise AllocationRefused(reason) from None
        finally:
            self._forget(ident, answer)

    async def promise(self, ident: str, address: IPv4Address | None = None, *, deadline_s: float) -> IPv4Address:
        """As `allocate`, but as soon as it is decided: nobody may rely on the address before `durable` has returned."""
        deadline = asyncio.get_running_loop().time() + deadline_s
        if not self._has_ended:
            self.feed(_wish(ident, address, deadline))
            self._is_awaited.set()  # the disk may begin
            held = self.address_of(ident)
            if held is not None and address in (None, held):
                return held
        return await self.allocate(ident, address, deadline_s=deadline_s)

    async def release(self, ident: str) -> None:
        """Give the address of `ident` back, for good when this returns; nothing happens if it has none. NotDurable."""
        await self.change(ipam_crdt.Release(ident))

    @property
    def roster(self) -> Roster:
        """Who takes part in the ring and who was removed, as far as that is on disk."""
        return self._published.roster

    def address_of(self, ident: str) -> IPv4Address | None:
        return self.allocator.address_of(ident)

    def digest(self) -> bytes:
        return self._published.digest

    def state(self) -> bytes:
        return self._published.state

    async def _perform_in_order(self) -> None:
        while True:
            if self._batch is None:
                await self._has_news.wait()
            if self._batch is None:
                await self._keep_pace()
            began = asyncio.get_running_loop().time()
            batch = self._begin()
            if batch.snapshot is not None:
                await self._make_durable(batch)
                self._is_behind = True
            if batch.published is not None:
                self._published = batch.published
                self._is_behind = False
            for output in batch.outputs:
                self._perform(output)
            for told in batch.to_tell:
                if not told.done():
                    told.set_result(None)
            self._batch = None
            await asyncio.sleep(0)  # who was told goes first
            self._publish()
            if batch.outputs:
                now = asyncio.get_running_loop().time()
                self._rests_until = now + interval_after(now - began, at_least_s=PACE_S)
                self._wake()

    def _begin(self) -> _Batch:
        """The batch that is being written: now all that is new, unless there was one before, which comes first."""
        if self._batch is not None:
            return self._batch
        self._is_awaited.clear()
        self._has_news.clear()
        early, self._early[:] = tuple(self._early), ()
        outputs = (*early, *self.allocator.outputs())
        batch = self._batch = _Batch(outputs, [*self._to_tell])
        for output in outputs:
            if isinstance(output, ipam_crdt.Persist):
                batch.snapshot = output.snapshot
        if batch.snapshot is not None:
            batch.saving = self._disk.submit(partial(self._save, batch.snapshot))
            if self._is_behind or self.allocator.digest() != self._published.digest:
                batch.published = self._present()
        return batch

    def _publish(self) -> None:
        """What is on disk, unless more is known by now: then it is the next batch that does it.

        For news that changed no ring but only how much is free: with a large one this takes as long as the disk, and
        nobody needs to wait for it.
        """
        if self._is_behind and self._batch is None and not self._has_news.is_set():
            self._published = self._present()
            self._is_behind = False

    async def _keep_pace(self) -> None:
        """Wait until the next batch is due, or somebody waits for what has just come."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._rests_until - asyncio.get_running_loop().time()):
                await self._is_awaited.wait()

    def _present(self) -> Published:
        return Published(self.allocator.digest(), self.allocator.state(), self.allocator.roster)

    def _forget_told(self, deadline: asyncio.TimerHandle, told: asyncio.Future[None]) -> None:
        deadline.cancel()
        self._to_tell.discard(told)

    def _give_up(self, done: asyncio.Future[None]) -> None:
        reason = str(self.problem) if self.problem else f"the disk has not answered for {CHANGE_DEADLINE_S:g} s"
        if not done.done():
            done.set_exception(NotDurable(reason))

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _make_durable(self, batch: _Batch) -> None:
        assert batch.snapshot is not None and batch.saving is not None, "there is something to be kept"
        saving = batch.saving
        while True:
            try:
                await saving
            except UserError as error:
                if self.problem is None:
                    log(ERROR, Event.STATE_WRITE_FAILED, reason=error)
                self.problem = error
                await asyncio.sleep(SAVE_RETRY_S)
                saving = self._disk.submit(partial(self._save, batch.snapshot))
            else:
                self.problem = None
                return

    def _perform(self, output: ipam_crdt.Output) -> None:
        match output:
            case ipam_crdt.Persist():
                pass  # done before the batch
            case ipam_crdt.Announce(payload=payload):
                self._announce(payload)
            case ipam_crdt.Send(destination=destination, payload=payload):
                self._send(destination, payload)
            case ipam_crdt.Allocated(ident=ident, address=address):
                for answer in self._answers(ident):
                    answer.set_result(address)
            case ipam_crdt.Refused(ident=ident, reason=reason):
                for answer in self._answers(ident):
                    answer.set_exception(AllocationRefused(reason))
            case ipam_crdt.OwnershipChanged():
                self._ownership_changed()
            case _:
                assert_never(output)

    def _answers(self, ident: str) -> list[asyncio.Future[IPv4Address]]:
        return [answer for answer in self._waiting.pop(ident, []) if not answer.done()]

    def _forget(self, ident: str, answer: asyncio.Future[IPv4Address]) -> None:
        waiting = self._waiting.get(ident, [])
        if answer in waiting:
            waiting.remove(answer)
            if not waiting:
                del self._waiting[ident]


def _wish(ident: str, address: IPv4Address | None, deadline: float) -> ipam_crdt.Input:
    return ipam_crdt.Allocate(ident, deadline) if address is None else ipam_crdt.Claim(ident, address, deadline)
