"""Rings in the World: whatever happens, no address has two owners, and when it is over none is lost.

WEAVEMESH_SEEDS=N runs N seeds instead of the default; WEAVEMESH_SEED=S runs that one alone. A failure names its seed.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ipam_crdt import Allocate
from tests.simulation.chaos import run_chaos
from tests.simulation.ipam_world import QUIET_S, World

SEEDS_DEFAULT = 1_000
SEEDS_PER_TEST = 50


def seeds() -> range:
    if "WEAVEMESH_SEED" in os.environ:
        seed = int(os.environ["WEAVEMESH_SEED"])
        return range(seed, seed + 1)
    return range(int(os.environ.get("WEAVEMESH_SEEDS", SEEDS_DEFAULT)))


@pytest.mark.parametrize("batch", range(-(-len(seeds()) // SEEDS_PER_TEST)))
def test_no_address_has_two_owners_and_none_is_lost(batch: int) -> None:
    for seed in seeds()[batch * SEEDS_PER_TEST : (batch + 1) * SEEDS_PER_TEST]:
        run_chaos(seed)


def test_all_addresses_among_sixteen_peers_can_be_handed_out() -> None:
    world = World(seed=1, host_count=16, universe="10.32.0.0/20", loss=0.0, delay_s=(0.001, 0.01))
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
    code = "from tests.simulation.chaos import run_chaos; print(run_chaos(3).trace_checksum)"
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
