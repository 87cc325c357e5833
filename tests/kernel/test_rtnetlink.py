"""The two hand-written requests against a real kernel."""

import errno
import os
import secrets
import socket
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Protocol

import pytest

from weavemesh.kernel.netns import call_in
from weavemesh.kernel.rtnetlink import KernelRoute, delete_link, dump_routes, open_socket

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]


class Ip(Protocol):
    """Runs `ip` inside the namespace; input is a batch."""

    def __call__(self, *arguments: str, batch: str = "") -> str: ...


@pytest.fixture
def name() -> Iterator[str]:
    name = f"wmk{secrets.token_hex(3)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.fixture
def ip(name: str) -> Ip:
    def run(*arguments: str, batch: str = "") -> str:
        command = ["ip", "-n", name, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, input=batch, timeout=30).stdout

    run("link", "add", "near", "type", "veth", "peer", "far")
    run("link", "set", "near", "up")
    run("link", "set", "far", "up")
    run("addr", "add", "192.0.2.1/24", "dev", "near")
    return run


@pytest.fixture
def sock(name: str, ip: Ip) -> Iterator[socket.socket]:
    assert "near" in ip("link")
    descriptor = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        with call_in(descriptor, open_socket) as opened:
            yield opened
    finally:
        os.close(descriptor)


def index_of(ip: Ip, name: str) -> int:
    return int(ip("-o", "link", "show", name).partition(":")[0])


def test_every_field_of_a_route_is_read(sock: socket.socket, ip: Ip) -> None:
    near = index_of(ip, "near")
    ip("route", "add", "10.33.0.0/16", "dev", "near", "src", "192.0.2.1", "metric", "7", "proto", "87")
    ip("route", "add", "unreachable", "10.32.0.0/12", "metric", "4278198272", "proto", "87", "table", "1000")
    ip("-6", "route", "add", "blackhole", "fd57:1::/96", "metric", "5", "proto", "87")
    assert set(dump_routes(sock, protocol=87)) == {
        KernelRoute(ip_network("10.33.0.0/16"), "unicast", 254, near, ip_address("192.0.2.1"), 7, 87),
        KernelRoute(ip_network("10.32.0.0/12"), "unreachable", 1000, None, None, 4278198272, 87),
        KernelRoute(ip_network("fd57:1::/96"), "blackhole", 254, index_of(ip, "lo"), None, 5, 87),
    }


def test_without_a_protocol_all_tables_and_kinds_come(sock: socket.socket, ip: Ip) -> None:
    ip("route", "add", "default", "via", "192.0.2.2")
    routes = dump_routes(sock, protocol=None)
    found = {(str(route.destination), route.kind, route.table) for route in routes}
    assert found >= {
        ("0.0.0.0/0", "unicast", 254),
        ("192.0.2.0/24", "unicast", 254),
        ("192.0.2.1/32", "local", 255),
        ("192.0.2.255/32", "broadcast", 255),
    }
    assert {"ff00::/8"} <= {str(route.destination) for route in routes if route.kind == "multicast"}


def test_a_route_of_several_next_hops_names_its_first(sock: socket.socket, ip: Ip) -> None:
    hops = ("nexthop", "dev", "near", "nexthop", "dev", "far")
    ip("route", "add", "10.34.0.0/16", "proto", "87", *hops)
    (route,) = dump_routes(sock, protocol=87)
    assert route.index == index_of(ip, "near")


def test_a_protocol_that_nobody_uses_gives_nothing(sock: socket.socket) -> None:
    assert dump_routes(sock, protocol=87) == ()


def test_a_table_longer_than_many_datagrams_is_read_whole(sock: socket.socket, ip: Ip) -> None:
    wished = {ip_network(f"10.33.{i // 256}.{i % 256}/32") for i in range(3000)}
    ip("-batch", "-", batch="".join(f"route add {network} dev near proto 87\n" for network in wished))
    assert {route.destination for route in dump_routes(sock, protocol=87)} == wished


def test_a_deleted_link_is_gone_and_cannot_be_deleted_again(sock: socket.socket, ip: Ip) -> None:
    near = index_of(ip, "near")
    delete_link(sock, near)
    assert "near" not in ip("link")
    with pytest.raises(OSError, match="No such device") as caught:
        delete_link(sock, near)
    assert caught.value.errno == errno.ENODEV
    assert dump_routes(sock, protocol=87) == (), "the socket is as good as before"
