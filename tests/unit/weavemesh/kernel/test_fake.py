"""The fake kernel passes the golden cases, and does what tests of the agent ask of it."""

import asyncio

import pytest

from tests.unit.weavemesh.overlay.golden import CASES, MOVED, TWO
from tests.unit.weavemesh.overlay.overlay_sample import UNIVERSE, endpoint, known, peer, public_key
from weavemesh.kernel.fake import FakeKernel
from weavemesh.overlay.diff import BringUp
from weavemesh.overlay.plan import plan

NOW = 1_000_000.0


def fake() -> FakeKernel:
    return FakeKernel(interface="wm0", clock=lambda: NOW)


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str) -> None:
    async def play() -> None:
        kernel = fake()
        for step in CASES[case]:
            report = await kernel.apply(step.desired("wm0"))
            assert not report.failures
            assert tuple(type(action).__name__ for action in report.actions) == step.actions
            assert kernel.render() == step.shown.replace("IFACE", "wm0")

    asyncio.run(play())


def test_a_live_endpoint_is_kept() -> None:
    async def play() -> None:
        kernel = fake()
        await kernel.apply(plan(known({2: "10.33.0.0/24"}, peer(2))))
        kernel.shake_hands(public_key(2), MOVED)
        report = await kernel.apply(plan(known({2: "10.33.0.0/24"}, peer(2))))
        assert report.actions == ()
        assert f"endpoint {MOVED.text()}" in kernel.render()

    asyncio.run(play())


def test_a_lost_device_comes_back_and_the_fence_has_stood_meanwhile() -> None:
    async def play() -> None:
        kernel = fake()
        desired = CASES["a peer costs a peer"][1].desired("wm0")
        await kernel.apply(desired)
        kernel.lose_device()
        assert await kernel.observe() is None
        assert "route 10.32.0.0/12 unreachable" in kernel.render()
        assert "device" not in kernel.render()
        await kernel.apply(desired)
        assert kernel.render() == TWO.replace("IFACE", "wm0")

    asyncio.run(play())


def test_a_refusal_of_the_device_stops_and_is_tried_again() -> None:
    async def play() -> None:
        kernel = fake()
        kernel.refusals[BringUp] = "no"
        desired = plan(known({2: "10.33.0.0/24"}, peer(2)))
        report = await kernel.apply(desired)
        assert report.failures == ("bringing the tunnel device up failed: no",)
        assert "peer" not in kernel.render()
        kernel.refusals.clear()
        assert (await kernel.apply(desired)).failures == ()
        assert "peer" in kernel.render()

    asyncio.run(play())


def test_it_answers_for_the_host() -> None:
    async def play() -> None:
        kernel = fake()
        kernel.foreign_routes = {UNIVERSE.supernet(): "eth1"}
        kernel.addresses = (endpoint(1).address,)
        assert await kernel.routes_overlapping(UNIVERSE) == (f"{UNIVERSE.supernet()} dev eth1",)
        assert await kernel.host_addresses() == (endpoint(1).address,)
        assert await kernel.underlay_mtu() == 1500
        assert kernel.datapath == "fake"
        await kernel.close()

    asyncio.run(play())
