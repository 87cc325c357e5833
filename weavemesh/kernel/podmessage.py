"""The few rtnetlink messages that wire a pod, packed and unpacked by hand: veth, addresses, routes, neighbours.

By hand because an ADD is on the start path of every container: a batch of ten messages costs one system call and no
event loop, and works in any thread and any network namespace. Not a netlink library: everything about the overlay
device goes through `weavemesh.kernel.netlink`. Pure; its counterpart is `weavemesh.kernel.podlink`, which sends these.

The numbers are those of linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h, linux/neighbour.h and linux/ip.h.
"""

import socket
import struct
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

from msgspec import Struct

IPAddress = IPv4Address | IPv6Address
IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network

PROTOCOL = 87
"""The mark of our routes (rtm_protocol), as in `weavemesh.kernel.netlink`, which is not imported: it costs 12 MB."""
LOOPBACK_INDEX = 1
"""Of `lo`, the first device of every network namespace."""

HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEIGHBOUR = struct.Struct("=BxHiHBB")

ACKNOWLEDGE = 0x4
"""A flag for `pack`: the kernel tells how this one went, also if it went well."""
ERROR = 2
"""The type of a reply that tells how a message went."""
_REQUEST, _DUMP, _REPLACE, _EXCLUSIVE, _CREATE = 0x1, 0x300, 0x100, 0x200, 0x400
_NLMSGERR_ATTR_MSG = 1
_ATTRIBUTE_KIND_MASK = 0x3FFF
_NEWLINK, _DELLINK, _GETLINK = 16, 17, 18
_NEWADDR, _GETADDR, _NEWROUTE, _DELROUTE, _GETROUTE, _NEWNEIGH = 20, 22, 24, 25, 26, 28

_IFF_UP = 0x1
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK = 1, 3, 4, 5
_IFLA_LINKINFO, _IFLA_IFALIAS, _IFLA_AF_SPEC, _IFLA_GROUP, _IFLA_NET_NS_FD = 18, 20, 26, 27, 28
_IFLA_NUM_TX_QUEUES, _IFLA_NUM_RX_QUEUES = 31, 32
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFLA_INET_CONF, _IFLA_INET6_ADDR_GEN_MODE, _ADDR_GEN_MODE_NONE = 1, 8, b"\x01"
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS, _IFA_F_NODAD = 1, 2, 8, 0x02
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5
_TABLE_LOCAL, _SCOPE_HOST, _LOCAL = 255, 254, 2
_TABLE_MAIN, _SCOPE_UNIVERSE, _SCOPE_LINK, _SCOPE_NOWHERE, _UNICAST, _ONLINK = 254, 0, 253, 255, 1, 0x4
_NDA_DST, _NDA_LLADDR, _NUD_PERMANENT = 1, 2, 0x80

DEVCONF_FORWARDING, DEVCONF_ACCEPT_REDIRECTS, DEVCONF_RP_FILTER = 1, 4, 8
"""Keys of `configure_link(ipv4=…)`: net.ipv4.conf.* by their numbers in linux/ip.h."""


class Message(Struct, frozen=True):
    """One request: its type, its flags, the bytes after the header, and what it does, for people."""

    kind: int
    flags: int
    body: bytes
    what: str


class Link(Struct, frozen=True):
    """A network device as the kernel shows it."""

    index: int
    name: str
    up: bool
    mac: str
    mtu: int
    peer_index: int | None
    """Of a veth: the other end's index in that end's namespace."""
    alias: str | None
    group: int = 0


class Peer(Struct, frozen=True):
    """The far end of a veth pair, to be born in the namespace of `netns_fd`."""

    name: str
    mac: str
    netns_fd: int
    """As whoever sends the message has it open."""
    index: int = 0
    """0: the kernel chooses one."""


def pack_mac(mac: str) -> bytes:
    """Six bytes of `aa:bb:cc:dd:ee:ff`. ValueError if it is no such text."""
    return bytes.fromhex(mac.replace(":", ""))


def _attribute(kind: int, payload: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(payload)
    return _ATTRIBUTE.pack(length, kind) + payload + bytes(-length % 4)


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack("=I", value))


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _link_header(*, index: int = 0, up: bool = False) -> bytes:
    flags = _IFF_UP if up else 0
    return _LINK.pack(socket.AF_UNSPEC, 0, index, flags, flags)


def _family(address: IPAddress) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def add_veth(name: str, *, mac: str, mtu: int, peer: Peer, index: int = 0) -> Message:
    """Makes the pair, our end up; both get the MTU, which is not inherited. EEXIST if a name is taken in its place.

    Index 0: the kernel chooses one; the peer's counts only beside another. EEXIST, EBUSY if one is taken.
    Each end has the one queue of each kind that a veth uses anyhow: unasked the kernel makes one for every CPU first,
    and waits twice for all CPUs while it takes them away again.
    """
    queues = _number(_IFLA_NUM_TX_QUEUES, 1) + _number(_IFLA_NUM_RX_QUEUES, 1)
    far = (
        _link_header(index=peer.index)
        + _text(_IFLA_IFNAME, peer.name)
        + _attribute(_IFLA_ADDRESS, pack_mac(peer.mac))
        + _number(_IFLA_MTU, mtu)
        + queues
        + _number(_IFLA_NET_NS_FD, peer.netns_fd)
    )
    data = _attribute(_IFLA_INFO_DATA, _attribute(_VETH_INFO_PEER, far))
    body = (
        _link_header(index=index, up=True)
        + _text(_IFLA_IFNAME, name)
        + _attribute(_IFLA_ADDRESS, pack_mac(mac))
        + _number(_IFLA_MTU, mtu)
        + queues
        + _attribute(_IFLA_LINKINFO, _text(_IFLA_INFO_KIND, "veth") + data)
    )
    return Message(_NEWLINK, _CREATE | _EXCLUSIVE, body, f"make veth {name} with {peer.name} in the pod")


def set_up(index: int) -> Message:
    """Switches the device on; nothing if it is."""
    return Message(_NEWLINK, 0, _link_header(index=index, up=True), f"set device {index} up")


def set_alias(index: int, alias: str) -> Message:
    """Writes up to 255 bytes of text on the device (`ip link` shows it)."""
    return Message(
        _NEWLINK, 0, _link_header(index=index) + _attribute(_IFLA_IFALIAS, alias.encode()), f"name device {index}"
    )


def configure_link(name: str, *, ipv4: Mapping[int, int], ipv6: bool) -> Message:
    """Sets net.ipv4.conf keys of a device and, with `ipv6`, that no link-local address is made up for it.

    Without a link-local address there is no duplicate address detection and no router solicitation.
    """
    families = b""
    if ipv4:
        keys = b"".join(_number(key, value) for key, value in ipv4.items())
        families += _attribute(socket.AF_INET, _attribute(_IFLA_INET_CONF, keys))
    if ipv6:
        mode = _attribute(_IFLA_INET6_ADDR_GEN_MODE, _ADDR_GEN_MODE_NONE)
        families += _attribute(socket.AF_INET6, mode)
    body = _link_header() + _text(_IFLA_IFNAME, name) + _attribute(_IFLA_AF_SPEC, families)
    return Message(_NEWLINK, 0, body, f"configure {name}")


def delete_link(name: str) -> Message:
    """Deletes the device (of a veth: both ends). ENODEV if there is none. The kernel takes some 15 ms for a veth."""
    return Message(_DELLINK, 0, _link_header() + _text(_IFLA_IFNAME, name), f"delete {name}")


def set_group(name: str, group: int) -> Message:
    """Puts the device into a group. ENODEV if there is none."""
    body = _link_header() + _text(_IFLA_IFNAME, name) + _number(_IFLA_GROUP, group)
    return Message(_NEWLINK, 0, body, f"mark {name}")


def delete_group(group: int) -> Message:
    """Deletes all devices of the group together, which takes hardly longer than one. ENODEV if there are none."""
    return Message(_DELLINK, 0, _link_header() + _number(_IFLA_GROUP, group), f"delete the devices of group {group}")


def add_address(index: int, address: IPInterface) -> Message:
    """Gives the device an address, at once and without duplicate address detection; nothing if it has it."""
    family = _family(address.ip)
    header = _ADDRESS.pack(family, address.network.prefixlen, _IFA_F_NODAD, _SCOPE_UNIVERSE, index)
    body = header + _attribute(_IFA_LOCAL, address.ip.packed) + _attribute(_IFA_ADDRESS, address.ip.packed)
    body += _number(_IFA_FLAGS, _IFA_F_NODAD)
    return Message(_NEWADDR, _CREATE | _REPLACE, body, f"address {address}")


def add_host_route(index: int, destination: IPAddress, *, replaces: bool = True) -> Message:
    """Routes one address to the device; replaces another route to it, or else EEXIST if there is one."""
    scope = _SCOPE_LINK if destination.version == 4 else _SCOPE_UNIVERSE
    length = destination.max_prefixlen
    header = _ROUTE.pack(_family(destination), length, 0, 0, _TABLE_MAIN, PROTOCOL, scope, _UNICAST, 0)
    body = header + _number(_RTA_OIF, index) + _attribute(_RTA_DST, destination.packed)
    return Message(_NEWROUTE, _CREATE | (_REPLACE if replaces else _EXCLUSIVE), body, f"route to {destination}")


def remove_host_route(name: str, index: int, destination: IPAddress) -> Message:
    """Takes the route of `add_host_route` away. ESRCH if there is none."""
    scope = _SCOPE_NOWHERE if destination.version == 4 else _SCOPE_UNIVERSE  # matches any scope
    header = _ROUTE.pack(_family(destination), destination.max_prefixlen, 0, 0, _TABLE_MAIN, PROTOCOL, scope, 0, 0)
    body = header + _number(_RTA_OIF, index) + _attribute(_RTA_DST, destination.packed)
    return Message(_DELROUTE, 0, body, f"remove the route to {destination} by {name}")


def add_local_route(address: IPAddress, index: int = LOOPBACK_INDEX) -> Message:
    """Makes the namespace itself take what is sent to an address; replaces another such route."""
    return Message(_NEWROUTE, _CREATE | _REPLACE, _local_route(address, index), f"take packets to {address}")


def remove_local_route(address: IPAddress) -> Message:
    """Takes the route of `add_local_route` away. ESRCH if there is none."""
    return Message(_DELROUTE, 0, _local_route(address, LOOPBACK_INDEX), f"take packets to {address} no longer")


def _local_route(address: IPAddress, index: int) -> bytes:
    scope = _SCOPE_HOST if address.version == 4 else _SCOPE_UNIVERSE
    length = address.max_prefixlen
    header = _ROUTE.pack(_family(address), length, 0, 0, _TABLE_LOCAL, PROTOCOL, scope, _LOCAL, 0)
    return header + _number(_RTA_OIF, index) + _attribute(_RTA_DST, address.packed)


def add_gateway_route(index: int, network: IPNetwork, gateway: IPAddress) -> Message:
    """Routes a network through the gateway, which need not be reachable by another route. EEXIST if one is there."""
    body = _number(_RTA_OIF, index) + _attribute(_RTA_GATEWAY, gateway.packed)
    if network.prefixlen:
        body += _attribute(_RTA_DST, network.network_address.packed)
    flags = _ONLINK if gateway.version == 4 else 0
    length = network.prefixlen
    header = _ROUTE.pack(_family(gateway), length, 0, 0, _TABLE_MAIN, PROTOCOL, _SCOPE_UNIVERSE, _UNICAST, flags)
    return Message(_NEWROUTE, _CREATE | _EXCLUSIVE, header + body, f"route to {network} via {gateway}")


def add_neighbour(index: int, address: IPAddress, mac: str) -> Message:
    """Says for ever which MAC an address on the device has, so that nobody asks; replaces another entry."""
    header = _NEIGHBOUR.pack(_family(address), 0, index, _NUD_PERMANENT, 0, 0)
    body = header + _attribute(_NDA_DST, address.packed) + _attribute(_NDA_LLADDR, pack_mac(mac))
    return Message(_NEWNEIGH, _CREATE | _REPLACE, body, f"neighbour {address}")


def get_link(name: str) -> Message:
    """Asks for one device. ENODEV if there is none."""
    return Message(_GETLINK, 0, _link_header() + _text(_IFLA_IFNAME, name), f"look for {name}")


def get_route(destination: IPAddress) -> Message:
    """Asks how an address would be reached."""
    header = _ROUTE.pack(_family(destination), destination.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    body = header + _attribute(_RTA_DST, destination.packed)
    return Message(_GETROUTE, 0, body, f"ask for the route to {destination}")


LIST_LINKS = Message(_GETLINK, _DUMP, _link_header(), "list devices")
LIST_ADDRESSES = Message(_GETADDR, _DUMP, bytes(_ADDRESS.size), "list addresses")
LIST_ROUTES = Message(_GETROUTE, _DUMP, bytes(_ROUTE.size), "list routes")


def pack(message: Message, sequence: int, *, flags: int) -> bytes:
    """The message on the wire, with its number and further header flags."""
    length = HEADER.size + len(message.body)
    return HEADER.pack(length, message.kind, message.flags | flags | _REQUEST, sequence, 0) + message.body


def unpack(replies: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """The messages in what the kernel sent: type, flags, number, body."""
    offset = 0
    while offset + HEADER.size <= len(replies):
        length, kind, flags, number, _ = HEADER.unpack_from(replies, offset)
        yield kind, flags, number, replies[offset + HEADER.size : offset + length]
        offset += max(HEADER.size, length + (-length % 4))


def decode_failure(body: bytes) -> tuple[int, str]:
    """The errno (0: done) and the kernel's own sentence ("" if it gave none) of an acknowledgement with capped echo."""
    (code,) = struct.unpack_from("=i", body)
    sentence = _attributes(body[4 + HEADER.size :]).get(_NLMSGERR_ATTR_MSG, b"")
    return -code, _decode_text(sentence)


def decode_link(body: bytes) -> Link:
    """The device of a link message."""
    _, _, index, flags, _ = _LINK.unpack_from(body)
    attributes = _attributes(body[_LINK.size :])
    peer = attributes.get(_IFLA_LINK)
    alias = attributes.get(_IFLA_IFALIAS)
    return Link(
        index=index,
        name=_decode_text(attributes.get(_IFLA_IFNAME, b"")),
        up=bool(flags & _IFF_UP),
        mac=attributes.get(_IFLA_ADDRESS, b"").hex(":"),
        mtu=_decode_number(attributes.get(_IFLA_MTU, bytes(4))),
        peer_index=_decode_number(peer) if peer else None,
        alias=_decode_text(alias) if alias else None,
        group=_decode_number(attributes.get(_IFLA_GROUP, bytes(4))),
    )


def decode_address(body: bytes) -> tuple[int, IPAddress] | None:
    """The device and the address of an address message."""
    attributes = _attributes(body[_ADDRESS.size :])
    packed = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
    return (_ADDRESS.unpack_from(body)[4], _decode_address(packed)) if packed else None


def decode_gateway_route(body: bytes) -> tuple[int, IPAddress, IPNetwork] | None:
    """The device, gateway and network of a route message, if it is a route of the main table by a gateway."""
    family, length, _, _, table, _, _, _, _ = _ROUTE.unpack_from(body)
    attributes = _attributes(body[_ROUTE.size :])
    gateway, device = attributes.get(_RTA_GATEWAY), attributes.get(_RTA_OIF)
    if table != _TABLE_MAIN or not gateway or not device:
        return None
    packed = attributes.get(_RTA_DST) or bytes(4 if family == socket.AF_INET else 16)
    network = IPv4Network((packed, length)) if len(packed) == 4 else IPv6Network((packed, length))
    return _decode_number(device), _decode_address(gateway), network


def decode_route_device(body: bytes) -> int | None:
    """The device of a route message; None if the route leads nowhere."""
    device = _attributes(body[_ROUTE.size :]).get(_RTA_OIF)
    return _decode_number(device) if device else None


def _attributes(payload: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    offset = 0
    while offset + _ATTRIBUTE.size <= len(payload):
        length, kind = _ATTRIBUTE.unpack_from(payload, offset)
        found[kind & _ATTRIBUTE_KIND_MASK] = payload[offset + _ATTRIBUTE.size : offset + length]
        offset += max(_ATTRIBUTE.size, length + (-length % 4))
    return found


def _decode_number(payload: bytes) -> int:
    return int(struct.unpack("=I", payload)[0])


def _decode_text(payload: bytes) -> str:
    return payload.rstrip(b"\0").decode("utf-8", "replace")


def _decode_address(packed: bytes) -> IPAddress:
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)
