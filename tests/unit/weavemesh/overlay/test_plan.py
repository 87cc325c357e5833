"""The ring is the routing table."""

import doctest
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.unit.weavemesh.overlay.overlay_sample import ULA, UNIVERSE, endpoint, known, name, peer, public_key, secret
from weavemesh.overlay import plan as module
from weavemesh.overlay import state
from weavemesh.overlay.plan import check, plan, tunnel_mtu, twin_address, twin_network, ula_prefix, unproven_mtu
from weavemesh.overlay.state import Route, WireGuardPeer


def test_ranges_are_allowed_ips_and_routes_in_both_families() -> None:
    desired = plan(known({1: "10.32.0.0/24", 2: "10.33.0.0/24 10.34.0.0/25"}, peer(2)))
    networks = (
        IPv4Network("10.33.0.0/24"),
        IPv6Network("fd00:77::a21:0/120"),
        IPv4Network("10.34.0.0/25"),
        IPv6Network("fd00:77::a22:0/121"),
    )
    assert desired.peers == (WireGuardPeer(public_key(2), secret(2), endpoint(2), networks),)
    own, own6 = IPv4Address("10.32.0.1"), twin_address(ULA, IPv4Address("10.32.0.1"))
    assert desired.routes == (
        *(Route(network, "device", own if network.version == 4 else own6) for network in networks),
        Route(UNIVERSE, "unreachable", None),
        Route(IPv6Network("fd00:77::a20:0/108"), "unreachable", None),
    )
    assert [str(address) for address in desired.addresses] == ["10.32.0.1/32", "fd00:77::a20:1/128"]


def test_a_narrow_path_is_on_its_peers_routes_alone() -> None:
    ranges = {2: "10.33.0.0/24", 3: "10.34.0.0/24", 4: "10.35.0.0/24"}
    mtus = {name(2): 1232, name(3): 1420, name(4): 9000}
    desired = plan(replace(known(ranges, peer(2), peer(3), peer(4)), mtus=mtus))
    found = {str(route.destination): route.mtu for route in desired.routes if route.mtu is not None}
    assert found == {"10.33.0.0/24": 1232, "fd00:77::a21:0/120": 1232}


def test_without_an_own_address_there_are_routes_without_a_source() -> None:
    desired = plan(known({2: "10.33.0.0/24"}, peer(2), address=None))
    assert desired.addresses == ()
    assert {route.source for route in desired.routes} == {None}


def test_without_a_prefix_there_is_no_ipv6() -> None:
    desired = plan(replace(known({2: "10.33.0.0/24"}, peer(2)), ula_prefix=None))
    versions = {address.version for address in desired.addresses} | {r.destination.version for r in desired.routes}
    assert versions == {4}


def test_the_first_endpoint_is_the_wish_and_none_is_none() -> None:
    some = replace(peer(2), endpoints=(endpoint(8), endpoint(9)))
    assert plan(known({}, some)).peers[0].endpoint == endpoint(8)
    assert plan(known({}, replace(some, endpoints=()))).peers[0].endpoint is None


def test_peers_that_own_nothing_have_a_tunnel_all_the_same() -> None:
    assert [planned.allowed_ips for planned in plan(known({}, peer(2))).peers] == [()]


def test_owners_that_are_no_peers_get_nothing() -> None:
    desired = plan(known({1: "10.32.0.0/24", 3: "10.35.0.0/24"}, peer(1), peer(2)))
    assert [planned.public_key for planned in desired.peers] == [public_key(2)]
    assert all(route.kind == "unreachable" for route in desired.routes)


def test_two_peers_with_one_key_get_no_tunnel_and_are_named() -> None:
    twins = known({2: "10.33.0.0/24", 3: "10.34.0.0/24"}, peer(2), peer(3, key=public_key(2)), peer(4))
    assert [planned.public_key for planned in plan(twins).peers] == [public_key(4)]
    (finding,) = check(twins)
    assert finding.startswith(f"{name(2)} and {name(3)} show the same WireGuard key")
    (own,) = check(known({}, peer(2, key=public_key(1))))
    assert own.startswith(f"{name(1)} and {name(2)} show")
    assert plan(known({}, peer(2, key=public_key(1)))).peers == ()
    assert check(known({}, peer(1), peer(2))) == ()


def test_the_order_of_peers_makes_no_difference() -> None:
    ranges = {2: "10.33.0.0/24", 3: "10.34.0.0/24"}
    assert plan(known(ranges, peer(2), peer(3))) == plan(known(ranges, peer(3), peer(2)))


@given(st.binary(min_size=1, max_size=64))
def test_the_prefix_is_a_local_one_with_room_for_all_of_ipv4(ring_id: bytes) -> None:
    prefix = ula_prefix(ring_id)
    assert prefix.prefixlen == 96
    assert prefix.subnet_of(IPv6Network("fd00::/8"))
    assert ula_prefix(ring_id) == prefix


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_twins_keep_what_contains_what(address: IPv4Address, length: int) -> None:
    network = IPv4Network((int(address), length), strict=False)
    twin = twin_network(ULA, network)
    assert twin.num_addresses == network.num_addresses
    assert twin_address(ULA, address) in twin


@given(st.integers(0, 65536))
def test_the_tunnels_mtu_suits_ipv6_and_the_network_below(underlay: int) -> None:
    mtu = tunnel_mtu(underlay)
    assert mtu == max(1280, underlay - 80)
    assert 1280 <= unproven_mtu(mtu) <= min(mtu, 1420)


def test_examples() -> None:
    assert doctest.testmod(module).failed == 0
    assert doctest.testmod(state).failed == 0
