"""The kernel follows the plan: soon after news, once for a burst, and again after a failure."""

import asyncio
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network

import pytest
from msgspec.structs import replace

from weavemesh import reconciler
from weavemesh.overlay.state import DesiredState, IPAddress, IPNetwork, ObservedState, PrivateKey
from weavemesh.overlay.tunnel import ApplyReport
from weavemesh.reconciler import Reconciler

DESIRED = DesiredState(
    interface="wm0", mtu=1420, private_key=PrivateKey(bytes(32)), listen_port=6783, addresses=(), peers=(), routes=()
)


class RecordingTunnel:
    """A tunnel that notes what is applied and reports the failures it was given, one after the other."""

    datapath = "none"

    def __init__(self, *failures: tuple[str, ...]) -> None:
        self.failures = list(failures)
        self.applied: list[DesiredState] = []
        self.on_apply: Callable[[], None] = lambda: None

    async def apply(self, desired: DesiredState) -> ApplyReport:
        self.applied.append(desired)
        self.on_apply()
        return ApplyReport((), (), self.failures.pop(0) if self.failures else ())

    async def observe(self) -> ObservedState | None:
        return None

    async def routes_overlapping(self, network: IPNetwork) -> tuple[str, ...]:
        return (str(network),) if network == IPv4Network("10.32.0.0/12") else ()

    async def host_addresses(self) -> tuple[IPAddress, ...]:
        return (IPv4Address("192.0.2.1"),)

    async def underlay_mtu(self) -> int:
        return 1500

    async def close(self) -> None:
        return None


def run(tunnel: RecordingTunnel, plan: Callable[[], DesiredState | None], *, applies: int) -> Reconciler:
    """Run until the tunnel has been applied to so often."""

    async def scenario() -> Reconciler:
        kept = Reconciler(tunnel, plan)
        enough = asyncio.Event()

        def count() -> None:
            if len(tunnel.applied) >= applies:
                enough.set()

        tunnel.on_apply = count
        async with asyncio.TaskGroup() as group:
            running = group.create_task(kept.run())
            for _ in range(5):
                kept.changed()
            async with asyncio.timeout(5):
                await enough.wait()
            await asyncio.sleep(0)
            running.cancel()
        return kept

    return asyncio.run(scenario())


def test_a_burst_of_news_is_applied_once() -> None:
    tunnel = RecordingTunnel()
    kept = run(tunnel, lambda: DESIRED, applies=1)
    assert tunnel.applied == [DESIRED]
    assert kept.failures == ()


def test_a_failure_is_kept_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciler, "RETRY_S", 0.01)
    tunnel = RecordingTunnel(("no such device",), ())
    kept = run(tunnel, lambda: DESIRED, applies=2)
    assert kept.failures == ()


def test_settling_waits_for_a_plan_that_is_made_afterwards() -> None:
    """Not for one that was being applied when it was asked, and not for one that fails."""
    tunnel = RecordingTunnel((), ("busy",), ())
    plans = iter(range(100))

    async def scenario() -> None:
        kept = Reconciler(tunnel, lambda: replace(DESIRED, mtu=1280 + next(plans)))
        settled: list[int] = []

        async def settle() -> None:
            await kept.settle()
            settled.append(len(tunnel.applied))

        async with asyncio.TaskGroup() as group:
            waiting: list[asyncio.Task[None]] = []

            def ask_during_the_first() -> None:
                if len(tunnel.applied) == 1:
                    waiting.append(group.create_task(settle()))

            tunnel.on_apply = ask_during_the_first
            running = group.create_task(kept.run())
            kept.changed()
            async with asyncio.timeout(5):
                await kept.wait_applied()
                await waiting[0]
            running.cancel()
        assert settled == [3]

    monkeypatched = pytest.MonkeyPatch()
    with monkeypatched.context() as patch:
        patch.setattr(reconciler, "RETRY_S", 0.01)
        asyncio.run(scenario())


def test_without_a_plan_the_kernel_is_left_alone() -> None:
    tunnel = RecordingTunnel()
    plans: list[DesiredState | None] = [None, DESIRED]

    async def scenario() -> None:
        planned = asyncio.Event()

        def plan() -> DesiredState | None:
            planned.set()
            return plans.pop(0)

        kept = Reconciler(tunnel, plan)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(kept.run())
            kept.changed()
            await planned.wait()
            assert tunnel.applied == []
            kept.changed()
            async with asyncio.timeout(5):
                await kept.wait_applied()
            running.cancel()

    asyncio.run(scenario())
    assert tunnel.applied == [DESIRED]
