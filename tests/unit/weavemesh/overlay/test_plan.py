"""What a peer owns is what is sent to it, in both families; nobody's pod address ever leaves in clear."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

import pytest

from gossip import PeerName
from weavemesh.overlay.plan import (
    MTU_MIN,
    PlanInput,
    PlannedPeer,
    check,
    plan,
    tunnel_mtu,
    twin_address,
    twin_network,
    ula_prefix,
)
from weavemesh.overlay.state import Endpoint, PresharedKey, PrivateKey, PublicKey, Route, overlap

US, ALICE, BOB, CAROL = (PeerName(name) for name in ("us", "alice", "bob", "carol"))
PREFIX = IPv6Network("fd12:3456:789a::/96")
UNIVERSE = IPv4Network("10.32.0.0/12")
FIRST, SECOND = Endpoint(IPv4Address("192.0.2.1"), 6783), Endpoint(IPv4Address("198.51.100.1"), 6783)
PAIR_KEY = PresharedKey(b"\x77" * 32)


def key(number: int) -> PublicKey:
    return PublicKey(bytes([number]) * 32)


def peer(name: PeerName, number: int, *endpoints: Endpoint) -> PlannedPeer:
    return PlannedPeer(name=name, public_key=key(number), preshared_key=PAIR_KEY, endpoints=endpoints)


KNOWN = PlanInput(
    interface="weavemesh",
    mtu=1420,
    listen_port=6783,
    name=US,
    private_key=PrivateKey(b"\x09" * 32),
    public_key=key(9),
    address=IPv4Address("10.32.0.1"),
    universe=UNIVERSE,
    ula_prefix=PREFIX,
    ranges={
        US: (IPv4Network("10.32.0.0/16"),),
        ALICE: (IPv4Network("10.33.0.0/16"), IPv4Network("10.36.0.0/15")),
        BOB: (IPv4Network("10.34.0.0/16"),),
    },
    peers=(peer(BOB, 2), peer(ALICE, 1, FIRST, SECOND)),
)


def test_allowed_ips_and_device_routes_of_a_peer_are_its_ranges_in_both_families() -> None:
    desired = plan(KNOWN)
    alice, bob = desired.peers
    assert alice.allowed_ips == (
        IPv4Network("10.33.0.0/16"),
        IPv6Network("fd12:3456:789a::a21:0/112"),
        IPv4Network("10.36.0.0/15"),
        IPv6Network("fd12:3456:789a::a24:0/111"),
    )
    assert bob.allowed_ips == (IPv4Network("10.34.0.0/16"), IPv6Network("fd12:3456:789a::a22:0/112"))
    routed = [route.destination for route in desired.routes if route.kind == "device"]
    assert routed == [*alice.allowed_ips, *bob.allowed_ips]


def test_our_own_ranges_are_not_routed_into_the_tunnel() -> None:
    own = KNOWN.ranges[US][0]
    desired = plan(KNOWN)
    assert not any(route.kind == "device" and overlap(route.destination, own) for route in desired.routes)
    assert not any(overlap(network, own) for other in desired.peers for network in other.allowed_ips)


def test_the_whole_universe_is_unreachable_but_for_what_peers_own() -> None:
    twin = twin_network(PREFIX, UNIVERSE)
    blocked = {Route(UNIVERSE, "unreachable", None), Route(twin, "unreachable", None)}
    for known in (KNOWN, replace(KNOWN, peers=()), replace(KNOWN, ranges={}), replace(KNOWN, address=None)):
        assert {route for route in plan(known).routes if route.kind == "unreachable"} == blocked


def test_the_host_speaks_to_pods_from_its_own_address_of_the_same_family() -> None:
    desired = plan(KNOWN)
    assert desired.addresses == (IPv4Interface("10.32.0.1/32"), IPv6Interface("fd12:3456:789a::a20:1/128"))
    sources = {route.destination.version: route.source for route in desired.routes if route.kind == "device"}
    assert sources == {4: IPv4Address("10.32.0.1"), 6: IPv6Address("fd12:3456:789a::a20:1")}


def test_without_an_own_address_tunnels_are_there_all_the_same() -> None:
    desired = plan(replace(KNOWN, address=None))
    assert desired.addresses == ()
    assert desired.peers == plan(KNOWN).peers
    assert {route.source for route in desired.routes} == {None}


def test_without_a_prefix_nothing_is_ipv6() -> None:
    desired = plan(replace(KNOWN, ula_prefix=None))
    networks = [network for other in desired.peers for network in other.allowed_ips]
    assert {item.version for item in (*networks, *desired.addresses)} == {4}
    assert {route.destination.version for route in desired.routes} == {4}


def test_the_most_likely_endpoint_is_wished_and_none_if_there_is_none() -> None:
    alice, bob = plan(KNOWN).peers
    assert (alice.public_key, alice.endpoint) == (key(1), FIRST)
    assert (bob.public_key, bob.endpoint) == (key(2), None)


def test_a_peer_that_owns_nothing_has_a_tunnel_without_routes() -> None:
    desired = plan(replace(KNOWN, peers=(peer(CAROL, 3, FIRST),)))
    assert [(other.public_key, other.allowed_ips) for other in desired.peers] == [(key(3), ())]
    assert {route.kind for route in desired.routes} == {"unreachable"}


def test_ranges_of_a_peer_that_says_nothing_of_itself_stay_unreachable() -> None:
    desired = plan(replace(KNOWN, peers=(peer(ALICE, 1),)))
    gone = KNOWN.ranges[BOB][0]
    assert {route.kind for route in desired.routes if overlap(route.destination, gone)} == {"unreachable"}


def test_the_order_in_which_peers_are_heard_of_changes_nothing() -> None:
    assert plan(KNOWN) == plan(replace(KNOWN, peers=KNOWN.peers[::-1]))


def test_what_is_heard_of_ourselves_makes_no_tunnel_and_no_complaint() -> None:
    known = replace(KNOWN, peers=(*KNOWN.peers, peer(US, 9, FIRST)))
    assert plan(known) == plan(KNOWN)
    assert check(known) == ()


def test_the_settings_of_the_device_are_passed_on() -> None:
    desired = plan(KNOWN)
    assert (desired.interface, desired.mtu, desired.listen_port) == ("weavemesh", 1420, 6783)
    assert desired.private_key == KNOWN.private_key
    assert {other.preshared_key for other in desired.peers} == {PAIR_KEY}


def test_peers_with_the_same_key_get_no_tunnel_and_are_named_in_one_sentence() -> None:
    known = replace(KNOWN, peers=(peer(CAROL, 1, SECOND), *KNOWN.peers))
    desired = plan(known)
    assert [other.public_key for other in desired.peers] == [key(2)]
    alices = KNOWN.ranges[ALICE]
    assert not any(route.kind == "device" and route.destination in alices for route in desired.routes)
    (sentence,) = check(known)
    assert sentence.startswith("alice and carol show the same WireGuard key")
    assert "weavemesh reset" in sentence


def test_a_peer_with_our_own_key_gets_no_tunnel_and_both_are_named() -> None:
    known = replace(KNOWN, peers=(peer(ALICE, 9, FIRST), peer(BOB, 2)))
    assert [other.public_key for other in plan(known).peers] == [key(2)]
    (sentence,) = check(known)
    assert sentence.startswith("alice and us show the same WireGuard key")


def test_nothing_is_found_fault_with_where_every_key_is_its_own() -> None:
    assert check(KNOWN) == ()


def test_the_prefix_is_a_local_96_that_depends_on_the_ring_alone() -> None:
    one, other = ula_prefix(b"ring one"), ula_prefix(b"ring two")
    assert one == ula_prefix(b"ring one") != other
    for prefix in (one, other):
        assert prefix.prefixlen == 96
        assert prefix.subnet_of(IPv6Network("fd00::/8"))
        assert int(prefix.network_address) & ((1 << 80) - 1) == 0, "40 bits of a hash, then zeros"


@pytest.mark.parametrize("text", ["0.0.0.0/0", "10.32.0.0/12", "10.32.0.0/31", "255.255.255.255/32"])
def test_a_range_and_its_twin_have_the_same_hosts(text: str) -> None:
    network = IPv4Network(text)
    twin = twin_network(PREFIX, network)
    assert twin.subnet_of(PREFIX)
    assert twin.num_addresses == network.num_addresses
    for address in (network.network_address, network.broadcast_address):
        assert twin_address(PREFIX, address) in twin
    assert twin_address(PREFIX, network.broadcast_address) == twin.broadcast_address


@pytest.mark.parametrize(
    ("underlay", "inner"),
    [(1500, 1420), (1501, 1420), (9001, 1420), (1460, 1380), (1360, 1280), (1359, 1280), (0, 1280)],
)
def test_the_tunnel_is_80_bytes_smaller_and_never_below_what_ipv6_needs(underlay: int, inner: int) -> None:
    assert tunnel_mtu(underlay) == inner >= MTU_MIN
