"""A declared table survives whoever flushes the firewall, and goes when it is declared away."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from tests.kernel.test_nftables import ONE, OTHER, Firewall
from tests.kernel.tunnel_lab import root_missing
from weavemesh.kernel import nftables
from weavemesh.kernel.kepttable import KeptTable
from weavemesh.kernel.nftables import Table
from weavemesh.logs import Event

pytestmark = pytest.mark.root


@pytest.fixture
def firewall() -> Iterator[Firewall]:
    if reason := root_missing():
        pytest.skip(reason)
    if not nftables.is_installed():
        pytest.skip("needs the program nft (nftables)")
    firewall = Firewall()
    try:
        yield firewall
    finally:
        firewall.close()


def keeping(firewall: Firewall, play: Callable[[KeptTable], Awaitable[None]]) -> None:
    async def main() -> None:
        kept = KeptTable("inet", ONE.name)
        async with asyncio.TaskGroup() as group, asyncio.timeout(15):
            running = group.create_task(kept.run())
            await play(kept)
            running.cancel()

    firewall.call(main)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    while not await condition():  # noqa: ASYNC110  # another process brings it about
        await asyncio.sleep(0.01)


async def held() -> str:
    return await nftables.read("inet", ONE.name) or ""


@pytest.mark.parametrize(
    "damage",
    [
        ("flush", "ruleset"),
        ("delete", "table", "inet", ONE.name),
        ("flush", "set", "inet", ONE.name, "s"),
        ("add", "chain", "inet", ONE.name, "intruder"),
    ],
)
def test_whatever_is_done_to_it_it_comes_back(firewall: Firewall, damage: tuple[str, ...]) -> None:
    async def play(kept: KeptTable) -> None:
        kept.declare(ONE)
        await kept.wait_applied()
        before = await held()
        await asyncio.to_thread(firewall.nft, *damage)

        async def is_back() -> bool:
            return await held() == before

        await until(is_back)

    keeping(firewall, play)


def test_it_changes_with_what_is_declared_and_goes(firewall: Firewall) -> None:
    async def play(kept: KeptTable) -> None:
        for table in (ONE, OTHER, OTHER, None):
            kept.declare(table)
            await kept.wait_applied()
            assert (await held() == "") is (table is None)
        assert kept.failures == ()

    keeping(firewall, play)


def test_what_is_declared_while_another_is_applied_counts(firewall: Firewall) -> None:
    async def play(kept: KeptTable) -> None:
        kept.declare(ONE)
        while not await held():  # noqa: ASYNC110  # it is in the kernel but not yet read back
            await asyncio.sleep(0)
        kept.declare(OTHER)
        await kept.wait_applied()
        assert "hook forward" in await held()

    keeping(firewall, play)


def test_what_cannot_be_applied_is_a_sentence_until_it_can(firewall: Firewall) -> None:
    async def play(kept: KeptTable) -> None:
        kept.declare(Table("inet", ONE.name, "chain c { nonsense; }"))

        async def has_failed() -> bool:
            return bool(kept.failures)

        await until(has_failed)
        assert "cannot be set up" in kept.failures[0]
        kept.declare(ONE)
        await kept.wait_applied()
        assert kept.failures == ()

    keeping(firewall, play)


def test_what_is_declared_during_a_look_is_nobody_elses_change(
    firewall: Firewall, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looking, read = asyncio.Event(), nftables.read

    async def slow_read(family: nftables.Family, name: str) -> str | None:
        looking.set()
        await asyncio.sleep(0.1)
        return await read(family, name)

    async def play(kept: KeptTable) -> None:
        kept.declare(ONE)
        await kept.wait_applied()  # the news of our own change lets it look
        looking.clear()
        monkeypatch.setattr(nftables, "read", slow_read)
        await looking.wait()
        kept.declare(OTHER)
        await kept.wait_applied()
        assert "hook forward" in await held()

    keeping(firewall, play)
    assert Event.KERNEL_FAILED not in caplog.messages
