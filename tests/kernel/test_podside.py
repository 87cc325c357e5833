"""The pods' side of an agent in a namespace: its table follows the mesh and the exposed address, and comes back."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from ipaddress import IPv6Network
from pathlib import Path

import pytest

from tests.kernel.test_nftables import Firewall
from tests.kernel.tunnel_lab import root_missing
from tests.unit.weavemesh.test_pool import Disk, open_pool, running
from weavemesh.kernel import nftables
from weavemesh.podside import PodSide
from weavemesh.status import EXPOSED_IDENT

pytestmark = pytest.mark.root

ULA = IPv6Network("fd57::/96")


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


def play(
    firewall: Firewall, folder: Path, scenario: Callable[[PodSide], Awaitable[None]], *, masquerade: bool = True
) -> None:
    async def main() -> None:
        async with running(open_pool(Disk())) as pool:
            pods = PodSide(pool, ula=lambda: ULA, mtu=lambda: 1420, interface="wm0", masquerade=masquerade)
            pods.listen(folder)
            async with asyncio.timeout(15), asyncio.TaskGroup() as group:
                serving = group.create_task(pods.run())
                await scenario(pods)
                serving.cancel()
            await pods.close()

    firewall.call(main)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  # another process brings it about
        await asyncio.sleep(0.01)


def table(firewall: Firewall) -> str:
    return firewall.nft("list", "ruleset")


def test_the_table_follows_the_mesh_and_the_exposed_address(firewall: Firewall, tmp_path: Path) -> None:
    async def scenario(pods: PodSide) -> None:
        await until(lambda: "masquerade" in table(firewall))
        assert "fd57::a20:0/120" in table(firewall)
        address = await pods.expose(())
        assert f"snat ip to {address.ipv4}" in table(firewall)
        assert pods.exposed == address == pods.addresses.address_of(EXPOSED_IDENT)
        assert await pods.hide() == address
        assert "snat ip to" not in table(firewall)
        assert await pods.hide() is None
        firewall.nft("flush", "ruleset")
        await until(lambda: "masquerade" in table(firewall))
        assert pods.failures == ()

    play(firewall, tmp_path, scenario)


def test_without_masquerading_no_address_is_changed_but_segments_are_limited(
    firewall: Firewall, tmp_path: Path
) -> None:
    firewall.nft("add", "table", "inet", "weavemesh-pods", "{ chain postrouting { }; }")

    async def scenario(pods: PodSide) -> None:
        await until(lambda: "maxseg size set rt mtu" in table(firewall))
        assert "postrouting" not in table(firewall)
        await pods.expose(())
        assert "snat" not in table(firewall)

    play(firewall, tmp_path, scenario, masquerade=False)
