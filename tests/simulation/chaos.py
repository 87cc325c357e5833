"""What befalls a World, all of it drawn from one seed: pods come and go, peers fall, wires are cut, peers are removed.

Then all is healed, and everything has to be as it should be.
"""

import itertools
import random
from dataclasses import dataclass
from functools import partial

from ipam_crdt import Allocate, Claim, Leave, Release, Remove
from tests.simulation.ipam_world import Host, World

CHAOS_S = 25.0
SIEGE_RATE = 0.2
FAST, MEDIUM, SLOW = (0.001, 0.01), (0.001, 0.2), (0.05, 2.0)
PATIENCE_S = 8.0


@dataclass(frozen=True)
class Plan:
    """What kind of world it will be."""

    is_siege: bool
    host_count: int
    prefix_length: int
    loss: float
    delay_s: tuple[float, float]

    @property
    def universe(self) -> str:
        return f"10.32.0.0/{self.prefix_length}"


def draw(rng: random.Random) -> Plan:
    """A plan."""
    if rng.random() < SIEGE_RATE:
        return Plan(True, rng.randint(5, 8), rng.choice([28, 27]), rng.choice([0.0, 0.05]), rng.choice([FAST, MEDIUM]))
    prefix_length = rng.choice([29, 28, 27, 26, 24, 20])
    loss = rng.choice([0.0, 0.05, 0.2, 0.4])
    return Plan(False, rng.randint(2, 8), prefix_length, loss, rng.choice([FAST, MEDIUM, SLOW]))


def run_chaos(seed: int) -> World:
    """One world, all of it drawn from the seed."""
    rng = random.Random(seed)
    plan = draw(rng)
    world = World(seed=seed, host_count=plan.host_count, universe=plan.universe, loss=plan.loss, delay_s=plan.delay_s)
    run_in(world, rng, plan)
    return world


def run_in(world: World, rng: random.Random, plan: Plan) -> None:
    """Harm the world for a while, heal it, and see that all is as it should be."""
    world.crash_rate = rng.choice([0.0, 0.0, 0.005, 0.03])
    world.has_removals = plan.is_siege or rng.random() < 0.6
    disturbances = rng.randint(20, 120)
    with world.reporting():
        if plan.is_siege:
            world.crash_rate /= 10
            disturbances = rng.choice([0, 0, 10])
            besiege(world, rng)
        else:
            latest = rng.choice([3, 3, CHAOS_S])
            for host in world.hosts:
                world.at(rng.uniform(0, latest), partial(start, world, host))
        for _ in range(disturbances):
            world.at(rng.uniform(0.5, CHAOS_S), partial(disturb, world, rng))
        world.run(CHAOS_S)
        world.settle()
        if plan.prefix_length >= 26:
            world.exhaust()
            world.settle()


def start(world: World, host: Host) -> None:
    if host.allocator is None:
        world.start(host)


def disturb(world: World, rng: random.Random) -> None:
    """Do one thing that happens in the world."""
    one, other = rng.choice(world.hosts), rng.choice(world.hosts)
    deeds = [allocate, allocate, allocate, claim, claim_of_another, release, release, fall, fall, cut, part, heal]
    deeds += [remove, rng.choice([remove_both_sides, leave, remove, heal])] if world.has_removals else []
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
    part_from(world, world.hosts[:middle], world.hosts[middle:])


def part_from(world: World, some: list[Host], others: list[Host]) -> None:
    for one, other in itertools.product(some, others):
        world.cut(one, other)
        world.cut(other, one)


def remove(world: World, rng: random.Random, one: Host, other: Host) -> None:
    """Somebody is taken for dead, rightly or not; he may be down, cut off, or in the best of health."""
    fate = rng.random()
    if fate < 0.4 and other.allocator is not None:
        world.crash(other)
    elif fate < 0.7:
        part_from(world, [other], world.hosts)
    world.feed(one, Remove(other.name))


def besiege(world: World, rng: random.Random) -> None:
    """A peer is cut off, gives space to newcomers of whom nobody else has heard, and is removed by the others.

    One of these is away, so that they cannot agree yet. Another agrees, is cut off, too, but meets a newcomer, and
    needs space. Then the one who was away comes back.
    """
    executor, *rest = world.hosts
    besieged, newcomer, open_to, away, *rest = rng.sample(rest, k=len(rest))
    others = [executor, open_to, away, *rest]
    for host in (besieged, *others):
        world.at(rng.uniform(0, 1), partial(start, world, host))
        for _ in range(2):
            world.at(rng.uniform(2, 4.5), partial(allocate, world, rng, host, host))
    world.at(5.0, partial(part_from, world, [besieged, newcomer], others))
    world.at(5.5, partial(start, world, newcomer))
    for _ in range(3):
        world.at(rng.uniform(6, 8.5), partial(allocate, world, rng, newcomer, newcomer))
    world.at(rng.uniform(7, 8), partial(fall, world, rng, away, away))
    world.at(9.0, lambda: world.feed(rng.choice([executor, open_to]), Remove(besieged.name)))
    world.at(13.0, partial(part_from, world, [open_to], [executor, away, *rest]))
    world.at(13.0, partial(world.mend, newcomer, open_to))
    if rng.random() < 0.3:
        world.at(13.5, partial(fall, world, rng, open_to, open_to))
        world.at(14.0, partial(start, world, open_to))
    for _ in range(8):
        world.at(rng.uniform(14, 20), partial(allocate, world, rng, open_to, open_to))
    world.at(rng.uniform(19, 22), partial(start, world, away))


def remove_both_sides(world: World, rng: random.Random, one: Host, other: Host) -> None:
    """A partition, and on both sides a person removes the same dead peer, or those of the other side."""
    part(world, rng, one, other)
    third = rng.choice(world.hosts)
    for host in (one, other):
        world.feed(host, Remove(rng.choice([third, one, other]).name))


def leave(world: World, _: random.Random, one: Host, __: Host) -> None:
    world.feed(one, Leave())


def heal(world: World, _: random.Random, _one: Host, _other: Host) -> None:
    world.heal()
