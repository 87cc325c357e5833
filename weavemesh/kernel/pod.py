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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from random import Random
from threading import Lock
from typing import TypeVar

from weavemesh.kernel import podwork
from weavemesh.kernel.podmodel import Order, PodAddress, PodLink, WiredPod, WiringFailed, host_ifname
from weavemesh.kernel.podplan import INDEX_MAX, INDEX_MIN, Plan, Player

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

    async def attach(
        self, order: Order, *, player: Player | None = None, meanwhile: Callable[[WiredPod], None] | None = None
    ) -> WiredPod:
        """Makes the attachment whole or not at all; the pod can send and be reached when this returns.

        A player saves the way through a thread; what it cannot make is done here. `meanwhile` is
        told what is to be expected, if that is known before it is done.
        A half-made leftover of the same ident, or one in another namespace, is cleared first. InterfaceExists: the pod
        has an interface of that name already, and it stays. WiringFailed: anything else. Cancelled: ends when the
        kernel is done and what it made is undone.
        """
        work = partial(podwork.attach, order)
        # Another index each time: what is left of an earlier attempt, by a player that is late, meets no device of it.
        index = self._random.randrange(INDEX_MIN, INDEX_MAX, 2)
        if player is not None and (plan := podwork.plan(order, index=index, netns_fd=player.netns_fd)) is not None:
            if meanwhile is not None:
                asyncio.get_running_loop().call_soon(meanwhile, plan.pod)
            replies = await self._play(plan, player)
            if plan.is_done_by(replies):
                return plan.pod
            work = partial(podwork.attach_after, plan, order, replies)
        return await self._run(work, undo=partial(podwork.detach, host_ifname(order.ident)))

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

    def _sweep(self) -> None:
        with self._sweeping:
            self._sweep_is_due = False  # what is retired from now on may be too late for this one
        with suppress(WiringFailed):  # they are retired all the same, and the next one takes them along
            podwork.delete_retired()

    async def _play(self, plan: Plan, player: Player) -> bytes:
        try:
            return await player.play(plan.batches)
        except BaseException:
            await asyncio.wait([asyncio.get_running_loop().run_in_executor(self._threads, _undo, plan)])
            raise

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


def _undo(plan: Plan) -> None:
    with suppress(WiringFailed):  # it is half made then, and the next one in its place clears it
        podwork.undo(plan)


def _end(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)
