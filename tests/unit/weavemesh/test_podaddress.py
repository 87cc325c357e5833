import asyncio
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest

from tests.unit.weavemesh.test_pool import UNIVERSE, Disk, open_pool, running
from weavemesh.podaddress import AddressUnfit, PodAddresses
from weavemesh.status import HOST_IDENT

ULA = IPv6Network("fd00::/96")


def play(scenario: Callable[[PodAddresses], Awaitable[None]], *, ula: IPv6Network | None = ULA) -> None:
    async def main() -> None:
        async with running(open_pool(Disk())) as pool:
            await scenario(PodAddresses(pool, lambda: ula))

    asyncio.run(main())


def test_an_address_has_an_ipv6_twin_where_the_cluster_has_a_prefix() -> None:
    async def scenario(addresses: PodAddresses) -> None:
        address = await addresses.promise("net/pod/eth0", (), deadline_s=5)
        await addresses.durable()
        assert address.ipv6 == IPv6Address(int(IPv6Address("fd00::")) | int(address.ipv4))
        assert addresses.address_of("net/pod/eth0") == address
        assert addresses.idents() == ("net/pod/eth0",)
        await addresses.release("net/pod/eth0")
        assert addresses.address_of("net/pod/eth0") is None

    play(scenario)


def test_without_a_prefix_there_is_ipv4_alone() -> None:
    async def scenario(addresses: PodAddresses) -> None:
        assert (await addresses.promise("a", (), deadline_s=5)).ipv6 is None
        assert addresses.mesh() == (UNIVERSE,)
        with pytest.raises(AddressUnfit, match="IPv4 address"):
            await addresses.promise("b", (IPv6Address("fd00::1"),), deadline_s=5)

    play(scenario, ula=None)


def test_a_wish_may_name_either_family_or_both_twins() -> None:
    async def scenario(addresses: PodAddresses) -> None:
        seven = IPv4Address("10.32.0.7")
        twin = IPv6Address("fd00::a20:7")
        for wanted in ((seven,), (twin,), (twin, seven)):
            address = await addresses.promise("a", wanted, deadline_s=5)
            assert (address.ipv4, address.ipv6) == (seven, twin)

    play(scenario)


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ((IPv4Address("192.0.2.1"),), "not in 10.32.0.0/24"),
        ((IPv6Address("2001:db8::1"),), "not in fd00::/96"),
        ((IPv4Address("10.32.0.7"), IPv6Address("fd00::a20:8")), "not twins"),
    ],
)
def test_a_wish_that_can_never_be_had_is_told(wanted: tuple[IPv4Address, ...], sentence: str) -> None:
    async def scenario(addresses: PodAddresses) -> None:
        with pytest.raises(AddressUnfit, match=sentence):
            await addresses.promise("a", wanted, deadline_s=5)
        assert addresses.idents() == ()

    play(scenario)


def test_pods_are_told_of_the_network() -> None:
    async def scenario(addresses: PodAddresses) -> None:
        assert addresses.mesh() == (UNIVERSE, IPv6Network("fd00::a20:0/120"))
        assert addresses.subnet_of(IPv4Address("10.32.0.9")) == 24
        assert addresses.subnet_of(IPv6Address("fd00::a20:9")) == 120
        assert addresses.subnet_of(IPv4Address("192.0.2.9")) == 32

    play(scenario)


def test_an_obstacle_is_told_until_the_host_has_an_address() -> None:
    async def scenario(addresses: PodAddresses) -> None:
        assert addresses.host() is None
        assert "no address in the mesh yet" in (addresses.obstacle() or "")
        host = await addresses.promise(HOST_IDENT, (), deadline_s=5)
        await addresses.durable()
        assert addresses.host() == host
        assert addresses.obstacle() is None

    play(scenario)


def test_an_empty_pool_is_an_obstacle() -> None:
    async def main() -> None:
        async with running(open_pool(Disk())) as pool:
            addresses = PodAddresses(pool, lambda: ULA)
            await addresses.promise(HOST_IDENT, (), deadline_s=5)
            for number in range(UNIVERSE.num_addresses - 3):
                await addresses.promise(f"a{number}", (), deadline_s=5)
            await addresses.durable()
            assert "free address" in (addresses.obstacle() or "")
            await addresses.release("a1")
            assert addresses.obstacle() is None

    asyncio.run(main())
