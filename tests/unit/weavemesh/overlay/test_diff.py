"""The difference is the smallest, in an order that loses and leaks nothing, and leads to what was wished."""

import asyncio
from ipaddress import IPv4Network

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.unit.weavemesh.overlay.overlay_sample import endpoint, known, peer, public_key
from weavemesh.kernel.fake import FakeKernel
from weavemesh.overlay.diff import (
    HANDSHAKE_LIVE_S,
    NO_PRESHARED_KEY,
    AddRoute,
    ConfigureDevice,
    CreateDevice,
    DiscardAllowedIps,
    RemovePeer,
    RemoveRoute,
    ReplaceRoute,
    SetPeer,
    absent,
    diff,
    step,
)
from weavemesh.overlay.plan import PlanInput, plan
from weavemesh.overlay.state import (
    DISCARD_KEY,
    DesiredState,
    Endpoint,
    ObservedPeer,
    ObservedState,
    PresharedKey,
    PrivateKey,
)

NOW = 1_000_000.0


def reached(desired: DesiredState) -> ObservedState:
    """What is observed when everything is as wished."""
    return ObservedState(
        interface=desired.interface,
        up=True,
        mtu=desired.mtu,
        private_key=desired.private_key,
        listen_port=desired.listen_port,
        addresses=desired.addresses,
        peers=tuple(
            ObservedPeer(p.public_key, p.preshared_key, p.endpoint, p.allowed_ips, None, 0, 0) for p in desired.peers
        ),
        routes=desired.routes,
    )


def with_peer(state: ObservedState, **changes: object) -> ObservedState:
    return replace(state, peers=(replace(state.peers[0], **changes),))


ONE_PEER = plan(known({2: "10.33.0.0/24"}, peer(2)))


def test_what_is_reached_needs_nothing() -> None:
    assert diff(ONE_PEER, reached(ONE_PEER), now=NOW) == ()


def test_another_mtu_changes_the_routes_in_place() -> None:
    narrow = plan(replace(known({2: "10.33.0.0/24"}, peer(2)), mtus={peer(2).name: 1232}))
    changes = tuple(ReplaceRoute(route) for route in narrow.routes if route.kind == "device")
    assert diff(narrow, reached(ONE_PEER), now=NOW) == step(ONE_PEER, narrow) == changes
    assert diff(narrow, reached(narrow), now=NOW) == ()


def test_the_fence_stands_before_there_is_a_device() -> None:
    kinds = [
        action.route.kind if isinstance(action, AddRoute) else type(action).__name__
        for action in diff(ONE_PEER, absent("wm0", ()), now=NOW)
    ]
    assert kinds[:3] == ["unreachable", "unreachable", "CreateDevice"]
    assert kinds[-3:] == ["SetPeer", "device", "device"]


def test_the_fence_goes_last() -> None:
    without = replace(ONE_PEER, peers=(), routes=())
    removed = [action for action in diff(without, reached(ONE_PEER), now=NOW) if isinstance(action, RemoveRoute)]
    assert [action.route.kind for action in removed] == ["device", "device", "unreachable", "unreachable"]


def test_what_outlives_the_device_is_not_added_again() -> None:
    actions = diff(ONE_PEER, absent("wm0", ONE_PEER.routes[-2:]), now=NOW)
    assert isinstance(actions[0], CreateDevice)


def test_an_endpoint_is_kept_as_long_as_the_tunnel_lives() -> None:
    elsewhere = with_peer(reached(ONE_PEER), endpoint=endpoint(9))
    change = (SetPeer(public_key(2), True, None, endpoint(2), ()),)
    for age, expected in (
        (0.0, ()),
        (HANDSHAKE_LIVE_S - 1, ()),
        (HANDSHAKE_LIVE_S, change),
        (-HANDSHAKE_LIVE_S, change),  # the clock was set back: it proves nothing
    ):
        assert diff(ONE_PEER, with_peer(elsewhere, last_handshake=NOW - age), now=NOW) == expected
    assert diff(ONE_PEER, elsewhere, now=NOW) == change


def test_no_wish_for_an_endpoint_leaves_it() -> None:
    wish = plan(known({2: "10.33.0.0/24"}, replace(peer(2), endpoints=())))
    assert diff(wish, reached(ONE_PEER), now=NOW) == ()


def test_a_preshared_key_is_set_changed_and_cleared() -> None:
    assert diff(ONE_PEER, with_peer(reached(ONE_PEER), preshared_key=None), now=NOW) == (
        SetPeer(public_key(2), True, peer(2).preshared_key, None, ()),
    )
    wish = plan(known({2: "10.33.0.0/24"}, replace(peer(2), preshared_key=None)))
    assert diff(wish, reached(ONE_PEER), now=NOW) == (SetPeer(public_key(2), True, NO_PRESHARED_KEY, None, ()),)


def test_a_moved_range_is_taken_by_its_new_peer_only() -> None:
    before = plan(known({2: "10.33.0.0/24 10.34.0.0/24"}, peer(2), peer(3)))
    after = plan(known({2: "10.33.0.0/24", 3: "10.34.0.0/24"}, peer(2), peer(3)))
    (change,) = diff(after, reached(before), now=NOW)
    assert isinstance(change, SetPeer)
    assert (change.public_key, [str(network) for network in change.allowed_ips]) == (
        public_key(3),
        ["10.34.0.0/24", "fd00:77::a22:0/120"],
    )


def test_what_a_removed_peer_had_goes_with_it() -> None:
    actions = diff(plan(known({})), reached(ONE_PEER), now=NOW)
    assert RemovePeer(public_key(2)) in actions
    assert not any(isinstance(action, DiscardAllowedIps) for action in actions)


def test_a_discarding_peer_left_by_a_crash_is_removed() -> None:
    state = reached(ONE_PEER)
    left = replace(state, peers=(*state.peers, ObservedPeer(DISCARD_KEY, None, None, (), None, 0, 0)))
    assert diff(ONE_PEER, left, now=NOW) == (RemovePeer(DISCARD_KEY),)


def test_a_key_is_exchanged_when_all_peers_have_the_secrets_that_go_with_it() -> None:
    wish = replace(
        ONE_PEER,
        private_key=PrivateKey(bytes([8] * 32)),
        peers=tuple(replace(one, preshared_key=PresharedKey(bytes([8] * 32))) for one in ONE_PEER.peers),
    )
    secret, key = diff(wish, reached(ONE_PEER), now=NOW)
    assert isinstance(secret, SetPeer) and secret.preshared_key == PresharedKey(bytes([8] * 32))
    assert key == ConfigureDevice(PrivateKey(bytes([8] * 32)), None)


def test_a_peer_with_another_key_inherits_its_endpoint_and_is_greeted() -> None:
    renewed = replace(ONE_PEER, peers=tuple(replace(one, public_key=public_key(7)) for one in ONE_PEER.peers))
    roamed = with_peer(reached(ONE_PEER), endpoint=endpoint(9), last_handshake=NOW)
    successor, gone = diff(renewed, roamed, now=NOW)
    assert isinstance(successor, SetPeer) and gone == RemovePeer(public_key(2))
    assert (successor.public_key, successor.endpoint, successor.greet) == (public_key(7), endpoint(9), True)
    silent = with_peer(reached(ONE_PEER), endpoint=endpoint(9), last_handshake=NOW - HANDSHAKE_LIVE_S)
    successor, _ = diff(renewed, silent, now=NOW)
    assert isinstance(successor, SetPeer)
    assert (successor.endpoint, successor.greet) == (endpoint(2), False)


def test_a_peer_that_takes_over_a_part_of_anothers_ranges_is_not_the_same_peer() -> None:
    before = reached(plan(known({2: "10.33.0.0/24 10.34.0.0/24"}, peer(2))))
    after = plan(known({3: "10.33.0.0/24"}, peer(3)))
    (successor,) = (
        action
        for action in diff(after, with_peer(before, endpoint=endpoint(9), last_handshake=NOW), now=NOW)
        if isinstance(action, SetPeer)
    )
    assert (successor.endpoint, successor.greet) == (endpoint(3), False)


NETWORKS = [f"10.{number}.0.0/24" for number in range(33, 41)]


@st.composite
def wishes(draw: st.DrawFn) -> PlanInput:
    """Any distribution of some ranges over some peers, wherever they are."""
    numbers = draw(st.lists(st.integers(2, 6), unique=True, max_size=4))
    owners = draw(st.lists(st.sampled_from(numbers or [2]), min_size=len(NETWORKS), max_size=len(NETWORKS)))
    kept = draw(st.lists(st.booleans(), min_size=len(NETWORKS), max_size=len(NETWORKS)))
    ranges: dict[int, str] = {}
    for network, owner, keep in zip(NETWORKS, owners, kept, strict=True):
        if keep:
            ranges[owner] = f"{ranges.get(owner, '')} {network}".strip()
    at: Endpoint | None = draw(st.sampled_from([None, endpoint(8), endpoint(9)]))
    peers = tuple(peer(number, at=at) for number in numbers)
    address = draw(st.sampled_from([None, "10.32.0.1", "10.32.0.2"]))
    return known(ranges, *peers, address=address, mtu=draw(st.sampled_from([1280, 1420])))


@given(st.lists(wishes(), min_size=1, max_size=5))
def test_every_way_through_wishes_ends_at_the_last_one(path: list[PlanInput]) -> None:
    async def walk() -> tuple[str, str]:
        straight, winding = (FakeKernel(interface="wm0", clock=lambda: NOW) for _ in range(2))
        for wish in path:
            await winding.apply(plan(wish))
            assert (await winding.apply(plan(wish))).actions == ()
        await straight.apply(plan(path[-1]))
        return straight.render(), winding.render()

    straight, winding = asyncio.run(walk())
    assert straight == winding


def test_a_range_wished_for_two_peers_has_one() -> None:
    twice = plan(known({2: "10.33.0.0/24", 3: "10.33.0.0/24"}, peer(2), peer(3)))
    changes = [action for action in diff(twice, absent("wm0", ()), now=NOW) if isinstance(action, SetPeer)]
    assert [IPv4Network("10.33.0.0/24") in change.allowed_ips for change in changes] == [True, False]


def held(*numbers: int) -> DesiredState:
    return ranged({number: f"10.33.{number}.0/24" for number in numbers})


def ranged(ranges: dict[int, str]) -> DesiredState:
    return plan(known(ranges, *map(peer, ranges)))


def test_a_step_to_one_peer_more_is_what_a_look_at_everything_would_find() -> None:
    before, after = held(2, 3), held(2, 3, 4)
    actions = step(before, after)
    assert actions is not None
    assert [type(action) for action in actions] == [SetPeer, AddRoute, AddRoute]
    assert actions == diff(after, reached(before), now=0.0)


def test_a_step_to_the_same_plan_does_nothing() -> None:
    assert step(held(2, 3), held(2, 3)) == ()


def test_a_range_that_moves_is_a_step_of_the_two_peers() -> None:
    before = ranged({2: "10.33.2.0/24 10.34.0.0/24", 3: "10.33.3.0/24"})
    after = ranged({2: "10.33.2.0/24", 3: "10.33.3.0/24 10.34.0.0/24"})
    actions = step(before, after)
    assert actions is not None
    assert [type(action) for action in actions] == [SetPeer]


def test_where_somebody_goes_or_an_endpoint_or_the_device_changes_the_kernel_must_be_looked_at() -> None:
    before = held(2, 3)
    assert step(before, held(2)) is None
    ranges = {2: "10.33.2.0/24", 3: "10.33.3.0/24"}
    assert step(before, plan(known(ranges, peer(2), peer(3, at=endpoint(9))))) is None
    assert step(before, plan(known(ranges, peer(2), peer(3, key=public_key(8))))) is None
    assert step(before, plan(known(ranges, peer(2), peer(3), mtu=1380))) is None
    assert step(before, plan(known(ranges, peer(2), peer(3), address="10.32.0.9"))) is None
