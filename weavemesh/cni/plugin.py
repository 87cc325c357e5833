"""What the CNI plugin does for an interface and as IPAM plugin: all verbs, over two doors, addresses and wiring.

Theory of operation. An attachment is keyed by its ident (network, container id, interface name) alone. Its address is
decided before anything is routed to its veth; both the veth and the journal on disk are done before the runtime is
answered. The veth is whole or absent, whoever sends the messages that make it (`weavemesh.kernel.pod`); the address is
journalled by its source. So whatever moment an ADD is cut off at, the DEL that follows every failed ADD finds and frees
all of it, the collector does so where none comes, and an ADD that ends without an answer undoes itself first. The
answer may be in the hands of the executable before the veth is done, which gives it when it is, or never. An address
that the journal had before an ADD belongs to an earlier one: only a DEL releases it. A DEL answers when nothing is
routed to the pod any more and the address is given back for good; the devices are then removed in a thread.

Not here: sockets and frames (`weavemesh.cni.server`), what the runtime may ask (`request`), shapes (`result`), what is
left of containers that are gone (`collector`).
"""

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from ipaddress import ip_interface
from pathlib import Path
from typing import assert_never

from weavemesh.cni.collector import Collector
from weavemesh.cni.door import AddressSource, Wiring
from weavemesh.cni.frame import Answer, Call
from weavemesh.cni.request import Command, Request, decode, version_of
from weavemesh.cni.result import (
    Attached,
    CniError,
    ErrorCode,
    Leased,
    encode_error,
    encode_lease,
    encode_result,
    encode_versions,
)
from weavemesh.cni.tombstone import Tombstone, read_tombstones
from weavemesh.cni.turn import Turns
from weavemesh.kernel.podmodel import (
    InterfaceExists,
    Order,
    PodAddress,
    StillWired,
    WiredPod,
    WiringFailed,
    host_ifname,
)
from weavemesh.kernel.podplan import Player
from weavemesh.logs import Event, log
from weavemesh.podaddress import AddressUnfit
from weavemesh.pool import AllocationRefused, NotDurable

ALLOCATION_DEADLINE_S = 20.0
"""A peer that has space answers in milliseconds; a container runtime waits for an ADD for a minute or two."""
ANSWER_DEADLINES_S = {Command.ADD: 50.0, Command.CHECK: 50.0, Command.STATUS: 0.8}
"""Shorter than the patience of the executable (60 s; STATUS: 1 s): so the runtime gets our reason and not its own."""
ANSWER_DEADLINE_OTHERS_S = 25.0
_UNDO_DEADLINE_S = 15.0


class Plugin:
    """Answers calls; any number at once. Calls for one ident wait for each other, in the order in which they came."""

    def __init__(self, *, addresses: AddressSource, wiring: Wiring, mtu: Callable[[], int]) -> None:
        """`mtu` tells the MTU of the overlay device, which pods get too."""
        self._addresses = addresses
        self._wiring = wiring
        self._mtu = mtu
        self._own_netns = _identity_of("/proc/self/ns/net")
        self._turns = Turns()
        self._replaying = asyncio.Lock()
        self.collector = Collector(addresses, wiring, self._turns)

    async def perform(self, call: Call, *, player: Player | None = None) -> Answer:
        """The answer to a call, also to one that is wrong. Cancelled: an ADD is undone, then it ends.

        The player, if there is one, is whoever called.
        """
        try:
            request = decode(call)
            async with asyncio.timeout(ANSWER_DEADLINES_S.get(request.command, ANSWER_DEADLINE_OTHERS_S)):
                return await self._perform(request, call, player)
        except CniError as error:
            return _refusal(call, error)
        except TimeoutError:
            return _refusal(call, CniError(ErrorCode.TRY_AGAIN_LATER, "the weavemesh agent is too busy", _SEE_LOG))

    async def retract(self, answer: Answer) -> None:
        """Undoes an ADD whose answer nobody got; nothing for other answers."""
        if answer.attached is not None:
            async with self._turns.take(host_ifname(answer.attached)):
                await self._undo(answer.attached)

    async def replay_tombstones(self, folder: Path) -> int:
        """Does the DELs that the executable left there; how many. What cannot be done now stays for the next time."""
        async with self._replaying:
            done = 0
            for tombstone in await asyncio.to_thread(read_tombstones, folder):
                done += await self._replay(tombstone)
            return done

    async def _perform(self, request: Request, call: Call, player: Player | None) -> Answer:
        match request.command:
            case Command.ADD:
                return await (self._lease(request) if request.is_ipam else self._add(request, call, player))
            case Command.DEL:
                await self._delete(request)
            case Command.CHECK:
                await self._check(request, call)
            case Command.GC:
                await self.collector.collect_all_but(request)
            case Command.STATUS:
                if obstacle := self._addresses.obstacle():
                    raise CniError(ErrorCode.CANNOT_ADD, "no container can be attached now", obstacle)
            case Command.VERSION:
                return Answer(0, encode_versions(request.version))
            case _:
                assert_never(request.command)
        return Answer(0, b"")

    # -- an interface -----------------------------------------------------------------------------------

    async def _add(self, request: Request, call: Call, player: Player | None) -> Answer:
        netns_fd = self._pod_netns(request, call)
        if call.own_netns_fd is None or _identity_of(call.own_netns_fd) != self._own_netns:
            player = None  # it is not where the host's end belongs
        async with self._turns.take(host_ifname(request.ident)):
            pod, result = await self._attach(request, netns_fd, player)
        fields = {**_fields(request), "address": pod.address.ipv4, "link": pod.host_ifname}
        # The runtime is told before the log.
        asyncio.get_running_loop().call_soon(partial(log, logging.INFO, Event.CONTAINER_ATTACHED, **fields))
        return Answer(0, result, attached=request.ident)

    async def _attach(self, request: Request, netns_fd: int, player: Player | None) -> tuple[WiredPod, bytes]:
        """Wires the pod while its address is written to disk: neither waits for the other, the answer for both."""
        is_new = self._addresses.address_of(request.ident) is None
        results: dict[WiredPod, bytes] = {}

        def result_of(pod: WiredPod) -> bytes:
            attached = Attached(request.pod_ifname, request.netns, pod, request.dns, request.chained)
            return encode_result(attached, request.version)

        async def settle(pod: WiredPod) -> bytes:
            is_kept = self._addresses.durable()
            results[pod] = result_of(pod)  # while the disk writes
            await is_kept
            return results[pod]

        promise = partial(
            self._addresses.promise, request.ident, request.wish.addresses, deadline_s=ALLOCATION_DEADLINE_S
        )
        try:
            pod = await self._wiring.attach(self._order(request, netns_fd), promise, settle, player=player)
        except BaseException as error:
            if is_new and not isinstance(error, StillWired):
                await self._release(request.ident)
            if explained := _explain(error):
                raise explained from error
            raise
        return pod, results.get(pod) or result_of(pod)

    def _order(self, request: Request, netns_fd: int) -> Order:
        return Order(
            ident=request.ident,
            netns_fd=netns_fd,
            ifname=request.pod_ifname,
            mtu=self._mtu(),
            label=request.wish.label,
            mac=request.wish.mac,
            is_default=request.is_default,
            mesh=self._addresses.mesh(),
        )

    async def _delete(self, request: Request) -> None:
        async with self._turns.take(host_ifname(request.ident)):
            had_link = not request.is_ipam and await self._detach(request.ident)
            had_address = self._addresses.address_of(request.ident) is not None
            try:
                await self._addresses.release(request.ident)
            except NotDurable as error:
                raise CniError(
                    ErrorCode.TRY_AGAIN_LATER, "the address is not given back for good yet", str(error)
                ) from error
        if had_link or had_address:
            log(logging.INFO, Event.CONTAINER_DETACHED, **_fields(request))

    async def _check(self, request: Request, call: Call) -> None:
        if request.previous is None:
            raise CniError(ErrorCode.INVALID_CONFIG, "CHECK needs prevResult, the result of the ADD")
        netns_fd = None if request.is_ipam else self._pod_netns(request, call)
        async with self._turns.take(host_ifname(request.ident)):
            held = self._addresses.address_of(request.ident)
            if held is None:
                raise CniError(ErrorCode.ATTACHMENT_BROKEN, f"no address is kept for {request.ident}", _ADD_AGAIN)
            # Which interface is ours is known by the address: in a chain it may not be the one that was asked for.
            ours = {one.ifname for one in request.previous if one.address == held.ipv4}
            findings = [] if ours else [f"its address {held.ipv4} is not in prevResult"]
            told = {one.address for one in request.previous if one.ifname in (ours or {request.ifname})}
            if netns_fd is not None:
                findings += [f"{one} is not kept for it" for one in sorted(map(str, told - set(held.all())))]
                expected = PodAddress(held.ipv4, held.ipv6 if held.ipv6 in told else None)
                ifname = min(ours, default=request.ifname)
                findings += await self._wiring.check(request.ident, netns_fd=netns_fd, ifname=ifname, address=expected)
        if findings:
            log(logging.WARNING, Event.CONTAINER_FAILED, **_fields(request), reason="; ".join(findings))
            raise CniError(
                ErrorCode.ATTACHMENT_BROKEN,
                f"{request.ifname} is not as it was made: {findings[0]}",
                "; ".join(findings),
            )

    # -- an address alone -------------------------------------------------------------------------------

    async def _lease(self, request: Request) -> Answer:
        """An address for another plugin, which makes the interface. Its gateway is this host."""
        host = self._addresses.host()
        if host is None:
            raise CniError(ErrorCode.TRY_AGAIN_LATER, "this host has no address in the mesh yet", _SEE_LOG)
        async with self._turns.take(host_ifname(request.ident)):
            is_new = self._addresses.address_of(request.ident) is None
            try:
                address = await self._addresses.promise(
                    request.ident, request.wish.addresses, deadline_s=ALLOCATION_DEADLINE_S
                )
                await self._addresses.durable()
            except BaseException as error:
                if is_new:
                    await self._release(request.ident)
                if explained := _explain(error):
                    raise explained from error
                raise
        log(logging.INFO, Event.ADDRESS_ALLOCATED, **_fields(request), address=address.ipv4)
        gateways = {one.version: one for one in (*host.all(), *([request.gateway] if request.gateway else []))}
        addresses = [one for one in address.all() if one.version in gateways]
        # With the gateway: bridge fills it in by itself, and its CHECK then misses a route without.
        routes = [
            {"dst": str(network), "gw": str(gateways[network.version])}
            for network in self._addresses.mesh()
            if network.version in gateways
        ]
        leased = Leased(
            addresses=tuple(ip_interface(f"{one}/{self._addresses.subnet_of(one)}") for one in addresses),
            gateways=tuple(gateways[one.version] for one in addresses),
            routes=(*routes, *request.routes),
            dns=request.dns,
        )
        return Answer(0, encode_lease(leased, request.version), attached=request.ident)

    def _pod_netns(self, request: Request, call: Call) -> int:
        """The container's namespace. CniError if there is none, or if it is the host's own."""
        if call.netns_fd is None:
            raise CniError(ErrorCode.INVALID_ENVIRONMENT, f"CNI_NETNS cannot be opened: {request.netns}")
        identity = _identity_of(call.netns_fd)
        if identity in (self._own_netns, call.own_netns_fd is not None and _identity_of(call.own_netns_fd)):
            raise CniError(ErrorCode.INVALID_NETNS, f"CNI_NETNS is the host's own network namespace: {request.netns}")
        return call.netns_fd

    async def _replay(self, tombstone: Tombstone) -> bool:
        try:
            request = decode(tombstone.call) if tombstone.call else None
            if request and request.command is Command.DEL:
                await self._delete(request)
        except CniError as error:
            log(logging.WARNING, Event.CONTAINER_FAILED, file=tombstone.path, reason=error.msg)
            if error.code is ErrorCode.TRY_AGAIN_LATER:
                return False
        try:
            await asyncio.to_thread(tombstone.remove)
        except OSError as error:
            log(logging.WARNING, Event.CONTAINER_FAILED, file=tombstone.path, reason=f"cannot be removed: {error}")
            return False
        return True

    async def _detach(self, ident: str) -> bool:
        try:
            return await self._wiring.detach(ident, self._addresses.address_of(ident))
        except WiringFailed as error:
            raise CniError(ErrorCode.TRY_AGAIN_LATER, "the interface cannot be removed", error.reason) from error

    async def _undo(self, ident: str) -> None:
        try:
            await self._wiring.detach(ident, self._addresses.address_of(ident))
        except WiringFailed as error:
            # The address stays with the veth: the runtime's DEL, or the collector, frees both.
            log(logging.WARNING, Event.CONTAINER_FAILED, container=ident, reason=error.reason)
            return
        await self._release(ident)

    async def _release(self, ident: str) -> None:
        """For an ADD that failed: its own reason is what the runtime is told; the DEL that follows comes back here."""
        with suppress(NotDurable, TimeoutError):
            async with asyncio.timeout(_UNDO_DEADLINE_S):
                await self._addresses.release(ident)


_SEE_LOG = "try again; if it lasts, see the agent's log and `weavemesh status`"
_ADD_AGAIN = "delete the container and make it again"


def _explain(error: BaseException) -> CniError | None:
    """What to tell the runtime, if the failure of an ADD is one of those that happen."""
    match error:
        case AllocationRefused():
            return CniError(ErrorCode.TRY_AGAIN_LATER, f"no address for the container: {error}", _SEE_LOG)
        case AddressUnfit():
            return CniError(ErrorCode.INVALID_CONFIG, "the address that is asked for cannot be given", str(error))
        case NotDurable():
            return CniError(ErrorCode.TRY_AGAIN_LATER, "the container's address cannot be kept", str(error))
        case InterfaceExists():
            return CniError(ErrorCode.INTERFACE_EXISTS, str(error), "delete the attachment before it is made again")
        case WiringFailed():
            return CniError(ErrorCode.IO_FAILURE, "the container cannot be attached", error.reason)
        case _:
            return None


def _refusal(call: Call, error: CniError) -> Answer:
    environment = call.environment
    log(
        logging.WARNING,
        Event.CONTAINER_FAILED,
        command=environment.get("CNI_COMMAND"),
        container=environment.get("CNI_CONTAINERID"),
        interface=environment.get("CNI_IFNAME"),
        code=int(error.code),
        reason=": ".join(filter(None, (error.msg, error.details))),
    )
    return Answer(1, encode_error(error, version_of(call)))


def _fields(request: Request) -> dict[str, object]:
    return {
        "container": request.container_id,
        "network": request.network,
        "interface": request.ifname,
        "pod": request.wish.label or None,
    }


def _identity_of(namespace: int | str) -> tuple[int, int]:
    status = os.stat(namespace)
    return status.st_dev, status.st_ino
