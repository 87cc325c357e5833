"""Wires pods: a veth pair each, routed, with nothing left to be asked of the network.

The pod's end has a /32 and a /128 address and a route by a link-local gateway that no machine has: both ends hold
permanent neighbour entries, so there is no ARP, no neighbour solicitation, no duplicate address detection and no
broadcast domain. The host's end has no address; the host routes the pod's two addresses to it.

Not here: which address a pod gets (`ipam_crdt`), what a container runtime is told (`weavemesh.cni`), the overlay
device, and the kernel's work itself (`weavemesh.kernel.podwork`). That is done in threads, or by a `Player` that plays
a plan: deleting a veth takes 15 ms, and all of it waits for the kernel's one lock on devices.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from random import Random
from threading import Lock
from typing import TypeVar

from weavemesh.kernel import podplan, podwork
from weavemesh.kernel.podmodel import Order, PodAddress, PodLink, StillWired, WiredPod, WiringFailed, host_ifname
from weavemesh.kernel.podplan import INDEX_MAX, INDEX_MIN, Player

T = TypeVar("T")

SWITCH_INTERVAL_S = 0.0005
THREADS = 4
"""More would only queue at the kernel's lock on devices."""


class PodWiring:
    """Wires and unwires pods in the agent's network namespace, which must forward (`weavemesh.kernel.sysctl`).

    Calls for different idents may run at once; those for one ident are the caller's to put in order.
    """

    def __init__(self) -> None:
        # The event loop is not to wait the usual 5 ms for a thread of these that packs messages.
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="weavemesh-pod")
        self._sweeper = ThreadPoolExecutor(1, thread_name_prefix="weavemesh-sweep")
        self._sweep_is_due = False
        self._sweeping = Lock()
        self._random = Random()
        self._new_devices = podwork.NewDevices()

    async def attach(
        self,
        order: Order,
        promise: Callable[[], Awaitable[PodAddress]],
        settle: Callable[[WiredPod], Awaitable[bytes]],
        *,
        player: Player | None = None,
    ) -> WiredPod:
        """Makes the attachment whole or not at all; the pod can send and be reached when this returns.

        `promise` decides its address. `settle` gives the answer as soon as nothing but the kernel's work is lacking;
        without a player it is called when that is done. A player saves the way through a thread, begins while the
        address is decided, and has given the answer when this returns what `settle` was told. What it cannot make is
        done here. If one of the two raises, the attachment is undone (StillWired: it could not be).
        A half-made leftover of the same ident, or one in another namespace, is cleared first. InterfaceExists: the pod
        has an interface of that name already, and it stays. WiringFailed: anything else. Cancelled: ends when the
        kernel is done and what it made is undone, unless the player has given the answer.
        """
        if player is not None and not self._new_devices.need_more:
            return await self._play(order, promise, settle, player)
        address = await promise()
        pod = await self._attach(order, partial(podwork.attach, order, address))
        try:
            await settle(pod)
        except BaseException:
            try:
                await self.detach(order.ident, pod.address)
            except WiringFailed as error:
                raise StillWired(error.reason) from error
            raise
        return pod

    async def detach(self, ident: str, address: PodAddress | None) -> bool:
        """Ends the attachment: nobody reaches the pod by `address` any more, nor can it send from there.

        Its devices go in a thread, in some tens of milliseconds, and in any case with the pod's namespace or by the
        `sweep` of the next agent. False if there was none. WiringFailed if the kernel refuses.
        """
        is_ended = await self._run(partial(podwork.retire, host_ifname(ident), address))
        if is_ended:
            self.sweep()
        return is_ended

    async def detach_link(self, name: str) -> bool:
        """Deletes a host's end of which nobody knows whose it is, and waits for it. WiringFailed."""
        return await self._run(partial(podwork.detach, name))

    def sweep(self) -> None:
        """Has the devices of ended attachments deleted, in a thread; returns at once."""
        with self._sweeping:
            if not self._sweep_is_due:
                self._sweep_is_due = True
                self._sweeper.submit(self._sweep)

    async def check(self, ident: str, *, netns_fd: int, ifname: str, address: PodAddress) -> tuple[str, ...]:
        """What is missing of an attachment, as sentences; what others added to it is none of our business."""
        return await self._run(partial(podwork.check, ident, netns_fd, ifname, address))

    async def list_pod_links(self) -> tuple[PodLink, ...]:
        """All host ends of pods' veths, by name and without any state of ours. WiringFailed if the kernel refuses."""
        return await self._run(podwork.list_pod_links)

    async def close(self) -> None:
        """Waits for what is running; the pods stay wired."""
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self._sweeper.shutdown)
        self._new_devices.close()

    def _sweep(self) -> None:
        with self._sweeping:
            self._sweep_is_due = False  # what is retired from now on may be too late for this one
        with suppress(WiringFailed):  # they are retired all the same, and the next one takes them along
            podwork.delete_retired()

    async def _play(
        self,
        order: Order,
        promise: Callable[[], Awaitable[PodAddress]],
        settle: Callable[[WiredPod], Awaitable[bytes]],
        player: Player,
    ) -> WiredPod:
        # Another index each time: what is left of an earlier attempt, by a player that is late, meets no device of it.
        index = self._random.randrange(INDEX_MIN, INDEX_MAX, 2)
        has_ipv6 = self._new_devices.have_ipv6
        draft = podplan.draft(order, index=index, netns_fd=player.netns_fd, has_ipv6=has_ipv6)
        try:
            player.send((draft.pair,))  # the kernel may begin
            address = await promise()
            plan = podplan.plan(draft, address)
            player.send(plan.rest)
            outcome = await player.end(await settle(plan.pod))
        except BaseException:
            await player.stop()
            await self._wait_for(partial(_undo, order.ident, index))
            raise
        if not outcome.failure:
            return plan.pod
        return await self._attach(order, partial(podwork.attach_after, plan, order, address, outcome.replies))

    async def _attach(self, order: Order, work: Callable[[], WiredPod]) -> WiredPod:
        return await self._run(work, undo=partial(podwork.detach, host_ifname(order.ident)))

    async def _wait_for(self, work: Callable[[], None]) -> None:
        """Also where this task is being cancelled."""
        await asyncio.wait([asyncio.get_running_loop().run_in_executor(self._threads, work)])

    async def _run(self, work: Callable[[], T], *, undo: Callable[[], object] | None = None) -> T:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        # Not run_in_executor: the loop needs four turns to hand its outcome on, and a container waits for this one.
        thread = self._threads.submit(work)
        thread.add_done_callback(lambda _: loop.call_soon_threadsafe(_end, ended))
        try:
            await ended
        except asyncio.CancelledError:
            # A thread cannot be stopped, and nobody may clean up beside it.
            await asyncio.wait([asyncio.wrap_future(thread)])
            if not thread.cancelled() and thread.exception() is None and undo is not None:
                await asyncio.wait([loop.run_in_executor(self._threads, undo)])
            raise
        return thread.result()


def _undo(ident: str, index: int) -> None:
    with suppress(WiringFailed):  # it is half made then, and the next one in its place clears it
        podwork.undo(ident, index)


def _end(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)
