"""Nothing is done without need; all is added before anything goes, and no packet can leave in clear meanwhile."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Network

import pytest

from weavemesh.overlay.diff import (
    HANDSHAKE_LIVE_S,
    NO_PRESHARED_KEY,
    Action,
    AddAddress,
    AddRoute,
    BringUp,
    ConfigureDevice,
    CreateDevice,
    DiscardAllowedIps,
    RemoveAddress,
    RemovePeer,
    RemoveRoute,
    ReplaceRoute,
    SetMtu,
    SetPeer,
    absent,
    diff,
)
from weavemesh.overlay.state import (
    DesiredState,
    Endpoint,
    IPNetwork,
    ObservedPeer,
    ObservedState,
    PresharedKey,
    PrivateKey,
    PublicKey,
    Route,
    WireGuardPeer,
)

NOW = 1_700_000_000.0
OUR_KEY, PAIR_KEY, OTHER_PAIR_KEY = PrivateKey(b"\x09" * 32), PresharedKey(b"\x77" * 32), PresharedKey(b"\x78" * 32)
ALICE, BOB, CAROL = (PublicKey(bytes([number]) * 32) for number in (1, 2, 3))
WISHED, LEARNED = Endpoint(IPv4Address("192.0.2.1"), 6783), Endpoint(IPv4Address("198.51.100.9"), 40000)
A, A6 = IPv4Network("10.33.0.0/16"), IPv6Network("fd00::a21:0/112")
B, C = IPv4Network("10.34.0.0/16"), IPv4Network("10.35.0.0/16")
UNIVERSE = IPv4Network("10.32.0.0/12")
ADDRESS, OTHER_ADDRESS = IPv4Interface("10.32.0.1/32"), IPv4Interface("10.32.0.2/32")


def wish(public_key: PublicKey, *allowed_ips: IPNetwork) -> WireGuardPeer:
    return WireGuardPeer(public_key, PAIR_KEY, WISHED, allowed_ips)


def into_device(*networks: IPNetwork) -> tuple[Route, ...]:
    return tuple(Route(network, "device", ADDRESS.ip if network.version == 4 else None) for network in networks)


BLOCKED = Route(UNIVERSE, "unreachable", None)
DESIRED = DesiredState(
    interface="weavemesh",
    mtu=1420,
    private_key=OUR_KEY,
    listen_port=6783,
    addresses=(ADDRESS,),
    peers=(wish(ALICE, A, A6), wish(BOB, B)),
    routes=(*into_device(A, A6, B), BLOCKED),
)


def seen(peer: WireGuardPeer) -> ObservedPeer:
    return ObservedPeer(peer.public_key, peer.preshared_key, peer.endpoint, peer.allowed_ips, None, 0, 0)


def as_wished(desired: DesiredState) -> ObservedState:
    return ObservedState(
        interface=desired.interface,
        up=True,
        mtu=desired.mtu,
        private_key=desired.private_key,
        listen_port=desired.listen_port,
        addresses=desired.addresses,
        peers=tuple(map(seen, desired.peers)),
        routes=desired.routes,
    )


OBSERVED = as_wished(DESIRED)


def with_alice(*, endpoint: Endpoint | None = WISHED, handshake: float | None = None) -> ObservedState:
    alice, bob = OBSERVED.peers
    return replace(OBSERVED, peers=(replace(alice, endpoint=endpoint, last_handshake=handshake), bob))


def set_peer(
    public_key: PublicKey,
    *allowed_ips: IPNetwork,
    exists: bool = True,
    preshared_key: PresharedKey | None = None,
    endpoint: Endpoint | None = None,
) -> SetPeer:
    return SetPeer(public_key, exists=exists, preshared_key=preshared_key, endpoint=endpoint, allowed_ips=allowed_ips)


def changes(desired: DesiredState, observed: ObservedState) -> tuple[Action, ...]:
    return diff(desired, observed, now=NOW)


def test_nothing_is_done_where_all_is_as_it_should_be() -> None:
    assert changes(DESIRED, OBSERVED) == ()


def test_the_order_in_which_the_kernel_lists_things_counts_for_nothing() -> None:
    alice, bob = OBSERVED.peers
    alice = replace(alice, allowed_ips=alice.allowed_ips[::-1])
    assert changes(DESIRED, replace(OBSERVED, peers=(bob, alice), routes=OBSERVED.routes[::-1])) == ()


def test_from_nothing_packets_are_blocked_first_and_let_into_the_device_last() -> None:
    assert changes(DESIRED, absent("weavemesh", ())) == (
        AddRoute(BLOCKED),
        CreateDevice("weavemesh"),
        ConfigureDevice(OUR_KEY, 6783),
        SetMtu(1420),
        AddAddress(ADDRESS),
        BringUp(),
        set_peer(ALICE, A, A6, exists=False, preshared_key=PAIR_KEY, endpoint=WISHED),
        set_peer(BOB, B, exists=False, preshared_key=PAIR_KEY, endpoint=WISHED),
        *map(AddRoute, into_device(A, A6, B)),
    )


def test_a_route_that_has_outlived_the_device_is_not_added_again() -> None:
    actions = changes(DESIRED, absent("weavemesh", (BLOCKED,)))
    assert actions[0] == CreateDevice("weavemesh")
    assert AddRoute(BLOCKED) not in actions
    assert not any(isinstance(action, RemoveRoute) for action in actions)


def test_everything_is_added_before_anything_is_taken_away() -> None:
    blocked = Route(IPv4Network("10.64.0.0/12"), "unreachable", None)
    desired = replace(
        DESIRED,
        addresses=(OTHER_ADDRESS,),
        peers=(wish(ALICE, A), wish(CAROL, C)),
        routes=(*into_device(A, C), blocked),
    )
    assert changes(desired, OBSERVED) == (
        AddRoute(blocked),
        AddAddress(OTHER_ADDRESS),
        set_peer(CAROL, C, exists=False, preshared_key=PAIR_KEY, endpoint=WISHED),
        *map(AddRoute, into_device(C)),
        *map(RemoveRoute, into_device(A6, B)),
        RemoveRoute(BLOCKED),
        DiscardAllowedIps((A6,)),
        RemovePeer(BOB),
        RemoveAddress(ADDRESS),
    )


def test_of_the_routes_that_go_the_unreachable_one_goes_last() -> None:
    observed = replace(OBSERVED, routes=(BLOCKED, *into_device(A, A6, B)))
    actions = changes(replace(DESIRED, routes=()), observed)
    assert actions == (*map(RemoveRoute, into_device(A, A6, B)), RemoveRoute(BLOCKED))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["old peer first", "new peer first"])
def test_an_allowed_ip_that_moves_is_set_on_its_new_peer_and_never_discarded(order: tuple[int, int]) -> None:
    peers = (wish(ALICE, A), wish(BOB, B, A6))
    desired = replace(DESIRED, peers=tuple(peers[index] for index in order))
    assert changes(desired, OBSERVED) == (set_peer(BOB, A6),)


def test_an_allowed_ip_of_a_peer_that_goes_is_set_on_its_heir_before_the_peer_is_removed() -> None:
    desired = replace(DESIRED, peers=(wish(ALICE, A, A6, B),))
    assert changes(desired, OBSERVED) == (set_peer(ALICE, B), RemovePeer(BOB))


def test_allowed_ips_that_nobody_inherits_are_discarded_together_without_touching_the_others() -> None:
    desired = replace(DESIRED, peers=(wish(ALICE, A), wish(BOB)))
    assert changes(desired, OBSERVED) == (DiscardAllowedIps((A6, B)),)


def test_an_allowed_ip_wished_for_two_peers_is_given_to_the_first_and_stays_there() -> None:
    desired = replace(DESIRED, peers=(wish(ALICE, A, A6), wish(BOB, B, A)))
    assert changes(desired, OBSERVED) == ()
    fresh = [action for action in changes(desired, absent("weavemesh", ())) if isinstance(action, SetPeer)]
    assert [action.allowed_ips for action in fresh] == [(A, A6), (B,)]


@pytest.mark.parametrize("age", [0.0, HANDSHAKE_LIVE_S - 1, -1.0], ids=["now", "just alive", "clock set back a little"])
def test_the_learned_endpoint_of_a_live_tunnel_is_kept(age: float) -> None:
    assert changes(DESIRED, with_alice(endpoint=LEARNED, handshake=NOW - age)) == ()


@pytest.mark.parametrize(
    "handshake", [None, NOW - HANDSHAKE_LIVE_S, NOW - 86_400, NOW + 86_400], ids=["never", "just dead", "old", "future"]
)
def test_the_endpoint_of_a_dead_tunnel_becomes_the_wished_one(handshake: float | None) -> None:
    assert changes(DESIRED, with_alice(endpoint=LEARNED, handshake=handshake)) == (set_peer(ALICE, endpoint=WISHED),)


def test_a_peer_without_an_endpoint_gets_the_wished_one_whatever_its_handshake() -> None:
    assert changes(DESIRED, with_alice(endpoint=None, handshake=NOW)) == (set_peer(ALICE, endpoint=WISHED),)


def test_without_a_wish_whatever_endpoint_the_device_has_stays() -> None:
    alice, bob = DESIRED.peers
    desired = replace(DESIRED, peers=(replace(alice, endpoint=None), bob))
    for endpoint in (None, LEARNED):
        assert changes(desired, with_alice(endpoint=endpoint)) == ()


def test_a_live_tunnel_gets_new_allowed_ips_without_its_endpoint_being_touched() -> None:
    desired = replace(DESIRED, peers=(wish(ALICE, A, A6, C), wish(BOB, B)))
    assert changes(desired, with_alice(endpoint=LEARNED, handshake=NOW)) == (set_peer(ALICE, C),)


def test_a_preshared_key_is_set_exchanged_and_cleared_without_making_the_peer_anew() -> None:
    alice, bob = DESIRED.peers
    seen_alice, seen_bob = OBSERVED.peers
    without = replace(OBSERVED, peers=(replace(seen_alice, preshared_key=None), seen_bob))
    assert changes(DESIRED, without) == (set_peer(ALICE, preshared_key=PAIR_KEY),)
    exchanged = replace(DESIRED, peers=(replace(alice, preshared_key=OTHER_PAIR_KEY), bob))
    assert changes(exchanged, OBSERVED) == (set_peer(ALICE, preshared_key=OTHER_PAIR_KEY),)
    cleared = replace(DESIRED, peers=(replace(alice, preshared_key=None), bob))
    assert changes(cleared, OBSERVED) == (set_peer(ALICE, preshared_key=NO_PRESHARED_KEY),)
    assert changes(cleared, without) == ()


def test_only_what_differs_of_the_device_is_set() -> None:
    assert changes(DESIRED, replace(OBSERVED, private_key=None)) == (ConfigureDevice(OUR_KEY, None),)
    assert changes(DESIRED, replace(OBSERVED, listen_port=0)) == (ConfigureDevice(None, 6783),)
    assert changes(DESIRED, replace(OBSERVED, mtu=1280)) == (SetMtu(1420),)
    assert changes(DESIRED, replace(OBSERVED, up=False)) == (BringUp(),)


def test_a_route_with_another_source_is_exchanged_in_one_step_after_the_new_address() -> None:
    moved = Route(A, "device", OTHER_ADDRESS.ip)
    others = into_device(A6, B)
    desired = replace(DESIRED, addresses=(OTHER_ADDRESS,), routes=(moved, *others, BLOCKED))
    assert changes(desired, OBSERVED) == (AddAddress(OTHER_ADDRESS), ReplaceRoute(moved), RemoveAddress(ADDRESS))


def test_routes_of_one_destination_and_two_kinds_are_two_routes() -> None:
    (through,) = into_device(UNIVERSE)
    wider = replace(DESIRED, routes=(*DESIRED.routes, through))
    assert changes(wider, OBSERVED) == (AddRoute(through),)
    assert changes(DESIRED, as_wished(wider)) == (RemoveRoute(through),)


def test_peers_are_set_up_before_packets_are_routed_to_them_and_removed_after() -> None:
    desired = replace(DESIRED, peers=(wish(ALICE, A, A6), wish(CAROL, C)), routes=(*into_device(A, A6, C), BLOCKED))
    kinds = [type(action) for action in changes(desired, OBSERVED)]
    assert kinds == [SetPeer, AddRoute, RemoveRoute, RemovePeer]


def test_what_is_absent_has_no_mtu_and_keeps_only_its_routes() -> None:
    nothing = absent("weavemesh", (BLOCKED,))
    assert (nothing.up, nothing.mtu, nothing.private_key, nothing.peers) == (False, 0, None, ())
    assert nothing.routes == (BLOCKED,)
