"""The kernel in memory comes to every wish from everywhere, and is then left alone."""

import asyncio
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.unit.weavemesh.overlay.golden import CASES
from weavemesh.kernel.fake import FakeKernel
from weavemesh.overlay.diff import AddRoute, BringUp, ConfigureDevice, CreateDevice, RemoveRoute, SetPeer
from weavemesh.overlay.state import (
    DesiredState,
    Endpoint,
    IPNetwork,
    PresharedKey,
    PrivateKey,
    PublicKey,
    Route,
    WireGuardPeer,
)

ALICE, BOB = PublicKey(b"\x01" * 32), PublicKey(b"\x02" * 32)
WISHED, LEARNED = Endpoint(IPv4Address("192.0.2.1"), 6783), Endpoint(IPv4Address("198.51.100.9"), 40000)
A, A6, B = IPv4Network("10.33.0.0/16"), IPv6Network("fd00::a21:0/112"), IPv4Network("10.34.0.0/16")
UNIVERSE = IPv4Network("10.32.0.0/12")
ADDRESS = IPv4Interface("10.32.0.1/32")
DESIRED = DesiredState(
    interface="weavemesh",
    mtu=1420,
    private_key=PrivateKey(b"\x09" * 32),
    listen_port=6783,
    addresses=(ADDRESS, IPv6Interface("fd00::a20:1/128")),
    peers=(
        WireGuardPeer(ALICE, PresharedKey(b"\x77" * 32), WISHED, (A, A6)),
        WireGuardPeer(BOB, None, None, (B,)),
    ),
    routes=(
        Route(A, "device", ADDRESS.ip),
        Route(A6, "device", None),
        Route(B, "device", ADDRESS.ip),
        Route(UNIVERSE, "unreachable", None),
    ),
)
GOLDEN = """\
interface weavemesh up mtu 1420 port 6783 key set
  address 10.32.0.1/32
  address fd00::a20:1/128
  peer AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE= endpoint 192.0.2.1:6783 preshared set
    allowed 10.33.0.0/16
    allowed fd00::a21:0/112
  peer AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI= endpoint none preshared none
    allowed 10.34.0.0/16
  route 10.33.0.0/16 device src 10.32.0.1
  route 10.34.0.0/16 device src 10.32.0.1
  route fd00::a21:0/112 device
  route 10.32.0.0/12 unreachable
"""
BARE = """\
interface weavemesh down mtu 0 port 0 key none
"""


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def kernel() -> FakeKernel:
    return FakeKernel(interface="weavemesh", clock=Clock())


NETWORKS = tuple(UNIVERSE.subnets(new_prefix=15))
KEYS = tuple(PublicKey(bytes([number]) * 32) for number in range(1, 5))


@st.composite
def wishes(draw: st.DrawFn) -> DesiredState:
    """Any wish: some peers, each network owned by at most one of them, any settings."""
    keys = draw(st.lists(st.sampled_from(KEYS), unique=True))
    owned: dict[PublicKey, list[IPNetwork]] = {public_key: [] for public_key in keys}
    if keys:
        for network in NETWORKS:
            owner = draw(st.none() | st.sampled_from(keys))
            if owner is not None:
                owned[owner].append(network)
    address = draw(st.sampled_from([IPv4Interface("10.32.0.1/32"), IPv4Interface("10.32.0.2/32")]))
    secrets = st.none() | st.sampled_from([PresharedKey(b"\x77" * 32), PresharedKey(b"\x78" * 32)])
    endpoints = st.sampled_from([WISHED, LEARNED])
    routes = [Route(network, "device", address.ip) for networks in owned.values() for network in networks]
    return DesiredState(
        interface="weavemesh",
        mtu=draw(st.sampled_from([1280, 1420])),
        private_key=PrivateKey(bytes([draw(st.integers(1, 2))]) * 32),
        listen_port=draw(st.sampled_from([6783, 6784])),
        addresses=(address,),
        peers=tuple(
            WireGuardPeer(public_key, draw(secrets), draw(endpoints), tuple(networks))
            for public_key, networks in owned.items()
        ),
        routes=(*routes, Route(UNIVERSE, "unreachable", None)),
    )


async def applied(fake: FakeKernel, desired: DesiredState) -> str:
    report = await fake.apply(desired)
    assert report.failures == ()
    return fake.render()


def test_a_wish_is_fulfilled_to_the_letter() -> None:
    assert asyncio.run(applied(kernel(), DESIRED)) == GOLDEN


def test_applying_twice_does_nothing() -> None:
    async def run() -> None:
        fake = kernel()
        assert (await fake.apply(DESIRED)).actions != ()
        assert (await fake.apply(DESIRED)).actions == ()
        assert fake.render() == GOLDEN

    asyncio.run(run())


@given(path=st.lists(wishes(), min_size=1, max_size=3))
def test_where_a_kernel_comes_to_does_not_depend_on_where_it_comes_from(path: list[DesiredState]) -> None:
    async def run() -> None:
        travelled = kernel()
        for desired in path:
            arrived = await applied(travelled, desired)
            assert (await travelled.apply(desired)).actions == ()
        assert arrived == await applied(kernel(), path[-1])

    asyncio.run(run())


@given(before=wishes(), after=wishes())
def test_an_allowed_ip_is_never_with_two_peers(before: DesiredState, after: DesiredState) -> None:
    async def run() -> None:
        fake = kernel()
        for desired in (before, after):
            await fake.apply(desired)
            state = await fake.observe()
            assert state is not None
            held = [network for peer in state.peers for network in peer.allowed_ips]
            assert len(held) == len(set(held))

    asyncio.run(run())


def test_there_is_no_device_before_the_first_wish() -> None:
    fake = kernel()
    assert asyncio.run(fake.observe()) is None
    assert fake.render() == BARE


def test_a_lost_device_takes_its_routes_along_and_is_made_anew_behind_the_block_that_stayed() -> None:
    async def run() -> None:
        fake = kernel()
        await fake.apply(DESIRED)
        fake.lose_device()
        assert await fake.observe() is None
        assert fake.render() == BARE + "  route 10.32.0.0/12 unreachable\n"
        assert (await fake.apply(DESIRED)).actions[0] == CreateDevice("weavemesh")
        assert fake.render() == GOLDEN

    asyncio.run(run())


def test_a_peer_that_is_heard_from_elsewhere_keeps_its_endpoint_until_its_session_is_dead() -> None:
    async def run() -> None:
        clock = Clock()
        fake = FakeKernel(interface="weavemesh", clock=clock)
        await fake.apply(DESIRED)
        fake.shake_hands(ALICE, LEARNED)
        clock.now += 179
        assert (await fake.apply(DESIRED)).actions == ()
        assert LEARNED.text() in fake.render()
        clock.now += 1
        (action,) = (await fake.apply(DESIRED)).actions
        assert isinstance(action, SetPeer)
        assert fake.render() == GOLDEN

    asyncio.run(run())


def test_nobody_shakes_hands_with_a_peer_that_is_not_there() -> None:
    with pytest.raises(KeyError):
        kernel().shake_hands(ALICE, LEARNED)


def test_a_refused_route_is_a_sentence_the_rest_is_done_and_the_next_pass_tries_again() -> None:
    async def run() -> None:
        fake = kernel()
        fake.refusals = {AddRoute: "out of memory"}
        report = await fake.apply(DESIRED)
        assert report.failures == tuple(
            f"adding the route to {network} failed: out of memory" for network in (UNIVERSE, A, A6, B)
        )
        assert not any(isinstance(action, AddRoute) for action in report.actions)
        assert fake.render() == "".join(line for line in GOLDEN.splitlines(True) if "  route" not in line)
        fake.refusals = {}
        again = await fake.apply(DESIRED)
        assert {type(action) for action in again.actions} == {AddRoute}
        assert fake.render() == GOLDEN

    asyncio.run(run())


@pytest.mark.parametrize("refused", [CreateDevice, ConfigureDevice, BringUp])
def test_without_a_working_device_nothing_is_tried_on_it_but_the_block_is_there(
    refused: type[CreateDevice | ConfigureDevice | BringUp],
) -> None:
    async def run() -> None:
        fake = kernel()
        fake.refusals = {refused: "no such kind"}
        report = await fake.apply(DESIRED)
        assert len(report.failures) == 1
        assert "  route 10.32.0.0/12 unreachable\n" in fake.render()
        assert "device" not in fake.render()
        assert "peer" not in fake.render()

    asyncio.run(run())


def test_a_route_that_is_no_longer_wished_is_removed_and_foreign_ones_are_not_touched() -> None:
    async def run() -> None:
        fake = kernel()
        fake.foreign_routes = {IPv4Network("10.33.7.0/24"): "eth1", IPv4Network("172.16.0.0/12"): "eth2"}
        await fake.apply(DESIRED)
        report = await fake.apply(replace(DESIRED, routes=DESIRED.routes[1:]))
        assert report.actions == (RemoveRoute(DESIRED.routes[0]),)
        assert await fake.routes_overlapping(UNIVERSE) == ("10.33.7.0/24 dev eth1",)
        assert await fake.routes_overlapping(B) == ()

    asyncio.run(run())


@pytest.mark.parametrize("case", CASES)
def test_golden_cases_that_run_on_real_namespaces_too(case: str) -> None:
    async def run() -> None:
        fake = kernel()
        for step in CASES[case]:
            report = await fake.apply(step.desired("weavemesh"))
            assert not report.failures
            assert tuple(type(action).__name__ for action in report.actions) == step.actions
            assert fake.render() == step.shown.replace("IFACE", "weavemesh")

    asyncio.run(run())


def test_a_device_that_is_refused_once_is_tried_again() -> None:
    async def run() -> None:
        fake = kernel()
        fake.refusals[BringUp] = "no"
        assert (await fake.apply(DESIRED)).failures == ("bringing the tunnel device up failed: no",)
        fake.refusals.clear()
        assert await applied(fake, DESIRED) == GOLDEN

    asyncio.run(run())


def test_it_answers_for_the_host() -> None:
    async def run() -> None:
        fake = kernel()
        fake.addresses = (WISHED.address,)
        assert await fake.host_addresses() == (WISHED.address,)
        assert await fake.underlay_mtu() == 1500
        assert fake.datapath == "fake"
        await fake.close()

    asyncio.run(run())
