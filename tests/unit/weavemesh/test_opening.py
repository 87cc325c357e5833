"""A state that cannot be gone on from ends the start with one sentence and the way out."""

import asyncio
from collections.abc import Callable
from ipaddress import IPv4Network
from pathlib import Path
from random import Random

import pytest
from msgspec.structs import replace

import ipam_crdt
from gossip import Target, TargetPhase, TargetView
from ipam_crdt import Allocator, Electorate, Owner
from tests.unit.weavemesh.overlay.overlay_sample import known, peer
from weavemesh.config import AgentConfig, check
from weavemesh.error import UserError
from weavemesh.identity import Identity
from weavemesh.kernel.fake import FakeKernel
from weavemesh.opening import open_allocator, open_mesh, open_mtus, refuse_overlap, refuse_wrong_secret
from weavemesh.option import Options
from weavemesh.overlay.plan import plan, unproven_mtu
from weavemesh.overlay.probe import ProbeName
from weavemesh.transport.failure import Failure, LinkFailed

ALONE = Electorate.addressed(0)
IDENTITY = Identity.generate(nickname="one")


def config(options: Options | None = None) -> AgentConfig:
    return check(options or Options(), state_dir=Path("/state"), run_dir=Path("/run"), environment={})


def snapshot(name: str = IDENTITY.name, universe: str = "10.32.0.0/12") -> bytes:
    """What a peer that founded a ring alone keeps."""
    allocator = Allocator(
        owner=Owner(name), universe=IPv4Network(universe), electorate=ALONE, snapshot=None, rng=Random(1), now=0.0
    )
    return next(output.snapshot for output in allocator.outputs() if isinstance(output, ipam_crdt.Persist))


@pytest.mark.parametrize(("device", "shown"), [(1420, (1420, 1232, 1420)), (8921, (8921, 1232, 1408))])
def test_what_the_routes_of_a_former_life_hold_is_gone_on_with(device: int, shown: tuple[int, int, int]) -> None:
    async def scenario() -> None:
        fake = FakeKernel(interface="wm0", clock=lambda: 0.0)
        none = await open_mtus(fake, device_mtu=device)
        assert none.mtu(ProbeName(peer(2).name), known_ranges(2)) == unproven_mtu(device)
        wish = known({2: "10.33.0.0/24", 3: "10.34.0.0/24"}, peer(2), peer(3), mtu=device)
        await fake.apply(plan(replace(wish, mtus={peer(2).name: device, peer(3).name: 1232})))
        mtus = await open_mtus(fake, device_mtu=device)
        assert tuple(mtus.mtu(ProbeName(peer(number).name), known_ranges(number)) for number in (2, 3, 4)) == shown

    asyncio.run(scenario())


def known_ranges(number: int) -> tuple[IPv4Network, ...]:
    return (IPv4Network(f"10.{31 + number}.0.0/24"),)


def test_a_ring_is_gone_on_with_whatever_the_flags_say_of_founding() -> None:
    ring_id = open_allocator(config(), IDENTITY, None, snapshot(), 0.0).ring_id
    for electorate in (None, ALONE, Electorate.counted(3)):
        assert open_allocator(config(), IDENTITY, electorate, snapshot(), 0.0).ring_id == ring_id is not None


def test_addresses_come_from_the_default_subnet() -> None:
    allocator = open_allocator(config(Options(ipalloc_default_subnet="10.40.1.0/24")), IDENTITY, ALONE, None, 0.0)
    allocator.receive(ipam_crdt.Allocate("pod", 5.0), 0.0)
    (address,) = allocator.allocations().values()
    assert address in IPv4Network("10.40.1.0/24")


@pytest.mark.parametrize(
    ("damage", "sentence", "remedy"),
    [
        (lambda content: content[:-3], "cut short", "weavemesh reset"),
        (lambda content: content[:40] + bytes([content[40] ^ 1]) + content[41:], "checksum", "from a backup"),
        (lambda content: content + b"x", "1 bytes follow its end", "weavemesh reset"),
        (lambda _: b"", "does not begin", "weavemesh reset"),
        (lambda _: snapshot("z" * 16), f"is of another peer, {'z' * 16}, and this one is {IDENTITY.name}", "together"),
        (lambda _: snapshot(universe="10.64.0.0/12"), "divides 10.64.0.0/12", "--ipalloc-range 10.64.0.0/12"),
    ],
)
def test_a_ring_file_that_cannot_be_used_is_told_with_the_way_out(
    damage: Callable[[bytes], bytes], sentence: str, remedy: str
) -> None:
    with pytest.raises(UserError) as caught:
        open_allocator(config(), IDENTITY, ALONE, damage(snapshot()), 0.0)
    assert sentence in caught.value.sentence
    assert remedy in caught.value.remedy


def test_a_mesh_file_that_cannot_be_used_may_be_removed() -> None:
    assert open_mesh(config(), IDENTITY, 1, None, 0.0).peers()[0].name == IDENTITY.name
    with pytest.raises(UserError, match="remove /state/mesh"):
        open_mesh(config(), IDENTITY, 1, b"garbage", 0.0)


def test_a_range_that_the_host_uses_is_refused() -> None:
    refuse_overlap((), IPv4Network("10.32.0.0/12"))
    with pytest.raises(UserError, match=r"overlaps this host's route 10.36.0.0/16 dev eth0"):
        refuse_overlap(("10.36.0.0/16 dev eth0",), IPv4Network("10.32.0.0/12"))


def target(text: str) -> TargetView:
    return TargetView(
        target=Target(text), phase=TargetPhase.WAITING, peer=None, attempts=1, reason=None, next_dial_at=1.0
    )


def test_only_where_all_have_another_secret_ours_is_the_wrong_one() -> None:
    one, two = target("h1:1"), target("h2:1")
    wrong = LinkFailed("another secret", Failure.WRONG_SECRET)
    silent = LinkFailed("no answer", Failure.TIMEOUT)
    refuse_wrong_secret((), {}, "abc")
    refuse_wrong_secret((one,), {}, "abc")
    refuse_wrong_secret((one, two), {one.target: wrong, two.target: silent}, "abc")
    with pytest.raises(UserError, match=r"h1:1, h2:1 has another cluster secret than this host \(fingerprint abc\)"):
        refuse_wrong_secret((one, two), {one.target: wrong, two.target: wrong}, "abc")
