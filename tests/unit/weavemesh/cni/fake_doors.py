"""The two doors of the plugin, in memory, and the calls of a runtime."""

import asyncio
import json
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from weavemesh.cni.frame import Answer, Call
from weavemesh.cni.plugin import Plugin
from weavemesh.kernel.pod import HOST_MAC, InterfaceExists, PodAddress, WiredPod, WiringFailed, host_ifname, pod_mac
from weavemesh.pool import AllocationRefused, NotDurable

MTU = 1380
FIRST = PodAddress(IPv4Address("10.32.0.1"), IPv6Address("fd57::a20:1"))


@dataclass
class FakeAddresses:
    """Hands out addresses in order until `capacity`; `gate`, if there is one, holds allocations back."""

    capacity: int = 100
    gate: asyncio.Event | None = None
    is_disk_full: bool = False
    held: dict[str, PodAddress] = field(default_factory=dict)
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    async def allocate(self, ident: str, *, deadline_s: float) -> PodAddress:
        self.reached.set()
        async with asyncio.timeout(deadline_s):
            if self.gate:
                await self.gate.wait()
        if ident not in self.held:
            if len(self.held) >= self.capacity:
                raise AllocationRefused("no peer owns a free address")
            used = {address.ipv4 for address in self.held.values()}
            number = next(n for n in range(self.capacity) if FIRST.ipv4 + n not in used)
            assert FIRST.ipv6 is not None
            self.held[ident] = PodAddress(FIRST.ipv4 + number, FIRST.ipv6 + number)
        return self.held[ident]

    async def release(self, ident: str) -> None:
        self.held.pop(ident, None)
        if self.is_disk_full:
            raise NotDurable("the disk is full; make room")

    def address_of(self, ident: str) -> PodAddress | None:
        return self.held.get(ident)


@dataclass
class FakeWiring:
    """Remembers what is wired; `failure` is what the next calls end with."""

    failure: WiringFailed | None = None
    wired: dict[str, WiredPod] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    findings: tuple[str, ...] = ()
    checked: list[PodAddress] = field(default_factory=list)
    before_attach: Callable[[], None] | None = None

    async def attach(
        self, ident: str, *, netns_fd: int, ifname: str, address: PodAddress, mtu: int, label: str = ""
    ) -> WiredPod:
        os.fstat(netns_fd)  # OSError if somebody closed it too early
        if self.before_attach:
            self.before_attach()
        await asyncio.sleep(0)
        if self.failure:
            raise self.failure
        if ident in self.wired:
            raise InterfaceExists(ifname)
        self.wired[ident] = WiredPod(host_ifname(ident), HOST_MAC, pod_mac(ident), mtu, address)
        self.labels[ident] = label
        return self.wired[ident]

    async def detach(self, ident: str) -> bool:
        await asyncio.sleep(0)
        if self.failure:
            raise self.failure
        return self.wired.pop(ident, None) is not None

    async def check(self, ident: str, *, netns_fd: int, ifname: str, address: PodAddress) -> tuple[str, ...]:
        os.fstat(netns_fd)
        self.checked.append(address)
        return self.findings if ident in self.wired else (f"{ifname} is gone",)


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


def call(command: str, stdin: bytes | None = None, *, netns_fd: int | None = None, **changes: str) -> Call:
    """A call as the server hands it to the plugin."""
    body = config() if stdin is None else stdin
    return Call(environment(command, **changes), body, netns_fd, None)


def encode_call(variables: Mapping[str, str], stdin: bytes, *, flags: int = 0) -> bytes:
    """The frame that the executable sends."""
    block = b"".join(f"{name}={value}".encode() + b"\0" for name, value in variables.items())
    return struct.pack(">4sIII", b"WMC1", flags, len(block), len(stdin)) + block + stdin


def body_of(answer: Answer) -> dict[str, object]:
    """What is printed, decoded."""
    decoded: dict[str, object] = json.loads(answer.stdout)
    return decoded
