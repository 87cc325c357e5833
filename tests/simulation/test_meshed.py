"""Ring and gossip together, as in an agent: the same harm as in test_ipam.py, the same laws.

WEAVEMESH_SEEDS=N runs N / 10 seeds instead of the default; WEAVEMESH_SEED=S runs that one alone.
"""

import os
import random

import pytest

from tests.simulation.chaos import MEDIUM, draw, run_in
from tests.simulation.meshed_world import MeshedWorld

SEEDS_DEFAULT = 60
SEEDS_PER_TEST = 10


def seeds() -> range:
    if "WEAVEMESH_SEED" in os.environ:
        seed = int(os.environ["WEAVEMESH_SEED"])
        return range(seed, seed + 1)
    return range(int(os.environ.get("WEAVEMESH_SEEDS", SEEDS_DEFAULT * 10)) // 10)


def run_meshed(seed: int) -> MeshedWorld:
    """One world, all of it drawn from the seed."""
    rng = random.Random(seed)
    plan = draw(rng)
    world = MeshedWorld(
        seed=seed, host_count=min(6, plan.host_count), universe=plan.universe, delay_s=min(plan.delay_s, MEDIUM)
    )
    run_in(world, rng, plan)
    return world


@pytest.mark.parametrize("batch", range(-(-len(seeds()) // SEEDS_PER_TEST)))
def test_no_address_has_two_owners_whatever_happens_to_the_mesh(batch: int) -> None:
    for seed in seeds()[batch * SEEDS_PER_TEST : (batch + 1) * SEEDS_PER_TEST]:
        run_meshed(seed)
