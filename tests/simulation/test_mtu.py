"""MTUs of paths in the World: no black hole that lasts, nothing left unused for ever, few packets.

WEAVEMESH_SEEDS=N runs a fifth of N seeds; WEAVEMESH_SEED=S runs that one alone. A failure names its seed.
"""

import random
from functools import partial

import pytest

from tests.simulation.mtu_world import World
from tests.simulation.test_gossip import seeds
from weavemesh.overlay.mtu import RAISE_INTERVAL_S
from weavemesh.overlay.sizing import MTU_LEAST

SEEDS = seeds()[: max(1, len(seeds()) // 5)]
"""A world of half an hour takes tenths of a second."""
SEEDS_PER_TEST = 5
CAPACITIES = (8960, 8912, 1440, 1424, 1408, 1400, 1392, 1376, 1361, 1280, 1264, 1236, 1216, 1040, 700, 512)
NARROWED_WITHIN_S = 1.4
"""TCP's third repetition: see `overlay.probe.USED_INTERVAL_S`."""


def settled(*, used: bool, hosts: int = 2, seconds: float = 30.0, most: int = 1420, capacity: int = 1440) -> World:
    """A world without harm, so many seconds after the start of all; `used`: all tunnels."""
    world = World(seed=1, hosts=hosts, most=most, capacity=capacity)
    for host in world.hosts:
        host.used = frozenset(other.index for other in world.hosts if other is not host and used)
        world.start(host)
    world.run(seconds)
    return world


def set_capacity(world: World, capacity: int) -> None:
    for path in world.paths.values():
        path.capacity = capacity


@pytest.mark.parametrize("capacity", [capacity for capacity in CAPACITIES if capacity < 1420])
@pytest.mark.parametrize("after_s", [0.0, 0.31, 0.62, 0.93])
def test_a_path_in_use_that_narrows_is_known_before_tcp_has_tried_three_times(capacity: int, after_s: float) -> None:
    world = settled(used=True, seconds=30.0 + after_s)
    one, other = world.hosts
    assert world.mtu(one, other) == 1420
    set_capacity(world, capacity)
    world.run(world.now + NARROWED_WITHIN_S)
    assert world.mtu(one, other) <= capacity
    world.run(world.now + 5.0)
    assert world.mtu(one, other) == world.best(one, other)


def test_a_path_that_narrows_in_one_direction_narrows_that_one_alone() -> None:
    world = settled(used=True)
    one, other = world.hosts
    world.paths[0, 1].capacity = 1236
    world.run(40.0)
    assert (world.mtu(one, other), world.mtu(other, one)) == (1232, 1420)


def test_a_path_that_narrows_while_nobody_uses_it_is_known_soon_after_somebody_does() -> None:
    world = settled(used=False, hosts=4)
    one, other, *_ = world.hosts
    set_capacity(world, 1236)
    world.use(one, frozenset({1}))
    world.run(world.now + 0.7)
    assert world.mtu(one, other) == 1232


def test_a_path_that_widens_is_found_out_within_the_raise_interval_or_at_once_when_it_is_another() -> None:
    world = settled(used=True, capacity=1300)
    one, other = world.hosts
    assert world.mtu(one, other) == 1296
    set_capacity(world, 1440)
    world.change_path(one, other)
    world.run(world.now + 3.0)
    assert (world.mtu(one, other), world.mtu(other, one)) == (1420, 1296)
    world.run(world.now + 1.2 * RAISE_INTERVAL_S)
    assert world.mtu(other, one) == 1420


@pytest.mark.parametrize("capacity", [capacity for capacity in CAPACITIES if capacity >= 1024])
@pytest.mark.parametrize("state", ["idle", "used"])
def test_jumbo_frames_are_found_where_they_pass(capacity: int, state: str) -> None:
    world = settled(used=state == "used", most=8921, capacity=capacity)
    for one, other in (world.hosts, world.hosts[::-1]):
        assert world.mtu(one, other) == world.best(one, other)


def test_before_a_jumbo_path_has_been_measured_common_networks_are_assumed() -> None:
    world = settled(used=False, most=8921, capacity=0)
    assert world.mtu(world.hosts[0], world.hosts[1]) == 1408
    assert world.hosts[0].changes == []


def test_who_does_not_know_long_questions_keeps_what_it_had() -> None:
    world = World(seed=1, hosts=2)
    world.hosts[1].is_old = True
    for host in world.hosts:
        host.used = frozenset({1 - host.index})
        world.start(host)
    world.run(300.0)
    one, other = world.hosts
    assert world.mtu(one, other) == 1420 and one.changes == []
    assert one.mtus is not None and one.mtus.proven(other.name) is None
    recent = [when for when in one.sent if when > 100.0]
    assert len(recent) <= 2 * 200 * 1.3, "no more than questions and answers of who lives"


def test_a_cut_says_nothing_of_sizes() -> None:
    world = settled(used=True)
    one, other = world.hosts
    for path in world.paths.values():
        path.cut_until = world.now + 60.0
    world.run(world.now + 70.0)
    assert world.mtu(one, other) == 1420 and one.changes == []
    assert one.mtus is not None and one.mtus.proven(other.name) == 1420
    set_capacity(world, 1236)
    world.run(world.now + NARROWED_WITHIN_S)
    assert world.mtu(one, other) == 1232, "it is watched as before"


def test_a_restart_goes_on_with_what_was_found() -> None:
    world = settled(used=True, capacity=1236)
    one, other = world.hosts
    before = len(one.changes)
    world.start(one)
    assert world.mtu(one, other) == 1232
    world.run(world.now + 30.0)
    assert world.mtu(one, other) == 1232 and len(one.changes) == before


@pytest.mark.parametrize("loss", [0.02, 0.1])
def test_loss_alone_narrows_nothing_for_long(loss: float) -> None:
    world = settled(used=True)
    for path in world.paths.values():
        path.loss = loss
    wrong = 0
    for second in range(30, 630):
        world.run(float(second))
        wrong += world.mtu(world.hosts[0], world.hosts[1]) != 1420
    assert wrong <= 12, "two hundredths of the time"


@pytest.mark.timeout(60)
def test_of_two_hundred_peers_ten_in_use_all_probing_sends_less_than_thirty_packets_a_second() -> None:
    """Of a mesh in which every path has to be searched, as its jumbo frames get nowhere."""
    world = World(seed=1, hosts=201, most=8921, capacity=1440)
    busy = world.hosts[0]
    busy.used = frozenset(range(1, 11))
    for host in world.hosts:
        if host.index in busy.used:
            host.used = frozenset({0})
        world.at(world.rng.uniform(0, 20), partial(world.start, host))
    world.run(180.0)
    sent = [when for when in busy.sent if when > 80.0]
    assert len(sent) / 100.0 <= 30.0
    assert all(world.mtu(busy, world.hosts[other]) == 1440 for other in busy.used)
    idle = world.hosts[100]
    assert len([when for when in idle.sent if when > 80.0]) / 100.0 <= 6.0


def run_chaos(seed: int) -> World:
    rng = random.Random(seed)
    world = World(
        seed=seed,
        hosts=rng.randint(2, 4),
        most=rng.choice([1420, 1420, 1381, 8921]),
        capacity=rng.choice(CAPACITIES),
        delay_s=rng.choice([0.0005, 0.01, 0.15]),
    )
    for host in world.hosts:
        host.is_old = rng.random() < 0.1
        world.at(rng.uniform(0, 5), partial(world.start, host))
    for _ in range(rng.randint(5, 60)):
        world.at(rng.uniform(6, 300), partial(harm, world, rng))
    world.run(300, laws)
    for path in world.paths.values():
        path.loss = 0.0
    # A raise that was lost by chance is tried again after the next interval.
    world.run(300 + 3.5 * RAISE_INTERVAL_S, laws)
    for one in world.hosts:
        for other in world.hosts:
            if one is not other and not other.is_old:
                found, best = world.mtu(one, other), world.best(one, other)
                assert found == best, f"{one.name} to {other.name}: {found}, but {best} passes"
    return world


def laws(world: World) -> None:
    """What holds after every step."""
    for host in world.hosts:
        if host.changes:
            assert MTU_LEAST <= host.changes[-1][2] <= host.most


def harm(world: World, rng: random.Random) -> None:
    one, other = rng.sample(world.hosts, 2)
    path = world.paths[one.index, other.index]
    match rng.randint(0, 6):
        case 0 | 1:
            path.capacity = rng.choice(CAPACITIES)
        case 2:
            path.capacity = rng.choice(CAPACITIES)
            world.change_path(one, other)
        case 3:
            path.cut_until = world.now + rng.uniform(0.5, 30)
        case 4:
            path.loss = rng.choice([0.0, 0.01, 0.1, 0.3])
        case 5:
            world.use(one, frozenset(host.index for host in world.hosts if host is not one and rng.random() < 0.5))
        case _:
            world.start(one)


@pytest.mark.parametrize("first", range(0, len(SEEDS), SEEDS_PER_TEST))
def test_chaos(first: int) -> None:
    for seed in SEEDS[first : first + SEEDS_PER_TEST]:
        try:
            run_chaos(seed)
        except AssertionError as error:
            raise AssertionError(f"WEAVEMESH_SEED={seed}: {error}") from error
