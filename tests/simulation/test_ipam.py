"""Rings in the World: whatever happens, no address has two owners, and when it is over none is lost.

WEAVEMESH_SEEDS=N runs N seeds instead of the default; WEAVEMESH_SEED=S runs that one alone. A failure names its seed.
"""

import os
import random
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from ipam_crdt import Allocate, Allocator, Claim, Output, Owner, Persist, Release
from ipam_crdt.cidr import Block
from ipam_crdt.donor import DonorSearch
from ipam_crdt.ring import Change, Conflict, Entry, Merged, Ring, Title
from ipam_crdt.space import Space
from tests.simulation.ipam_world import QUIET_S, Host, World

SEEDS_DEFAULT = 200
SEEDS_PER_TEST = 25
CHAOS_S = 25.0
PATIENCE_S = 8.0


def seeds() -> range:
    if "WEAVEMESH_SEED" in os.environ:
        seed = int(os.environ["WEAVEMESH_SEED"])
        return range(seed, seed + 1)
    return range(int(os.environ.get("WEAVEMESH_SEEDS", SEEDS_DEFAULT)))


def run_chaos(seed: int) -> World:
    """Start hosts, harm them for a while, heal everything, and see that all is as it should be."""
    rng = random.Random(seed)
    prefix_length = rng.choice([29, 28, 27, 26, 24, 20])
    world = World(
        seed=seed,
        host_count=rng.randint(2, 8),
        universe=f"10.32.0.0/{prefix_length}",
        loss=rng.choice([0.0, 0.05, 0.2, 0.4]),
        delay_s=rng.choice([(0.001, 0.01), (0.001, 0.2), (0.05, 2.0)]),
    )
    world.crash_rate = rng.choice([0.0, 0.0, 0.005, 0.03])
    with world.reporting():
        for host in world.hosts:
            world.at(rng.uniform(0, 3), partial(start, world, host))
        for _ in range(rng.randint(20, 120)):
            world.at(rng.uniform(0.5, CHAOS_S), partial(disturb, world, rng))
        world.run(CHAOS_S)
        world.settle()
        if prefix_length >= 26:
            world.exhaust()
            world.settle()
    return world


def start(world: World, host: Host) -> None:
    if host.allocator is None:
        world.start(host)


def disturb(world: World, rng: random.Random) -> None:
    """Do one thing that happens in the world."""
    one, other = rng.choice(world.hosts), rng.choice(world.hosts)
    deeds = [allocate, allocate, allocate, claim, claim_of_another, release, release, fall, fall, cut, part, heal]
    rng.choice(deeds)(world, rng, one, other)


def allocate(world: World, rng: random.Random, one: Host, _: Host) -> None:
    """Some pods at once; now and then one that has asked before."""
    for number in range(rng.choice([1, 1, 2, 5])):
        ident = f"pod{world.steps}-{number}"
        if one.told and rng.random() < 0.1:
            ident = rng.choice(sorted(one.told))
        world.feed(one, Allocate(ident, world.now + rng.uniform(0.5, PATIENCE_S)))


def claim(world: World, rng: random.Random, one: Host, _: Host) -> None:
    address = world.universe[rng.randrange(world.universe.num_addresses)]
    world.feed(one, Claim(f"claim{world.steps}", address, world.now + rng.uniform(0.5, PATIENCE_S)))


def claim_of_another(world: World, rng: random.Random, one: Host, other: Host) -> None:
    if other.told:
        address = other.told[rng.choice(sorted(other.told))]
        world.feed(one, Claim(f"claim{world.steps}", address, world.now + PATIENCE_S))


def release(world: World, rng: random.Random, one: Host, _: Host) -> None:
    for ident in rng.sample(sorted(one.told), k=len(one.told) // 2):
        world.feed(one, Release(ident))


def fall(world: World, _: random.Random, one: Host, __: Host) -> None:
    if one.allocator is None:
        world.start(one)
    else:
        world.crash(one)


def cut(world: World, _: random.Random, one: Host, other: Host) -> None:
    world.cut(one, other)


def part(world: World, rng: random.Random, _one: Host, _other: Host) -> None:
    middle = rng.randint(1, len(world.hosts) - 1)
    for left in world.hosts[:middle]:
        for right in world.hosts[middle:]:
            world.cut(left, right)
            world.cut(right, left)


def heal(world: World, _: random.Random, _one: Host, _other: Host) -> None:
    world.heal()


@pytest.mark.parametrize("batch", range(-(-len(seeds()) // SEEDS_PER_TEST)))
def test_no_address_has_two_owners_and_none_is_lost(batch: int) -> None:
    for seed in seeds()[batch * SEEDS_PER_TEST : (batch + 1) * SEEDS_PER_TEST]:
        run_chaos(seed)


def test_all_addresses_among_sixteen_peers_can_be_handed_out() -> None:
    world = World(seed=1, host_count=16, universe="10.32.0.0/22", loss=0.0, delay_s=(0.001, 0.01))
    with world.reporting():
        for host in world.hosts:
            world.start(host)
        world.run(10.0)
        world.exhaust()


def test_peers_of_a_new_mesh_own_one_range_each() -> None:
    world = World(seed=1, host_count=30, universe="10.32.0.0/12", loss=0.0, delay_s=(0.001, 0.01))
    for host in world.hosts:
        world.start(host)
        world.feed(host, Allocate("weavemesh:host", QUIET_S * 2))
        world.run(world.now + 1.0)
    world.run(QUIET_S * 2)
    world.assert_answered()
    allocator = world.allocators()[0]
    assert [len(allocator.owned(host.name)) for host in world.hosts] == [1] * 30


def test_one_seed_gives_one_trace_whatever_the_hash_seed() -> None:
    code = "from tests.simulation.test_ipam import run_chaos; print(run_chaos(3).trace_checksum)"
    traces = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parents[2],
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert traces[0] == traces[1]
    assert traces[0].strip()


def promise_before_persisting(allocator: Allocator) -> list[Output]:
    outputs = [*OUTPUTS(allocator)]
    return sorted(outputs, key=lambda output: isinstance(output, Persist))


def give_without_a_new_version(ring: Ring, block: Block, *, giver: Owner, taker: Owner) -> Merged:
    return ring.merge([Entry(block, Title(ring.entry_at(block.start).title.version, taker, giver))])


def believe_the_last_word(block: Block, old: Title, new: Title, changes: list[Change], _: list[Conflict]) -> bool:
    changes.append(Change(block, old, new))
    return old != new


def give_what_is_in_use(space: Space) -> Block | None:
    return max(space.blocks, default=None)


def keep_the_last_address(space: Space) -> Block | None:
    block = DONATION(space)
    return None if block is None or block.size == 1 else block


def never_wake(_: Allocator) -> float | None:
    return None


def take_any_answer(_: DonorSearch, __: int) -> bool:
    return True


def take_any_grant(_: Ring, __: Entry) -> bool:
    return True


OUTPUTS = Allocator.outputs
DONATION = Space.donation


@pytest.mark.parametrize(
    ("place", "mutation", "first_seed"),
    [
        ("ipam_crdt.allocator.Allocator.outputs", promise_before_persisting, 0),
        ("ipam_crdt.ring.Ring.grant", give_without_a_new_version, 0),
        ("ipam_crdt.ring._is_raised", believe_the_last_word, 0),
        ("ipam_crdt.space.Space.donation", give_what_is_in_use, 0),
        ("ipam_crdt.space.Space.donation", keep_the_last_address, 0),
        ("ipam_crdt.allocator.Allocator.deadline", never_wake, 0),
        ("ipam_crdt.donor.DonorSearch.is_awaited", take_any_answer, 200),
        ("ipam_crdt.ring.Ring.holds", take_any_grant, 350),
    ],
)
def test_the_world_finds_a_bug_that_is_there(
    place: str, mutation: Callable[..., object], first_seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check that cannot fail proves nothing: each of these breaks a law soon. The last two bugs were real."""
    monkeypatch.setattr(place, mutation)
    with pytest.raises(AssertionError):
        for seed in range(first_seed, first_seed + 100):
            run_chaos(seed)
