"""One host's tunnel device and routes: the door of this package, for the namespace in which it was opened.

Theory of operation. `open` decides which WireGuard there is to use and changes nothing. `apply` looks at what
the kernel has, takes the difference to what is wished (`overlay.diff`) and performs it; so it adopts whatever
an earlier life of the agent left, and a second `apply` performs nothing. A failed action becomes a sentence in
the report and the rest goes on, unless the rest cannot work without it; the next `apply` tries again.

Looking costs as much as there are peers. So what a successful `apply` left is believed for a while (`belief_s`): until
then a plan that only adds is performed as the step from the plan before (`overlay.diff.step`).

Its twin without a kernel is `fake.py`. Removal of everything is in `removal.py`: it needs no state.
"""

import asyncio
import errno
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Final, Self, assert_never

from msgspec.structs import replace

from weavemesh.error import UserError
from weavemesh.kernel import host
from weavemesh.kernel.choice import TUNNEL_KINDS, Datapath, choose, name_is_taken
from weavemesh.kernel.device import Device, DeviceError
from weavemesh.kernel.linkmessage import Link
from weavemesh.kernel.netlink import MAIN_TABLE, PROTOCOL, KernelError, Netlink
from weavemesh.kernel.rtnetlink import KernelRoute
from weavemesh.kernel.sentence import FAILURES, bounded, describe, describe_failure, reason
from weavemesh.kernel.sysctl import Settings
from weavemesh.kernel.userspace import Userspace
from weavemesh.overlay.diff import (
    Action,
    AddAddress,
    AddRoute,
    BringUp,
    ConfigureDevice,
    CreateDevice,
    DiscardAllowedIps,
    RemoveAddress,
    RemovePeer,
    RemoveRoute,
    ReplaceRoute,
    SetMtu,
    SetPeer,
    absent,
    diff,
    step,
)
from weavemesh.overlay.state import DesiredState, IPAddress, IPNetwork, ObservedState, Route
from weavemesh.overlay.tunnel import ApplyReport

UNREACHABLE_METRIC: Final = 4278198272
"""The last of all: any other route to the same destination is preferred (as Kubernetes' CNIs use it)."""

LOOK_INTERVAL_S: Final = 25.0
"""How long the kernel is believed to hold what was set; the next `apply` after that mends what others did to it."""
LOOK_INTERVAL_S_MAX: Final = 300.0
LOOK_REST: Final = 20.0
"""Where looking takes so long, on a starved host, at most a twentieth of the time goes into it."""

_PORT_RELEASE_S: Final = 1.0
"""wireguard-go closes its ports last, some milliseconds after its device has gone."""
_NO_IPV6: Final = "this kernel has no IPv6, so pods here have IPv4 only: boot it without ipv6.disable=1"


def belief_s(look_took_s: float) -> float:
    """How long after the beginning of a look that took so long nothing is looked at again, in seconds."""
    return max(LOOK_INTERVAL_S, min(LOOK_REST * look_took_s, LOOK_INTERVAL_S_MAX))


class Kernel:
    """The real `Tunnel`."""

    def __init__(self, interface: str, netlink: Netlink, device: Device) -> None:
        self._interface = interface
        self._netlink = netlink
        self._device = device
        self._applying = asyncio.Lock()
        self._replacing = False
        """True while an `apply` builds a device in the place of another."""
        self._index: int | None = None
        """Of the device's interface during an `apply`; None without one."""
        self._held: DesiredState | None = None
        """What the last `apply` left; None after a failure."""
        self._looked_at = 0.0
        self._look_took_s = 0.0
        self.looks = 0
        """How often the kernel was read to compare it."""

    @classmethod
    async def open(cls, *, interface: str, datapath: Datapath) -> Self:
        """A door to this namespace; nothing is changed yet.

        A device that exists decides under `auto`; otherwise the kernel's WireGuard is preferred. Raises UserError
        without the right to configure networks, without any WireGuard, and if the name is taken.
        """
        try:
            netlink = await Netlink.open()
        except OSError as error:
            raise UserError("netlink cannot be opened", remedy=f"check the sandbox ({error.strerror})") from error
        try:
            device = await choose(interface, datapath, netlink)
        except BaseException:
            await netlink.close()
            raise
        return cls(interface, netlink, device)

    @property
    def device(self) -> Device:
        """What carries the tunnels."""
        return self._device

    @property
    def datapath(self) -> str:
        """`kernel` or `userspace (wireguard-go)`."""
        return self._device.datapath

    async def close(self) -> None:
        """Let go of the kernel; device, routes and process stay. Again does nothing."""
        await self._device.close()
        await self._netlink.close()

    async def has_interface(self) -> bool:
        """Whether there is an interface of the device's name, also one of another data path."""
        return await self._netlink.link(self._interface) is not None

    async def observe(self) -> ObservedState | None:
        """What there is, with counters; None without a device. Raises UserError if it cannot be read."""
        try:
            observed, _ = await self._observe()
        except (DeviceError, KernelError, OSError) as error:
            raise UserError(
                reason(error), remedy=f"delete it with `ip link del {self._interface}`: the agent makes it anew"
            ) from error
        return observed if observed.mtu else None

    async def routes_overlapping(self, network: IPNetwork) -> tuple[str, ...]:
        """See Tunnel."""
        return await host.routes_overlapping(self._netlink, self._interface, network)

    async def host_addresses(self) -> tuple[IPAddress, ...]:
        """See Tunnel."""
        return await host.host_addresses(self._netlink, self._interface)

    async def underlay_mtu(self) -> int:
        """See Tunnel."""
        return await host.underlay_mtu(self._netlink, self._interface)

    async def apply(self, desired: DesiredState) -> ApplyReport:
        """Make the kernel hold `desired`, by the smallest change; failures are in the report."""
        assert desired.interface == self._interface, "this door is for another interface"
        async with self._applying:
            self._replacing = False
            held, self._held = self._held, None
            if held is not None and time.monotonic() < self._looked_at + belief_s(self._look_took_s):
                actions = step(held, desired)
                if actions is not None:
                    done, failures = await self._perform_all(actions)
                    self._held = None if failures else desired
                    return ApplyReport(tuple(done), (), bounded(failures))
            report = await self._apply_after_a_look(desired)
            self._held = None if report.failures else desired
            return report

    async def _apply_after_a_look(self, desired: DesiredState) -> ApplyReport:
        settings = Settings()
        settings.prepare_host()
        done: list[Action] = []
        failures = [] if settings.has_ipv6() else [_NO_IPV6]
        wish = desired if settings.has_ipv6() else _without_ipv6(desired)
        try:
            self._looked_at = time.monotonic()
            self.looks += 1
            observed, self._index = await self._observe()
            self._look_took_s = time.monotonic() - self._looked_at
            done, failed = await self._perform_all(diff(wish, observed, now=time.time()))
            failures += failed
        except FAILURES as error:
            failures.append(describe_failure(f"reading the tunnel device {self._interface}", error))
        settings.prepare_interface(self._interface)
        return ApplyReport(tuple(done), tuple(settings.changed), (*settings.failures, *bounded(failures)))

    async def _perform_all(self, actions: Sequence[Action]) -> tuple[list[Action], list[str]]:
        """Perform the actions in order; those that succeeded, and why the others did not."""
        done: list[Action] = []
        failures: list[str] = []
        for batch in _batches(actions):
            sentences = await self._attempt(batch)
            failures += [sentence for sentence in sentences if sentence]
            done += [action for action, sentence in zip(batch, sentences, strict=True) if not sentence]
            if failures and isinstance(batch[0], CreateDevice | ConfigureDevice | BringUp):
                break  # the rest needs the device
        return done, failures

    # -- observing ------------------------------------------------------------------------------------

    async def _observe(self) -> tuple[ObservedState, int | None]:
        """What there is, and the index of the device's interface."""
        link = await self._link()
        routes = tuple(_routes(await self._netlink.routes(), link.index if link else None))
        if link is None:
            return absent(self._interface, routes), None
        state = await self._device.read()
        addresses = await self._netlink.addresses(link.index)
        observed = ObservedState(
            interface=self._interface,
            up=link.up,
            mtu=link.mtu,
            private_key=state.private_key,
            listen_port=state.listen_port,
            addresses=tuple(entry.address for entry in addresses if not entry.address.is_link_local),
            peers=state.peers,
            routes=routes,
        )
        return observed, link.index

    async def _link(self) -> Link | None:
        """The device's interface; None if there is none that is a living device of the chosen kind."""
        link = await self._netlink.link(self._interface)
        if link is None or link.kind != self._device.link_kind or not await self._device.is_served():
            return None
        return link

    def _require_index(self) -> int:
        if self._index is None:
            raise KernelError(errno.ENODEV, f"{self._interface} is not there")
        return self._index

    # -- performing -----------------------------------------------------------------------------------

    async def _attempt(self, batch: Sequence[Action]) -> list[str | None]:
        """Perform actions of one kind; for each the sentence that says why it failed, or None."""
        if isinstance(batch[0], SetPeer) and len(batch) > 1:
            # Whose fault a failure is shows one by one: setting a peer once more changes nothing.
            with suppress(*FAILURES):
                await self._set_peers([action for action in batch if isinstance(action, SetPeer)])
                return [None] * len(batch)
        if isinstance(batch[0], AddRoute | ReplaceRoute | RemoveRoute):
            return await self._change_routes(
                [action for action in batch if isinstance(action, AddRoute | ReplaceRoute | RemoveRoute)]
            )
        sentences: list[str | None] = []
        for action in batch:
            try:
                await self._perform(action)
                sentences.append(None)
            except FAILURES as error:
                sentences.append(describe_failure(describe(action), error))
        return sentences

    async def _set_peers(self, changes: Sequence[SetPeer]) -> None:
        """Where a device has taken another's place, the peers do not know yet: they are told by a handshake."""
        await self._device.set_peers([replace(change, greet=change.greet or self._replacing) for change in changes])

    async def _change_routes(self, actions: Sequence[AddRoute | ReplaceRoute | RemoveRoute]) -> list[str | None]:
        try:
            routes = [self._kernel_route(action.route) for action in actions]
            if isinstance(actions[0], RemoveRoute):
                outcomes = await self._netlink.remove_routes(routes)
            else:
                outcomes = await self._netlink.add_routes(routes, replace=isinstance(actions[0], ReplaceRoute))
        except FAILURES as error:
            return [describe_failure(describe(action), error) for action in actions]
        return [
            describe_failure(describe(action), error) if error else None
            for action, error in zip(actions, outcomes, strict=True)
        ]

    async def _perform(self, action: Action) -> None:
        match action:
            case CreateDevice():
                await self._create()
            case ConfigureDevice() | SetPeer() | DiscardAllowedIps() | RemovePeer():
                await self._perform_on_device(action)
            case SetMtu() | BringUp() | AddAddress() | RemoveAddress():
                await self._perform_on_link(action)
            case AddRoute() | ReplaceRoute() | RemoveRoute():
                raise AssertionError("routes are changed together")
            case _:
                assert_never(action)

    async def _perform_on_device(self, action: ConfigureDevice | SetPeer | DiscardAllowedIps | RemovePeer) -> None:
        match action:
            case ConfigureDevice(private_key=private_key, listen_port=listen_port):
                if listen_port is not None:
                    await _wait_for_port(listen_port)
                await self._device.configure(private_key=private_key, listen_port=listen_port)
            case SetPeer():
                await self._set_peers([action])
            case DiscardAllowedIps(allowed_ips=allowed_ips):
                await self._device.discard_allowed_ips(allowed_ips)
            case RemovePeer(public_key=public_key):
                await self._device.remove_peer(public_key)
            case _:
                assert_never(action)

    async def _perform_on_link(self, action: SetMtu | BringUp | AddAddress | RemoveAddress) -> None:
        index = self._require_index()
        match action:
            case SetMtu(mtu=mtu):
                await self._netlink.set_mtu(index, mtu)
            case BringUp():
                await self._netlink.bring_up(index)
            case AddAddress(address=address):
                await self._netlink.add_address(index, address)
            case RemoveAddress(address=address):
                await self._netlink.remove_address(index, address)
            case _:
                assert_never(action)

    async def _create(self) -> None:
        dead = await self._netlink.link(self._interface)
        if dead is not None:
            # A tunnel of the other kind (the data path was changed), or a TUN whose process cannot be reached.
            if dead.kind not in TUNNEL_KINDS:
                raise name_is_taken(dead)
            await self._netlink.delete_link(dead.index)
            await Userspace(self._interface).wait_until_gone()
            self._replacing = True
        await self._device.create()
        link = await self._netlink.link(self._interface)
        self._index = link.index if link else None
        Settings().ensure(f"net/ipv6/conf/{self._interface}/disable_ipv6", "0")
        with suppress(KernelError):  # without IPv6 there are no link-local addresses either
            await self._netlink.disable_link_local(self._require_index())

    def _kernel_route(self, route: Route) -> KernelRoute:
        is_device = route.kind == "device"
        return KernelRoute(
            destination=route.destination,
            kind="unicast" if is_device else "unreachable",
            table=MAIN_TABLE,
            index=self._require_index() if is_device else None,
            source=route.source,
            metric=0 if is_device else UNREACHABLE_METRIC,
            protocol=PROTOCOL,
            mtu=route.mtu,
        )


def _batches(actions: Iterable[Action]) -> Iterator[list[Action]]:
    """Neighbours of one kind together, in order."""
    for _, batch in groupby(actions, type):
        yield list(batch)


async def _wait_for_port(port: int) -> None:
    """Return when the UDP port is free; DeviceError if it does not become so while a predecessor may be ending."""
    deadline = time.monotonic() + _PORT_RELEASE_S
    while host.udp_port_is_taken(port):
        if time.monotonic() > deadline:
            raise DeviceError(f"UDP port {port} is taken by another program")
        await asyncio.sleep(0.02)


def _routes(found: Iterable[KernelRoute], index: int | None) -> Iterable[Route]:
    """Ours among the routes with our protocol number; those to pods have other interfaces."""
    for route in found:
        if route.table != MAIN_TABLE:
            continue
        if route.kind == "unicast" and index is not None and route.index == index:
            yield Route(route.destination, "device", route.source, route.mtu)
        elif route.kind == "unreachable" and route.metric == UNREACHABLE_METRIC:
            yield Route(route.destination, "unreachable", None)


def _without_ipv6(desired: DesiredState) -> DesiredState:
    peers = (
        replace(peer, allowed_ips=tuple(network for network in peer.allowed_ips if network.version == 4))
        for peer in desired.peers
    )
    return replace(
        desired,
        addresses=tuple(address for address in desired.addresses if address.version == 4),
        peers=tuple(peers),
        routes=tuple(route for route in desired.routes if route.destination.version == 4),
    )
