"""The two rtnetlink requests that may not run on the event loop, in plain sockets for use from a thread.

Deleting a link waits for every CPU (15 ms and more), and a dump of thousands of routes takes its time too;
pyroute2 filters dumps only after decoding all of them, whereas the kernel filters by protocol number itself
when it is asked strictly. Everything else of rtnetlink is in `netlink.py`, through pyroute2.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, Literal

from weavemesh.overlay.state import IPAddress, IPNetwork

RouteKind = Literal["unicast", "local", "broadcast", "multicast", "blackhole", "unreachable", "other"]

_KINDS: Final[dict[int, RouteKind]] = {
    1: "unicast",
    2: "local",
    3: "broadcast",
    5: "multicast",
    6: "blackhole",
    7: "unreachable",
}
_RTM_DELLINK, _RTM_NEWROUTE, _RTM_GETROUTE = 17, 24, 26
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_DUMP, _NLM_F_DUMP_INTR = 0x1, 0x4, 0x300, 0x10
_RTA_DST, _RTA_OIF, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_MULTIPATH, _RTA_TABLE = 1, 4, 6, 7, 9, 15
_RTM_F_CLONED = 0x200
_SOL_NETLINK, _NETLINK_GET_STRICT_CHK = 270, 12
_HEADER = struct.Struct("=IHHII")
_RTMSG = struct.Struct("=BBBBBBBBI")
_IFINFOMSG = struct.Struct("=BxHiII")
_DUMP_ATTEMPTS: Final = 5
"""A dump that the kernel calls interrupted is repeated; a table that changes faster than that is taken as it is."""
_RECEIVE_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class KernelRoute:
    """One entry of a routing table."""

    destination: IPNetwork
    kind: RouteKind
    table: int
    index: int | None
    """Interface of the route, or of its first next hop; None if it has none."""
    source: IPAddress | None
    metric: int
    protocol: int


def open_socket() -> socket.socket:
    """A socket for the requests below, in the network namespace of the calling thread."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    with suppress(OSError):  # before Linux 4.20: then only dump_routes filters
        sock.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
    return sock


def delete_link(sock: socket.socket, index: int) -> None:
    """Delete an interface; blocks for tens of milliseconds. Raises OSError (ENODEV if it is gone)."""
    for _ in _request(sock, _RTM_DELLINK, _NLM_F_ACK, _IFINFOMSG.pack(0, 0, index, 0, 0)):
        pass


def dump_routes(sock: socket.socket, *, protocol: int | None) -> tuple[KernelRoute, ...]:
    """All routes of both families and all tables; with `protocol`, only those that carry that number."""
    return tuple(route for family in (socket.AF_INET, socket.AF_INET6) for route in _dump(sock, family, protocol))


def _dump(sock: socket.socket, family: int, protocol: int | None) -> list[KernelRoute]:
    body = _RTMSG.pack(family, 0, 0, 0, 0, protocol or 0, 0, 0, 0)
    routes: list[KernelRoute] = []
    for _ in range(_DUMP_ATTEMPTS):
        routes, interrupted = [], False
        try:
            for kind, flags, payload in _request(sock, _RTM_GETROUTE, _NLM_F_DUMP, body):
                interrupted = interrupted or bool(flags & _NLM_F_DUMP_INTR)
                route = _decode(payload) if kind == _RTM_NEWROUTE else None
                if route is not None and protocol in (None, route.protocol):
                    routes.append(route)
        except OSError as error:
            # No such family, or nothing at all under this filter.
            if error.errno not in (errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.ENOENT):
                raise
        if not interrupted:
            break
    return routes


def _request(sock: socket.socket, kind: int, flags: int, body: bytes) -> Iterator[tuple[int, int, memoryview]]:
    """The answers (message type, flags, payload) until the acknowledgement; OSError if that is an error."""
    sequence = int.from_bytes(os.urandom(4), "little") or 1
    sock.send(_HEADER.pack(_HEADER.size + len(body), kind, flags | _NLM_F_REQUEST, sequence, 0) + body)
    while True:
        datagram = memoryview(sock.recv(_RECEIVE_BYTES))
        while len(datagram) >= _HEADER.size:
            length, kind, flags, answered, _ = _HEADER.unpack_from(datagram)
            payload, datagram = datagram[_HEADER.size : length], datagram[(length + 3) & ~3 :]
            if answered != sequence:
                continue  # left over from a request that was given up
            if kind in (_NLMSG_ERROR, _NLMSG_DONE):
                (code,) = struct.unpack_from("=i", payload) if len(payload) >= 4 else (0,)
                if code < 0:
                    raise OSError(-code, os.strerror(-code))
                return
            yield kind, flags, payload


def _decode(payload: memoryview) -> KernelRoute | None:
    family, length, _, _, table, protocol, _, kind, flags = _RTMSG.unpack_from(payload)
    if flags & _RTM_F_CLONED:
        return None
    values = dict(_attributes(payload[_RTMSG.size :]))
    index = _number(values.get(_RTA_OIF))
    if index is None and _RTA_MULTIPATH in values and len(values[_RTA_MULTIPATH]) >= 8:
        (index,) = struct.unpack_from("=4xi", values[_RTA_MULTIPATH])
    source = values.get(_RTA_PREFSRC)
    return KernelRoute(
        destination=_network(family, values.get(_RTA_DST), length),
        kind=_KINDS.get(kind, "other"),
        table=_number(values.get(_RTA_TABLE)) or table,
        index=index,
        source=_address(family, source) if source is not None else None,
        metric=_number(values.get(_RTA_PRIORITY)) or 0,
        protocol=protocol,
    )


def _attributes(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            return
        yield kind & 0x3FFF, data[4:length]
        data = data[(length + 3) & ~3 :]


def _number(value: memoryview | None) -> int | None:
    return None if value is None else int(struct.unpack("=I", value)[0])


def _address(family: int, value: memoryview) -> IPAddress:
    return IPv4Address(bytes(value)) if family == socket.AF_INET else IPv6Address(bytes(value))


def _network(family: int, value: memoryview | None, length: int) -> IPNetwork:
    if family == socket.AF_INET:
        return IPv4Network((bytes(value) if value is not None else bytes(4), length))
    return IPv6Network((bytes(value) if value is not None else bytes(16), length))
