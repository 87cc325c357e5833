"""Who founds a mesh with us: the hosts at the addresses given but for this one, or as many as we are told."""

import asyncio
from ipaddress import ip_address
from pathlib import Path

import pytest

from ipam_crdt import Electorate
from weavemesh.config import check
from weavemesh.founding import count_others, electorate, resolve
from weavemesh.option import Options
from weavemesh.overlay.state import IPAddress

NAMES = {
    "host1": ("192.0.2.1",),
    "host1.example": ("192.0.2.1", "2001:db8::1"),
    "host2": ("192.0.2.2",),
    "alias2": ("192.0.2.2",),
    "all": ("192.0.2.1", "192.0.2.2", "192.0.2.3"),
    "localhost": ("127.0.0.1", "::1"),
}
OWN = (ip_address("192.0.2.1"), ip_address("2001:db8::1"))


async def look_up(host: str) -> frozenset[IPAddress]:
    if host in NAMES:
        return frozenset(map(ip_address, NAMES[host]))
    try:
        return frozenset({ip_address(host)})
    except ValueError as error:
        raise OSError("no such host") from error


@pytest.mark.parametrize(
    ("targets", "others"),
    [
        ((), 0),
        (("host2:6783",), 1),
        (("host1:6783", "host2:6783", "192.0.2.3:6783"), 2),
        (("host1.example:6783", "localhost:6783", "[2001:db8::1]:6783"), 0),
        (("host1:7000", "192.0.2.1:6783"), 1),
        (("host2:6783", "alias2:6783", "192.0.2.2:6783"), 1),
        (("host2:6783", "host2:7000"), 2),
        (("nowhere:6783", "elsewhere:6783"), 2),
        (("all:6783",), 1),
    ],
)
def test_the_others_are_counted_once_and_we_ourselves_are_not(targets: tuple[str, ...], others: int) -> None:
    assert asyncio.run(count_others(targets, OWN, port=6783, resolve=look_up)) == others


def chosen(options: Options) -> Electorate | None:
    config = check(options, state_dir=Path("/s"), run_dir=Path("/r"), environment={})
    return asyncio.run(electorate(config, OWN, resolve=look_up))


def test_what_the_command_line_says_is_who_founds() -> None:
    assert chosen(Options()) == Electorate.addressed(0)
    assert chosen(Options(targets=("host1", "host2"))) == Electorate.addressed(1)
    assert chosen(Options(targets=("host2",), initial_peers="3")) == Electorate.counted(3)
    assert chosen(Options(observer=True)) is None
    assert chosen(Options(targets=("host2",), observer=True)) is None


def test_with_more_targets_than_initial_peers_can_be_we_only_join() -> None:
    assert chosen(Options(targets=tuple(f"10.0.{i // 200}.{i % 200 + 1}" for i in range(256)))) is None


def test_a_name_that_is_slow_counts_as_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weavemesh.founding.RESOLVE_S", 0.01)

    async def never(_: str) -> frozenset[IPAddress]:
        await asyncio.Event().wait()
        return frozenset()

    assert asyncio.run(count_others(("host1:6783",), OWN, port=6783, resolve=never)) == 1


def test_the_system_resolves_addresses_and_names() -> None:
    assert asyncio.run(resolve("::ffff:192.0.2.1")) == {ip_address("192.0.2.1")}
    assert all(address.is_loopback for address in asyncio.run(resolve("localhost")))
    with pytest.raises(OSError):
        asyncio.run(resolve("no-such-host.invalid"))
