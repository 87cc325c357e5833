"""The socket of rtnetlink, for use from a thread, and its messages about routes (rtnetlink(7), linux/rtnetlink.h).

Any request may wait: for the kernel's one lock, for every CPU when a link is deleted (15 ms and more), for thousands of
routes, which are added many in one go and dumped through the kernel's own filter by protocol number. The messages about
links and addresses are in `linkmessage.py`; `netlink.py` is the face of both.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, Literal

from msgspec import Struct

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
_NUMBERS: Final = {name: number for number, name in _KINDS.items()}
_RTM_NEWROUTE, _RTM_DELROUTE, _RTM_GETROUTE = 24, 25, 26
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
ACKNOWLEDGE, DUMP, INTERRUPTED = 0x4, 0x300, 0x10
"""Flags of requests (NLM_F_ACK, NLM_F_DUMP) and of answers (NLM_F_DUMP_INTR)."""
CREATE = 0x600
"""The flags of a request that makes something which must not be there (NLM_F_CREATE, NLM_F_EXCL)."""
_NLM_F_REQUEST, _NLM_F_REPLACE, _NLM_F_CREATE = 0x1, 0x100, 0x400
_NLM_F_CAPPED, _NLM_F_ACK_TLVS, _NLMSGERR_ATTR_MSG = 0x100, 0x200, 1
_SCOPE_UNIVERSE, _SCOPE_LINK, _SCOPE_ANY = 0, 253, 255
_RTA_DST, _RTA_OIF, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_METRICS, _RTA_MULTIPATH, _RTA_TABLE = 1, 4, 6, 7, 8, 9, 15
_RTAX_LOCK, _RTAX_MTU = 1, 2
_RTM_F_CLONED = 0x200
_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK = 270, 10, 11, 12
_HEADER = struct.Struct("=IHHII")
_RTMSG = struct.Struct("=BBBBBBBBI")
_DUMP_ATTEMPTS: Final = 5
"""A dump that the kernel calls interrupted is repeated; a table that changes faster than that is taken as it is."""
_RECEIVE_BYTES: Final = 1 << 16
_REQUESTS_AT_ONCE: Final = 200
"""Should all be refused, the answers must fit into the socket's buffer."""


class KernelRoute(Struct, frozen=True):
    """One entry of a routing table."""

    destination: IPNetwork
    kind: RouteKind
    table: int
    index: int | None
    """Interface of the route, or of its first next hop; None if it has none."""
    source: IPAddress | None
    metric: int
    protocol: int
    mtu: int | None = None
    """Bytes of the largest packet that goes this way, if that is less than the interface takes."""


def open_socket() -> socket.socket:
    """A socket for the requests below, in the network namespace of the calling thread."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
    sock.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
    with suppress(OSError):  # before Linux 4.20: then only dump_routes filters
        sock.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
    return sock


def dump_routes(sock: socket.socket, *, protocol: int | None) -> tuple[KernelRoute, ...]:
    """All routes of both families and all tables; with `protocol`, only those that carry that number."""
    return tuple(route for family in (socket.AF_INET, socket.AF_INET6) for route in _dump(sock, family, protocol))


def add_routes(sock: socket.socket, routes: Sequence[KernelRoute], *, replace: bool) -> list[int]:
    """Add unicast routes through interfaces, and unreachable ones; for each the errno, 0 if it is there now.

    EEXIST if the same destination and metric is there, unless it is to be replaced.
    """
    flags = _NLM_F_CREATE | _NLM_F_REPLACE if replace else CREATE
    return _perform_all(sock, _RTM_NEWROUTE, flags, [_encode(route) for route in routes])


def remove_routes(sock: socket.socket, routes: Sequence[KernelRoute]) -> list[int]:
    """Take away routes as they were dumped; for each the errno, 0 or ESRCH if it is gone now."""
    return _perform_all(sock, _RTM_DELROUTE, 0, [_encode(route, is_search=True) for route in routes])


def _perform_all(sock: socket.socket, kind: int, flags: int, bodies: Sequence[bytes]) -> list[int]:
    """Make requests, many in one datagram; the errno of each."""
    outcomes: list[int] = []
    for start in range(0, len(bodies), _REQUESTS_AT_ONCE):
        outcomes += _perform_together(sock, kind, flags, bodies[start : start + _REQUESTS_AT_ONCE])
    return outcomes


def _perform_together(sock: socket.socket, kind: int, flags: int, bodies: Sequence[bytes]) -> list[int]:
    """Send requests in one datagram, and ask for the last one's acknowledgement: refusals of all others come before it.

    An acknowledgement of each would be a system call each, by which another thread gets its turn: where processors are
    short, hundreds of them take minutes.
    """
    first = int.from_bytes(os.urandom(3), "little") << 7 | 1
    last = first + len(bodies) - 1
    sock.send(
        b"".join(
            _HEADER.pack(
                _HEADER.size + len(body),
                kind,
                flags | _NLM_F_REQUEST | (ACKNOWLEDGE if sequence == last else 0),
                sequence,
                0,
            )
            + body
            for sequence, body in enumerate(bodies, start=first)
        )
    )
    outcomes = [0] * len(bodies)
    answered = -1
    while answered != last:
        datagram = memoryview(sock.recv(_RECEIVE_BYTES))
        while len(datagram) >= _HEADER.size:
            length, answer, _, sequence, _ = _HEADER.unpack_from(datagram)
            if answer == _NLMSG_ERROR and first <= sequence <= last:
                outcomes[sequence - first] = -struct.unpack_from("=i", datagram, _HEADER.size)[0]
                answered = sequence
            datagram = datagram[(length + 3) & ~3 :]
    return outcomes


def _encode(route: KernelRoute, *, is_search: bool = False) -> bytes:
    """The message of a route; to search for one, whatever its scope and source."""
    family = socket.AF_INET if route.destination.version == 4 else socket.AF_INET6
    scope = _SCOPE_LINK if family == socket.AF_INET and route.kind == "unicast" else _SCOPE_UNIVERSE
    kind = _NUMBERS.get(route.kind, 0)
    length = route.destination.prefixlen
    content = _RTMSG.pack(family, length, 0, 0, 0, route.protocol, _SCOPE_ANY if is_search else scope, kind, 0)
    content += attribute(_RTA_DST, route.destination.network_address.packed)
    content += attribute(_RTA_TABLE, struct.pack("=I", route.table))
    if route.index is not None and route.kind == "unicast":
        content += attribute(_RTA_OIF, struct.pack("=I", route.index))
    if route.source is not None and not is_search:
        content += attribute(_RTA_PREFSRC, route.source.packed)
    if route.metric:
        content += attribute(_RTA_PRIORITY, struct.pack("=I", route.metric))
    if route.mtu is not None and not is_search:
        # Locked: Linux before 5.10 forwards packets of any size over a route whose MTU is not, IPv6 ones later, too.
        locked = attribute(_RTAX_LOCK, struct.pack("=I", 1 << _RTAX_MTU))
        content += attribute(_RTA_METRICS, locked + attribute(_RTAX_MTU, struct.pack("=I", route.mtu)))
    return content


def attribute(kind: int, content: bytes) -> bytes:
    """A netlink attribute, filled up to a multiple of 4 bytes."""
    return struct.pack("=HH", 4 + len(content), kind) + content + bytes(-len(content) % 4)


def _dump(sock: socket.socket, family: int, protocol: int | None) -> list[KernelRoute]:
    body = _RTMSG.pack(family, 0, 0, 0, 0, protocol or 0, 0, 0, 0)
    routes: list[KernelRoute] = []
    for _ in range(_DUMP_ATTEMPTS):
        routes, interrupted = [], False
        try:
            for kind, flags, payload in request(sock, _RTM_GETROUTE, DUMP, body):
                interrupted = interrupted or bool(flags & INTERRUPTED)
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


def perform(sock: socket.socket, kind: int, body: bytes, *, flags: int = 0) -> None:
    """Make a request that is answered by an acknowledgement alone; OSError if it is refused."""
    for _ in request(sock, kind, ACKNOWLEDGE | flags, body):
        pass


def request(sock: socket.socket, kind: int, flags: int, body: bytes) -> Iterator[tuple[int, int, memoryview]]:
    """The answers to a request (message type, flags, payload) up to its acknowledgement; OSError if that is one."""
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
                    raise OSError(-code, _refusal(payload, flags) or os.strerror(-code))
                return
            yield kind, flags, payload


def _refusal(payload: memoryview, flags: int) -> str | None:
    """The kernel's own sentence in an error message (NLMSGERR_ATTR_MSG); None if it gives none."""
    if not flags & _NLM_F_ACK_TLVS:
        return None
    (length,) = struct.unpack_from("=I", payload, 4)
    skipped = 4 + (_HEADER.size if flags & _NLM_F_CAPPED else (length + 3) & ~3)
    sentence = dict(attributes(payload[skipped:])).get(_NLMSGERR_ATTR_MSG)
    return None if sentence is None else bytes(sentence).rstrip(b"\0").decode(errors="replace")


def _decode(payload: memoryview) -> KernelRoute | None:
    family, length, _, _, table, protocol, _, kind, flags = _RTMSG.unpack_from(payload)
    if flags & _RTM_F_CLONED:
        return None
    values = dict(attributes(payload[_RTMSG.size :]))
    index = _number(values.get(_RTA_OIF))
    if index is None and _RTA_MULTIPATH in values and len(values[_RTA_MULTIPATH]) >= 8:
        (index,) = struct.unpack_from("=4xi", values[_RTA_MULTIPATH])
    source = values.get(_RTA_PREFSRC)
    metrics = dict(attributes(values.get(_RTA_METRICS, memoryview(b""))))
    return KernelRoute(
        destination=_network(family, values.get(_RTA_DST), length),
        kind=_KINDS.get(kind, "other"),
        table=_number(values.get(_RTA_TABLE)) or table,
        index=index,
        source=_address(family, source) if source is not None else None,
        metric=_number(values.get(_RTA_PRIORITY)) or 0,
        protocol=protocol,
        mtu=_number(metrics.get(_RTAX_MTU)),
    )


def attributes(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The attributes in a part of a message: number (without flags) and content."""
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
