"""Each request of ours, tried against a real namespace."""

import asyncio
import errno
from collections.abc import Awaitable, Callable, Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface, ip_network
from typing import TypeVar

import pytest

from tests.kernel.tunnel_lab import Host, Wire, root_missing
from weavemesh.kernel.netlink import MAIN_TABLE, PROTOCOL, KernelError, Netlink
from weavemesh.kernel.rtnetlink import KernelRoute, RouteKind
from weavemesh.overlay.state import IPNetwork

pytestmark = pytest.mark.root

T = TypeVar("T")


@pytest.fixture
def host() -> Iterator[Host]:
    if reason := root_missing():
        pytest.skip(reason)
    with Wire(1, "kernel") as wire:
        yield wire.hosts[0]


def _route(
    destination: IPNetwork, index: int | None, *, source: IPv4Address | None = None, metric: int = 0
) -> KernelRoute:
    kind: RouteKind = "unreachable" if index is None else "unicast"
    return KernelRoute(destination, kind, MAIN_TABLE, index, source, metric, PROTOCOL)


def ask(host: Host, question: Callable[[Netlink], Awaitable[T]]) -> T:
    async def main() -> T:
        netlink = await Netlink.open()
        try:
            return await question(netlink)
        finally:
            await netlink.close()

    return host.call(main)


async def _index(netlink: Netlink) -> int:
    link = await netlink.link("eth0")
    assert link is not None
    return link.index


def test_links_are_made_changed_and_deleted(host: Host) -> None:
    async def play(netlink: Netlink) -> None:
        assert await netlink.link("tap7") is None
        index = await netlink.add_link("wmp7", kind="veth")
        made = await netlink.link("wmp7")
        assert made is not None
        assert (made.index, made.kind, made.up) == (index, "veth", False)
        await netlink.set_mtu(index, 1380)
        await netlink.disable_link_local(index)
        await netlink.bring_up(index)
        changed = await netlink.link("wmp7")
        assert changed is not None
        assert (changed.mtu, changed.up) == (1380, True)
        assert changed in await netlink.links()
        await netlink.delete_link(index)
        await netlink.delete_link(index)
        assert await netlink.link("wmp7") is None

    ask(host, play)


def test_no_link_local_address_comes_when_switched_off(host: Host) -> None:
    async def play(netlink: Netlink) -> list[str]:
        index = await netlink.add_link("wmp7", kind="veth")
        peer = next(link for link in await netlink.links() if link.name not in ("lo", "eth0", "wmp7"))
        await netlink.disable_link_local(index)
        await netlink.bring_up(index)
        await netlink.bring_up(peer.index)
        found = [entry for entry in await netlink.addresses() if entry.address.is_link_local]
        assert not await netlink.addresses(index)
        return [str(entry.address) for entry in found if entry.index == index]

    assert ask(host, play) == []


def test_an_unknown_kind_is_told_by_the_kernel_itself(host: Host) -> None:
    with pytest.raises(KernelError) as raised:
        ask(host, lambda netlink: netlink.add_link("wmp7", kind="nonsense"))
    assert (raised.value.number, raised.value.reason) == (errno.EOPNOTSUPP, "Unknown device type")


def test_addresses_come_without_duplicate_detection_and_go(host: Host) -> None:
    addresses = IPv4Interface("10.32.0.1/32"), IPv6Interface("fd00:77::1/128")

    async def play(netlink: Netlink) -> None:
        index = await _index(netlink)
        for address in addresses * 2:  # again is fine
            await netlink.add_address(index, address)
        entries = {entry.address: entry for entry in await netlink.addresses(index)}
        assert set(addresses) <= set(entries)
        assert not any(entries[address].passing for address in addresses)
        assert all(entries[address].scope == 0 for address in addresses)
        for address in addresses * 2:
            await netlink.remove_address(index, address)
        assert not set(addresses) & {entry.address for entry in await netlink.addresses(index)}

    ask(host, play)


def test_routes_carry_our_mark_and_nothing_of_others_is_replaced(host: Host) -> None:
    network, network6 = ip_network("10.40.0.0/16"), ip_network("fd00:77::/96")

    async def play(netlink: Netlink) -> None:
        index = await _index(netlink)
        await netlink.add_address(index, IPv6Interface("fd00:78::1/128"))
        added = [
            _route(network, index, source=IPv4Address("192.0.2.1")),
            _route(network6, index),
            _route(network, None, metric=4278198272),
            _route(network6, None, metric=4278198272),
            _route(network, index),
        ]
        *fine, refused = await netlink.add_routes(added)
        assert fine == [None] * 4 and refused is not None and refused.number == errno.EEXIST
        assert await netlink.add_routes([_route(network, index)], replace=True) == (None,)
        routes = await netlink.routes()
        assert {
            (route.kind, str(route.destination), route.index, route.source) for route in routes if route.index != 1
        } >= {
            ("unicast", "10.40.0.0/16", index, None),
            ("unicast", "fd00:77::/96", index, None),
            ("unreachable", "10.40.0.0/16", None, None),
        }
        assert len(routes) == 4
        assert len(await netlink.routes(protocol=None)) > 4
        assert await netlink.remove_routes((*routes, *routes)) == (None,) * 8
        assert await netlink.routes() == ()

    ask(host, play)


def test_dumps_at_once_and_abandoned_ones_do_not_disturb_each_other(host: Host) -> None:
    async def play(netlink: Netlink) -> None:
        for _ in range(5):
            task = asyncio.get_running_loop().create_task(netlink.links())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            answers = await asyncio.gather(*(netlink.links() for _ in range(5)), *(netlink.routes() for _ in range(5)))
            assert all(len(answer) >= 1 for answer in answers[:5])

    ask(host, play)
