"""Tables in a real kernel: whole or not at all, read back, removed; nobody else's is touched."""

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import pytest

from tests.kernel.tunnel_lab import root_missing, run
from weavemesh.kernel import nftables
from weavemesh.kernel.netns import call_in
from weavemesh.kernel.nftables import NftablesError, Table, TableChanges

pytestmark = pytest.mark.root

T = TypeVar("T")

ONE = Table("inet", "weavemesh-test", "set s { type ipv4_addr; elements = { 10.0.0.1 }; }")
OTHER = Table("inet", "weavemesh-test", "chain c { type filter hook forward priority 7; counter; }")


class Firewall:
    """A network namespace of its own."""

    def __init__(self) -> None:
        self.name = f"wmn{secrets.token_hex(3)}"
        run("ip", "netns", "add", self.name)
        self._netns = os.open(f"/run/netns/{self.name}", os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self._netns)
        run("ip", "netns", "del", self.name)

    def nft(self, *words: str) -> str:
        return run("ip", "netns", "exec", self.name, "nft", *words).stdout

    def call(self, work: Callable[[], Awaitable[T]]) -> T:
        async def main() -> T:
            return await work()

        return call_in(self._netns, lambda: asyncio.run(main()))


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


def test_a_table_replaces_what_had_its_name_and_nothing_else(firewall: Firewall) -> None:
    firewall.nft("add", "table", "inet", "others")
    one = firewall.call(lambda: nftables.apply(ONE))
    assert "10.0.0.1" in one
    assert firewall.call(lambda: nftables.read("inet", ONE.name)) == one
    other = firewall.call(lambda: nftables.apply(OTHER))
    assert "10.0.0.1" not in other and "hook forward" in other
    assert "table inet others" in firewall.nft("list", "tables")


def test_equal_tables_read_alike_whatever_was_counted(firewall: Firewall) -> None:
    applied = firewall.call(lambda: nftables.apply(OTHER))
    firewall.nft("add", "rule", "inet", OTHER.name, "c", "accept")
    assert firewall.call(lambda: nftables.read("inet", OTHER.name)) != applied
    assert firewall.call(lambda: nftables.apply(OTHER)) == applied


def test_what_is_refused_leaves_the_table_as_it_was(firewall: Firewall) -> None:
    applied = firewall.call(lambda: nftables.apply(ONE))
    with pytest.raises(NftablesError, match="syntax error"):
        firewall.call(lambda: nftables.apply(Table("inet", ONE.name, "chain c { nonsense; }")))
    assert firewall.call(lambda: nftables.read("inet", ONE.name)) == applied


def test_removal_takes_ours_and_says_so(firewall: Firewall) -> None:
    firewall.nft("add", "table", "inet", "others")
    firewall.call(lambda: nftables.apply(ONE))
    firewall.call(lambda: nftables.apply(Table("ip", "weavemesh-more", "")))
    assert firewall.call(lambda: nftables.remove("inet", ONE.name)) is True
    assert firewall.call(lambda: nftables.remove("inet", ONE.name)) is False
    assert firewall.call(nftables.remove_all) == ["weavemesh-more"]
    assert firewall.nft("list", "tables").strip() == "table inet others"


def test_a_change_is_told(firewall: Firewall) -> None:
    async def play() -> None:
        changes = TableChanges.open()
        try:
            await nftables.apply(ONE)
            async with asyncio.timeout(5):
                await changes.of(ONE.name)
                await asyncio.to_thread(firewall.nft, "add", "table", "inet", "others")
                await asyncio.to_thread(firewall.nft, "flush", "ruleset")
                await changes.of("others")
        finally:
            changes.close()

    firewall.call(play)


def test_a_host_without_the_program_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(nftables, "_PLACES", "/nowhere")
    assert not nftables.is_installed()
    assert asyncio.run(nftables.remove_all()) == []
    with pytest.raises(NftablesError, match="apt-get install nftables"):
        asyncio.run(nftables.apply(ONE))
