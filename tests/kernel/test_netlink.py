"""The typed face of rtnetlink against a real kernel."""

import asyncio
import errno
import os
import secrets
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from ipaddress import ip_address, ip_interface, ip_network
from typing import TypeVar

import pytest

from weavemesh.kernel.netlink import MAIN_TABLE, PROTOCOL, KernelError, Netlink
from weavemesh.kernel.netns import call_in
from weavemesh.kernel.rtnetlink import KernelRoute

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]

T = TypeVar("T")
Tell = Callable[[Callable[[Netlink], Awaitable[T]]], T]


@pytest.fixture
def tell() -> Iterator[Tell[None]]:
    """Runs a story inside a fresh network namespace that has the veth pair near and far."""
    name = f"wmk{secrets.token_hex(3)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    descriptor = os.open(f"/run/netns/{name}", os.O_RDONLY)

    def run(story: Callable[[Netlink], Awaitable[None]]) -> None:
        async def opened() -> None:
            netlink = await Netlink.open()
            try:
                await story(netlink)
            finally:
                await netlink.close()
                await netlink.close()

        call_in(descriptor, lambda: asyncio.run(opened()))

    try:
        subprocess.run(["ip", "-n", name, "link", "add", "near", "type", "veth", "peer", "far"], check=True)
        yield run
    finally:
        os.close(descriptor)
        subprocess.run(["ip", "netns", "del", name], check=True)


async def index_of(netlink: Netlink, name: str) -> int:
    link = await netlink.link(name)
    assert link is not None
    return link.index


def test_a_link_is_seen_changed_and_deleted(tell: Tell[None]) -> None:
    async def story(netlink: Netlink) -> None:
        near = await netlink.link("near")
        assert near is not None
        assert (near.kind, near.up, near.mtu) == ("veth", False, 1500)
        await netlink.set_mtu(near.index, 1381)
        await netlink.bring_up(near.index)
        changed = await netlink.link("near")
        assert changed is not None
        assert (changed.up, changed.mtu) == (True, 1381)
        loopback = await netlink.link("lo")
        assert loopback is not None
        assert loopback.kind == ""
        assert {link.name for link in await netlink.links()} >= {"lo", "near", "far"}
        await netlink.delete_link(near.index)
        await netlink.delete_link(near.index)
        assert await netlink.link("near") is None

    tell(story)


def test_a_link_that_cannot_be_made_is_an_error_with_its_number(tell: Tell[None]) -> None:
    async def story(netlink: Netlink) -> None:
        with pytest.raises(KernelError) as unknown:
            await netlink.add_link("wmk0", kind="no-such-kind")
        assert unknown.value.number == errno.EOPNOTSUPP
        assert unknown.value.reason
        with pytest.raises(KernelError) as taken:
            await netlink.add_link("near", kind="bridge")
        assert taken.value.number == errno.EEXIST
        assert await netlink.add_link("wmk0", kind="bridge") == await index_of(netlink, "wmk0")

    tell(story)


def test_addresses_may_be_said_twice_and_taken_twice(tell: Tell[None]) -> None:
    addresses = [ip_interface("10.32.0.1/32"), ip_interface("fd57:1::1/128")]

    async def story(netlink: Netlink) -> None:
        index = await index_of(netlink, "near")
        await netlink.bring_up(index)
        for address in addresses * 2:
            await netlink.add_address(index, address)
        held = {entry.address: entry for entry in await netlink.addresses(index)}
        assert set(addresses) <= set(held)
        assert not any(held[address].passing for address in addresses), "usable at once"
        assert {held[address].scope for address in addresses} == {0}
        for address in addresses * 2:
            await netlink.remove_address(index, address)
        assert not set(addresses) & {entry.address for entry in await netlink.addresses()}

    tell(story)


def test_a_device_may_come_up_without_a_link_local_address(tell: Tell[None]) -> None:
    async def story(netlink: Netlink) -> None:
        near, far = await index_of(netlink, "near"), await index_of(netlink, "far")
        await netlink.disable_link_local(near)
        await netlink.bring_up(near)
        await netlink.bring_up(far)
        assert await netlink.addresses(near) == ()
        assert [entry.address.is_link_local for entry in await netlink.addresses(far)] == [True]

    tell(story)


@pytest.mark.parametrize(
    ("destination", "source", "other"),
    [("10.33.0.0/16", "10.32.0.1", "10.32.0.2"), ("fd57:1::21:0/112", "fd57:1::1", "fd57:1::2")],
)
def test_a_route_is_added_replaced_and_removed(tell: Tell[None], destination: str, source: str, other: str) -> None:
    network = ip_network(destination)

    async def story(netlink: Netlink) -> None:
        index = await index_of(netlink, "near")
        await netlink.bring_up(index)
        for address in (source, other):
            await netlink.add_address(index, ip_interface(address))
        await netlink.add_route(network, index=index, source=ip_address(source))
        with pytest.raises(KernelError) as twice:
            await netlink.add_route(network, index=index, source=ip_address(source))
        assert twice.value.number == errno.EEXIST
        await netlink.add_route(network, index=index, source=ip_address(other), replace=True)
        (route,) = await netlink.routes()
        assert (route.destination, route.kind, route.index) == (network, "unicast", index)
        assert (route.source, route.table, route.protocol) == (ip_address(other), MAIN_TABLE, PROTOCOL)
        await netlink.remove_route(route)
        await netlink.remove_route(route)
        assert await netlink.routes() == ()

    tell(story)


@pytest.mark.parametrize("destination", ["10.32.0.0/12", "fd57:1::/96"])
def test_an_unreachable_route_needs_no_device_and_is_last(tell: Tell[None], destination: str) -> None:
    network = ip_network(destination)

    async def story(netlink: Netlink) -> None:
        await netlink.add_route(network, index=None, metric=4278198272)
        (route,) = await netlink.routes()
        assert (route.destination, route.kind, route.metric) == (network, "unreachable", 4278198272)
        await netlink.remove_route(route)
        assert await netlink.routes() == ()

    tell(story)


def test_only_the_route_that_was_meant_is_removed(tell: Tell[None]) -> None:
    network = ip_network("10.33.0.0/16")

    async def story(netlink: Netlink) -> None:
        near, far = await index_of(netlink, "near"), await index_of(netlink, "far")
        await netlink.bring_up(near)
        await netlink.bring_up(far)
        await netlink.add_route(network, index=near)
        await netlink.add_route(network, index=None, metric=4278198272)
        meant = KernelRoute(network, "unicast", MAIN_TABLE, far, None, 0, PROTOCOL)
        await netlink.remove_route(meant)
        assert {route.kind for route in await netlink.routes()} == {"unicast", "unreachable"}

    tell(story)


def test_requests_at_the_same_time_do_not_disturb_each_other(tell: Tell[None]) -> None:
    async def story(netlink: Netlink) -> None:
        index = await index_of(netlink, "near")
        await netlink.bring_up(index)
        networks = [ip_network(f"10.33.{number}.0/24") for number in range(100)]
        async with asyncio.TaskGroup() as group:
            for network in networks:
                group.create_task(netlink.add_route(network, index=index))
                group.create_task(netlink.links())
                group.create_task(netlink.routes())
        assert {route.destination for route in await netlink.routes()} == set(networks)

    tell(story)
