"""The plain-socket requests: filtered dumps of routes, links deleted."""

import errno
import socket
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network

import msgspec
import pytest

from tests.kernel.tunnel_lab import Host, Wire, root_missing
from weavemesh.kernel import rtnetlink
from weavemesh.kernel.netns import call_in
from weavemesh.kernel.rtnetlink import KernelRoute

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


def test_thousands_of_routes_are_dumped_and_those_of_others_left_out(host: Host, opened: socket.socket) -> None:
    program = "".join(f"route add 10.{60 + i // 256}.{i % 256}.0/24 dev eth0 proto 87\n" for i in range(3000))
    host.run("sh", "-c", f"ip -batch - <<'X'\n{program}X")
    host.run("ip", "-6", "route", "add", "unreachable", "2001:db8::/64", "metric", "7", "proto", "87")
    host.run("ip", "route", "add", "blackhole", "10.99.0.0/16", "proto", "87", "table", "300")
    ours = rtnetlink.dump_routes(opened, protocol=87)
    assert len(ours) == 3002
    assert {route.protocol for route in ours} == {87}
    assert {
        (str(route.destination), route.kind, route.metric, route.table) for route in ours if route.table == 300
    } == {("10.99.0.0/16", "blackhole", 0, 300)}
    six = next(route for route in ours if route.destination.version == 6)
    assert (str(six.destination), six.kind, six.metric, six.table) == ("2001:db8::/64", "unreachable", 7, 254)
    assert len(rtnetlink.dump_routes(opened, protocol=None)) > 3002


def test_the_mtu_of_a_route_is_set_read_exchanged_and_taken_away(host: Host, opened: socket.socket) -> None:
    index = call_in(host.netns_fd, lambda: socket.if_nametoindex("eth0"))
    for network in (IPv4Network("10.33.0.0/16"), IPv6Network("2001:db8::/64")):
        plain = KernelRoute(network, "unicast", 254, index, None, 1024 if network.version == 6 else 0, 87)
        for mtu in (1232, 1408, None):
            route = msgspec.structs.replace(plain, mtu=mtu)
            assert rtnetlink.add_routes(opened, [route], replace=True) == [0]
            assert rtnetlink.dump_routes(opened, protocol=87) == (route,)
            shown = host.run("ip", f"-{network.version}", "route", "show", str(network)).stdout
            assert (f"mtu lock {mtu}" in shown) == (mtu is not None), "locked: it is not only a hint"
        rtnetlink.add_routes(opened, [msgspec.structs.replace(plain, mtu=1232)], replace=True)
        assert rtnetlink.remove_routes(opened, [plain, plain]) == [0, errno.ESRCH]
        assert rtnetlink.dump_routes(opened, protocol=87) == ()


def test_a_route_of_several_ways_is_known_by_its_first(host: Host, opened: socket.socket) -> None:
    ways = ("nexthop", "dev", "eth0", "nexthop", "via", "192.0.2.9")
    if host.run("ip", "route", "add", "10.33.0.0/16", "proto", "88", *ways, check=False).returncode != 0:
        pytest.skip("needs a kernel with multipath routes")
    (route,) = rtnetlink.dump_routes(opened, protocol=88)
    assert route.index == call_in(host.netns_fd, lambda: socket.if_nametoindex("eth0"))


def test_of_many_routes_changed_at_once_each_that_is_refused_is_told(host: Host, opened: socket.socket) -> None:
    index = call_in(host.netns_fd, lambda: socket.if_nametoindex("eth0"))
    networks = [IPv4Network((0x0A400000 + 256 * i, 24)) for i in range(450)]
    routes = [KernelRoute(network, "unicast", 254, index, None, 0, 87) for network in networks]
    wanted = [0] * len(routes)
    for there in (0, 199, 200, 449):
        assert rtnetlink.add_routes(opened, [routes[there]], replace=False) == [0]
        wanted[there] = errno.EEXIST
    assert rtnetlink.add_routes(opened, routes, replace=False) == wanted
    assert len(rtnetlink.dump_routes(opened, protocol=87)) == len(routes)
    assert rtnetlink.remove_routes(opened, routes[::2]) == [0] * 225
    assert rtnetlink.remove_routes(opened, routes) == [errno.ESRCH, 0] * 225
    assert rtnetlink.add_routes(opened, [], replace=False) == [] == rtnetlink.remove_routes(opened, [])
