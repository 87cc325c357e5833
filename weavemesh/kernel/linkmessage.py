"""Links and addresses in rtnetlink's messages, packed and unpacked; each function is one request on a given socket.

Not here: the socket and the messages about routes (`rtnetlink.py`), threads (`netlink.py`), and the batch that wires a
pod (`podmessage.py`). The numbers are those of linux/rtnetlink.h, linux/if_link.h and linux/if_addr.h.
"""

import errno
import socket
import struct
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Final

from msgspec import Struct

from weavemesh.kernel.rtnetlink import ACKNOWLEDGE, CREATE, DUMP, INTERRUPTED, attribute, attributes, perform, request
from weavemesh.overlay.state import IPInterface

_NEWLINK, _DELLINK, _GETLINK = 16, 17, 18
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_IFINFOMSG = struct.Struct("=BxHiII")
_IFADDRMSG = struct.Struct("=BBBBI")
_NUMBER = struct.Struct("=I")
_IFF_UP: Final = 0x1
_IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO, _IFLA_AF_SPEC, _IFLA_EXT_MASK = 3, 4, 18, 26, 29
_IFLA_INFO_KIND, _IFLA_INET6_ADDR_GEN_MODE, _ADDR_GEN_MODE_NONE = 1, 8, b"\x01"
_SKIP_STATISTICS: Final = 1 << 3
"""RTEXT_FILTER_SKIP_STATS."""
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_TEMPORARY, _NODAD, _DEPRECATED, _TENTATIVE = 0x01, 0x02, 0x20, 0x40
_DUMP_ATTEMPTS: Final = 20
"""A dump that the kernel calls interrupted is repeated."""


class Link(Struct, frozen=True):
    """One network interface."""

    index: int
    name: str
    kind: str
    """`veth`, `wireguard`, `tun`, …; empty for hardware and loopback."""
    mtu: int
    up: bool


class LinkAddress(Struct, frozen=True):
    """An address of an interface."""

    index: int
    address: IPInterface
    scope: int
    """0 global, 253 link, 254 host."""
    passing: bool
    """True for an address that is temporary, deprecated or not yet usable."""


def get_link(sock: socket.socket, name: str) -> Link:
    """The interface of that name. OSError, ENODEV if there is none."""
    body = _link_header(0) + attribute(_IFLA_EXT_MASK, _NUMBER.pack(_SKIP_STATISTICS)) + _text(_IFLA_IFNAME, name)
    links = [_link(payload) for _, _, payload in request(sock, _GETLINK, ACKNOWLEDGE, body)]
    return links[0]


def dump_links(sock: socket.socket) -> tuple[Link, ...]:
    """All interfaces. OSError."""
    body = _link_header(0) + attribute(_IFLA_EXT_MASK, _NUMBER.pack(_SKIP_STATISTICS))
    return tuple(_link(payload) for payload in _dump(sock, _GETLINK, body))


def add_link(sock: socket.socket, name: str, kind: str) -> None:
    """Make an interface that is down. OSError, EOPNOTSUPP for a kind that the kernel lacks."""
    information = attribute(_IFLA_LINKINFO, _text(_IFLA_INFO_KIND, kind))
    perform(sock, _NEWLINK, _link_header(0) + _text(_IFLA_IFNAME, name) + information, flags=CREATE)


def set_mtu(sock: socket.socket, index: int, mtu: int) -> None:
    """Set the MTU in bytes. OSError."""
    perform(sock, _NEWLINK, _link_header(index) + attribute(_IFLA_MTU, _NUMBER.pack(mtu)))


def bring_up(sock: socket.socket, index: int) -> None:
    """Let an interface carry packets. OSError."""
    perform(sock, _NEWLINK, _link_header(index, _IFF_UP))


def disable_link_local(sock: socket.socket, index: int) -> None:
    """No automatic IPv6 link-local address, from when it next comes up. OSError without IPv6."""
    inet6 = attribute(socket.AF_INET6, attribute(_IFLA_INET6_ADDR_GEN_MODE, _ADDR_GEN_MODE_NONE))
    perform(sock, _NEWLINK, _link_header(index) + attribute(_IFLA_AF_SPEC, inet6))


def delete_link(sock: socket.socket, index: int) -> None:
    """Delete an interface; takes tens of milliseconds. OSError, ENODEV if it is gone."""
    perform(sock, _DELLINK, _link_header(index))


def dump_addresses(sock: socket.socket) -> tuple[LinkAddress, ...]:
    """All addresses of all interfaces. OSError."""
    return tuple(_address(payload) for payload in _dump(sock, _GETADDR, _IFADDRMSG.pack(0, 0, 0, 0, 0)))


def add_address(sock: socket.socket, index: int, address: IPInterface) -> None:
    """Give an interface an address, without duplicate address detection. OSError, EEXIST if it has it."""
    flags = attribute(_IFA_FLAGS, _NUMBER.pack(_NODAD)) if address.version == 6 else b""
    perform(sock, _NEWADDR, _address_body(index, address) + flags, flags=CREATE)


def remove_address(sock: socket.socket, index: int, address: IPInterface) -> None:
    """Take an address from an interface. OSError, EADDRNOTAVAIL if it has it not."""
    perform(sock, _DELADDR, _address_body(index, address))


def _dump(sock: socket.socket, kind: int, body: bytes) -> list[memoryview]:
    for _ in range(_DUMP_ATTEMPTS):
        answers = list(request(sock, kind, DUMP, body))
        if not any(flags & INTERRUPTED for _, flags, _ in answers):
            return [payload for _, _, payload in answers]
    raise OSError(errno.EBUSY, "the kernel's table changes faster than it can be read")


def _link_header(index: int, flags: int = 0) -> bytes:
    return _IFINFOMSG.pack(socket.AF_UNSPEC, 0, index, flags, flags)


def _text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def _address_body(index: int, address: IPInterface) -> bytes:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    header = _IFADDRMSG.pack(family, address.network.prefixlen, 0, 0, index)
    return header + attribute(_IFA_LOCAL, address.packed) + attribute(_IFA_ADDRESS, address.packed)


def _link(payload: memoryview) -> Link:
    _, _, index, flags, _ = _IFINFOMSG.unpack_from(payload)
    values = dict(attributes(payload[_IFINFOMSG.size :]))
    kind = dict(attributes(values.get(_IFLA_LINKINFO, memoryview(b"")))).get(_IFLA_INFO_KIND)
    return Link(
        index=index,
        name=_string(values[_IFLA_IFNAME]),
        kind="" if kind is None else _string(kind),
        mtu=_NUMBER.unpack(values[_IFLA_MTU])[0],
        up=bool(flags & _IFF_UP),
    )


def _address(payload: memoryview) -> LinkAddress:
    family, length, flags, scope, index = _IFADDRMSG.unpack_from(payload)
    values = dict(attributes(payload[_IFADDRMSG.size :]))
    # IFA_LOCAL is the address itself; IFA_ADDRESS is the far end on point-to-point interfaces.
    packed = bytes(values.get(_IFA_LOCAL) or values[_IFA_ADDRESS])
    if _IFA_FLAGS in values:
        (flags,) = _NUMBER.unpack(values[_IFA_FLAGS])
    address: IPInterface = (
        IPv4Interface((IPv4Address(packed), length))
        if family == socket.AF_INET
        else IPv6Interface((IPv6Address(packed), length))
    )
    passing = bool(flags & (_TEMPORARY | _DEPRECATED | _TENTATIVE)) and family == socket.AF_INET6
    return LinkAddress(index, address, scope, passing)


def _string(value: memoryview) -> str:
    return bytes(value).rstrip(b"\0").decode(errors="replace")
