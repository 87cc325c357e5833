"""Links and addresses in a real namespace; pyroute2, which knows nothing of us, reads the same there as we do."""

import errno
import socket
from collections.abc import Iterator

import pyroute2
import pytest

from tests.kernel.tunnel_lab import Host, Wire, root_missing
from weavemesh.kernel import linkmessage, rtnetlink
from weavemesh.kernel.netlink import PROTOCOL
from weavemesh.kernel.netns import call_in

pytestmark = pytest.mark.root


@pytest.fixture
def host() -> Iterator[Host]:
    if reason := root_missing():
        pytest.skip(reason)
    with Wire(1, "kernel") as wire:
        yield wire.hosts[0]


@pytest.fixture
def opened(host: Host) -> Iterator[socket.socket]:
    with call_in(host.netns_fd, rtnetlink.open_socket) as sock:
        yield sock


def test_a_link_is_deleted_once(host: Host, opened: socket.socket) -> None:
    host.run("ip", "link", "add", "wmp7", "type", "veth", "peer", "name", "p")
    index = call_in(host.netns_fd, lambda: socket.if_nametoindex("wmp7"))
    linkmessage.delete_link(opened, index)
    with pytest.raises(OSError, match="No such device") as raised:
        linkmessage.delete_link(opened, index)
    assert raised.value.errno == errno.ENODEV


def test_another_library_reads_the_same(host: Host, opened: socket.socket) -> None:
    host.run("ip", "link", "add", "wmp7", "mtu", "1380", "type", "veth", "peer", "name", "wmp8")
    host.run("ip", "link", "set", "wmp7", "up")
    host.run("ip", "address", "add", "10.40.0.1/24", "dev", "wmp7")
    host.run("ip", "-6", "address", "add", "fd00:77::1/64", "dev", "wmp7")
    host.run("ip", "route", "add", "10.41.0.0/16", "dev", "wmp7", "proto", "87")

    def ours() -> list[set[tuple[object, ...]]]:
        links, addresses = linkmessage.dump_links(opened), linkmessage.dump_addresses(opened)
        routes = rtnetlink.dump_routes(opened, protocol=PROTOCOL)
        return [
            {(link.index, link.name, link.kind, link.mtu, link.up) for link in links},
            {(entry.index, str(entry.address), entry.scope) for entry in addresses},
            {(str(route.destination), route.index, route.table, route.protocol) for route in routes},
        ]

    async def theirs() -> list[set[tuple[object, ...]]]:
        async with pyroute2.AsyncIPRoute() as other:
            links = [message async for message in await other.link("dump")]
            addresses = [message async for message in await other.addr("dump")]
            routes = [message async for message in await other.route("dump") if message["proto"] == PROTOCOL]
        return [
            {
                (
                    *(link["index"], link.get_attr("IFLA_IFNAME")),
                    link.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") or "",
                    *(link.get_attr("IFLA_MTU"), bool(link["flags"] & 1)),
                )
                for link in links
            },
            {
                (
                    entry["index"],
                    f"{entry.get_attr('IFA_LOCAL') or entry.get_attr('IFA_ADDRESS')}/{entry['prefixlen']}",
                    entry["scope"],
                )
                for entry in addresses
            },
            {
                (
                    f"{route.get_attr('RTA_DST')}/{route['dst_len']}",
                    *(route.get_attr("RTA_OIF"), route.get_attr("RTA_TABLE"), route["proto"]),
                )
                for route in routes
            },
        ]

    assert ours() == host.call(theirs)
