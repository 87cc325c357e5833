import struct
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weavemesh.kernel import podmessage
from weavemesh.kernel.podmessage import Link, Message, Peer

DEFAULT4, DEFAULT6 = IPv4Network("0.0.0.0/0"), IPv6Network("::/0")
PEER = Peer(name="eth0", mac="02:00:00:00:00:01", netns_fd=7)
MESSAGES = {
    "veth": podmessage.add_veth("wmv0", mac="ee:ee:ee:ee:ee:ee", mtu=1380, peer=PEER),
    "up": podmessage.set_up(3),
    "alias": podmessage.set_alias(3, "weavemesh net/c/eth0"),
    "configure": podmessage.configure_link("wmv0", ipv4={podmessage.DEVCONF_FORWARDING: 1}, ipv6=True),
    "delete": podmessage.delete_link("wmv0"),
    "address 4": podmessage.add_address(3, IPv4Interface("10.32.0.1/32")),
    "address 6": podmessage.add_address(3, IPv6Interface("fd57::1/128")),
    "route 4": podmessage.add_host_route(3, IPv4Address("10.32.0.1")),
    "route 6": podmessage.add_host_route(3, IPv6Address("fd57::1")),
    "no route 4": podmessage.remove_host_route("wmv0", 3, IPv4Address("10.32.0.1")),
    "no route 6": podmessage.remove_host_route("wmv0", 3, IPv6Address("fd57::1")),
    "default 4": podmessage.add_gateway_route(3, DEFAULT4, IPv4Address("169.254.1.1")),
    "default 6": podmessage.add_gateway_route(3, DEFAULT6, IPv6Address("fe80::1")),
    "group": podmessage.set_group("wmv0", 7),
    "no group": podmessage.delete_group(7),
    "neighbour": podmessage.add_neighbour(3, IPv4Address("10.32.0.1"), "02:00:00:00:00:01"),
}


@pytest.mark.parametrize("message", MESSAGES.values(), ids=list(MESSAGES))
def test_a_message_on_the_wire_says_its_own_length(message: Message) -> None:
    packed = podmessage.pack(message, 9, flags=4)
    length, kind, flags, sequence, port = podmessage.HEADER.unpack_from(packed)
    assert (length, kind, sequence, port) == (len(packed), message.kind, 9, 0)
    assert length % 4 == 0
    assert flags == message.flags | 0x5


def test_an_address_is_read_as_it_was_written() -> None:
    for address in (IPv4Interface("10.32.0.1/32"), IPv6Interface("fd57::1/128")):
        assert podmessage.decode_address(podmessage.add_address(3, address).body) == (3, address.ip)


@pytest.mark.parametrize("network", [DEFAULT4, IPv4Network("10.32.0.0/12"), DEFAULT6, IPv6Network("fd57::/108")])
def test_a_route_by_a_gateway_is_read_as_it_was_written(network: IPv4Network | IPv6Network) -> None:
    gateway = IPv4Address("169.254.1.1") if network.version == 4 else IPv6Address("fe80::1")
    route = podmessage.add_gateway_route(3, network, gateway)
    assert podmessage.decode_gateway_route(route.body) == (3, gateway, network)


def test_a_route_without_a_gateway_is_none_by_a_gateway() -> None:
    for gateway in (IPv4Address("169.254.1.1"), IPv6Address("fe80::1")):
        assert podmessage.decode_gateway_route(podmessage.add_host_route(3, gateway).body) is None
        assert podmessage.decode_route_device(podmessage.add_host_route(3, gateway).body) == 3


def test_a_link_is_read_as_the_kernel_tells_it() -> None:
    attributes = (
        struct.pack("=HH", 13, 3) + b"wmv00000\0\0\0\0"
        + struct.pack("=HHI", 8, 4, 1380)
        + struct.pack("=HHI", 8, 5, 2)
        + struct.pack("=HH", 10, 1) + b"\xee" * 6 + b"\0\0"
        + struct.pack("=HH", 7, 20) + b"hi\0\0"
    )  # fmt: skip
    link = podmessage.decode_link(struct.pack("=BxHiII", 0, 1, 5, 0x1043, 0) + attributes)
    assert link == Link(index=5, name="wmv00000", up=True, mac="ee:ee:ee:ee:ee:ee", mtu=1380, peer_index=2, alias="hi")


def test_a_failure_is_a_code_and_the_kernels_sentence() -> None:
    header = bytes(16)
    assert podmessage.decode_failure(struct.pack("=i", 0) + header) == (0, "")
    sentence = struct.pack("=HH", 8, 1) + b"no!\0"
    assert podmessage.decode_failure(struct.pack("=i", -22) + header + sentence) == (22, "no!")


@given(st.binary(min_size=32))
def test_garbage_in_place_of_attributes_ends(garbage: bytes) -> None:
    podmessage.decode_failure(garbage)
    try:
        podmessage.decode_link(garbage)
        podmessage.decode_gateway_route(garbage)
    except (struct.error, ValueError):
        pass  # an attribute of the wrong size; the kernel sends none


def test_a_mac_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="non-hexadecimal"):
        podmessage.pack_mac("zz:00")
