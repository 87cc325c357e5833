"""The two doors of the plugin, in memory, and the calls of a runtime."""

import asyncio
import json
import os
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from weavemesh.cni.frame import Answer, Call
from weavemesh.cni.plugin import Plugin
from weavemesh.kernel.podmessage import IPAddress, IPNetwork
from weavemesh.kernel.podmodel import (
    EVERYWHERE,
    HOST_MAC,
    InterfaceExists,
    Order,
    PodAddress,
    PodLink,
    StillWired,
    WiredPod,
    WiringFailed,
    host_ifname,
)
from weavemesh.kernel.podplan import Batch, Outcome, Player
from weavemesh.podaddress import AddressUnfit
from weavemesh.pool import AllocationRefused, NotDurable

MTU = 1380
HOST = PodAddress(IPv4Address("10.47.0.1"), IPv6Address("fd57::a2f:1"))
MESH: tuple[IPNetwork, ...] = (IPv4Network("10.32.0.0/12"), IPv6Network("fd57::a20:0/108"))
FIRST = PodAddress(IPv4Address("10.32.0.1"), IPv6Address("fd57::a20:1"))


@dataclass
class FakeAddresses:
    """Hands out addresses in order until `capacity`; `gate`, if there is one, holds allocations back."""

    capacity: int = 100
    gate: asyncio.Event | None = None
    is_disk_full: bool = False
    held: dict[str, PodAddress] = field(default_factory=dict)
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    hindrance: str | None = None
    own: PodAddress | None = HOST

    async def promise(self, ident: str, wanted: Sequence[IPAddress], *, deadline_s: float) -> PodAddress:
        self.reached.set()
        async with asyncio.timeout(deadline_s):
            if self.gate:
                await self.gate.wait()
        if ident not in self.held:
            if len(self.held) >= self.capacity:
                raise AllocationRefused("no peer owns a free address")
            used = {address.ipv4 for address in self.held.values()}
            number = next(n for n in range(self.capacity) if FIRST.ipv4 + n not in used)
            if wanted:
                number = int(wanted[0]) - int(FIRST.ipv4)
                if not 0 <= number < self.capacity:
                    raise AddressUnfit(f"{wanted[0]} is not in the range")
            assert FIRST.ipv6 is not None
            self.held[ident] = PodAddress(FIRST.ipv4 + number, FIRST.ipv6 + number)
        return self.held[ident]

    async def durable(self) -> None:
        await asyncio.sleep(0)
        if self.is_disk_full:
            raise NotDurable("the disk is full; make room")

    async def release(self, ident: str) -> None:
        self.held.pop(ident, None)
        if self.is_disk_full:
            raise NotDurable("the disk is full; make room")

    def address_of(self, ident: str) -> PodAddress | None:
        return self.held.get(ident)

    def idents(self) -> tuple[str, ...]:
        return tuple(self.held)

    def mesh(self) -> tuple[IPNetwork, ...]:
        return MESH

    def subnet_of(self, address: IPAddress) -> int:
        return 13 if address.version == 4 else 109

    def host(self) -> PodAddress | None:
        return self.own

    def obstacle(self) -> str | None:
        return self.hindrance


@dataclass
class FakeWiring:
    """Remembers what is wired; `failure` is what the next calls end with."""

    failure: WiringFailed | None = None
    wired: dict[str, WiredPod] = field(default_factory=dict)
    orders: dict[str, Order] = field(default_factory=dict)
    findings: tuple[str, ...] = ()
    checked: list[PodAddress] = field(default_factory=list)
    checked_ifnames: list[str] = field(default_factory=list)
    before_attach: Callable[[], None] | None = None
    is_stuck: bool = False
    """What was wired cannot be undone."""
    unfinished: set[str] = field(default_factory=set)
    """Names of host ends that bear no ident."""
    batches: tuple[Batch, ...] = (Batch(False, 1, b"out"), Batch(True, 2, b"in"))
    """What a player is given to play."""
    outcomes: list[Outcome] = field(default_factory=list)

    async def attach(
        self,
        order: Order,
        promise: Callable[[], Awaitable[PodAddress]],
        settle: Callable[[WiredPod], Awaitable[bytes]],
        *,
        player: Player | None = None,
    ) -> WiredPod:
        os.fstat(order.netns_fd)  # OSError if somebody closed it too early
        try:
            if player is not None:
                player.send(self.batches[:1])
            address = await promise()
            if self.before_attach:
                self.before_attach()
            await asyncio.sleep(0)
            if self.failure:
                raise self.failure
            if order.ident in self.wired:
                raise InterfaceExists(order.ifname)
            routes = EVERYWHERE if order.is_default else order.mesh
            pod = WiredPod(host_ifname(order.ident), HOST_MAC, order.pod_mac, order.mtu, address, routes)
            answer = await settle(pod)
            if player is not None:
                player.send(self.batches[1:])
                self.outcomes.append(await player.end(answer))
        except BaseException:
            if player is not None:
                await player.stop()
            if self.is_stuck:
                raise StillWired("device busy") from None
            raise
        self.wired[order.ident] = pod
        self.orders[order.ident] = order
        return pod

    async def detach(self, ident: str, address: PodAddress | None) -> bool:
        await asyncio.sleep(0)
        assert address is None or ident not in self.wired or self.wired[ident].address == address
        if self.failure:
            raise self.failure
        return self.wired.pop(ident, None) is not None

    async def detach_link(self, name: str) -> bool:
        self.unfinished.discard(name)
        return True

    def sweep(self) -> None:
        pass

    async def check(self, ident: str, *, netns_fd: int, ifname: str, address: PodAddress) -> tuple[str, ...]:
        os.fstat(netns_fd)
        self.checked.append(address)
        self.checked_ifnames.append(ifname)
        return self.findings if ident in self.wired else (f"{ifname} is gone",)

    async def list_pod_links(self) -> tuple[PodLink, ...]:
        if self.failure:
            raise self.failure
        whole = [PodLink(host_ifname(ident), ident, self.orders[ident].label) for ident in self.wired]
        return (*whole, *(PodLink(name, None, "", is_whole=False) for name in self.unfinished))


@dataclass
class Doors:
    """A plugin between fake doors."""

    addresses: FakeAddresses = field(default_factory=FakeAddresses)
    wiring: FakeWiring = field(default_factory=FakeWiring)

    def plugin(self) -> Plugin:
        return Plugin(addresses=self.addresses, wiring=self.wiring, mtu=lambda: MTU)

    def is_empty(self) -> bool:
        return not self.addresses.held and not self.wiring.wired


def config(**changes: object) -> bytes:
    """What a runtime gives on stdin."""
    return json.dumps({"cniVersion": "1.0.0", "name": "net", "type": "weavemesh", **changes}).encode()


def environment(command: str, **changes: str) -> dict[str, str]:
    """The variables of a runtime; those that are changed to "" are left out."""
    usual = {"CNI_CONTAINERID": "c1", "CNI_NETNS": "/run/netns/c1", "CNI_IFNAME": "eth0", "CNI_PATH": "/opt/cni/bin"}
    return {name: value for name, value in {"CNI_COMMAND": command, **usual, **changes}.items() if value}


@contextmanager
def netns() -> Iterator[int]:
    """A descriptor that stands for a container's namespace."""
    descriptor = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def call(
    command: str, stdin: bytes | None = None, *, netns_fd: int | None = None, is_ipam: bool = False, **changes: str
) -> Call:
    """A call as the server hands it to the plugin."""
    body = config() if stdin is None else stdin
    return Call(environment(command, **changes), body, netns_fd, None, is_ipam)


def encode_call(variables: Mapping[str, str], stdin: bytes, *, flags: int = 0) -> bytes:
    """The frame that the executable sends."""
    block = b"".join(f"{name}={value}".encode() + b"\0" for name, value in variables.items())
    return struct.pack(">4sIII", b"WMC1", flags, len(block), len(stdin)) + block + stdin


def body_of(answer: Answer) -> dict[str, object]:
    """What is printed, decoded."""
    decoded: dict[str, object] = json.loads(answer.stdout)
    return decoded
