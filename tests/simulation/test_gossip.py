"""Meshes in the World: whatever happens, nobody believes what was never said, and when it is over all agree.

WEAVEMESH_SEEDS=N runs N seeds instead of the default; WEAVEMESH_SEED=S runs that one alone. A failure names its seed.
"""

from __future__ import annotations

import gc
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest

from gossip import Counters, FencePeers, TargetPhase, author
from gossip.discovery import links_wanted
from gossip.record import RecordBody
from gossip.snapshot import decode_snapshot
from gossip.trimmer import SPARE
from tests.simulation.gossip_world import Host, World

SEEDS_DEFAULT = 100
SEEDS_PER_TEST = 20
CHAOS_S = 20.0
HARMLESS = ("stale", "overtaken", "unroutable", "replayed", "strangers")
"""Counters that crashes, cuts and restored backups may raise."""

QUIET_S = 10.0
SETTLED_S = 70.0
"""Two of the longest back-offs, and the silence after which links are given up."""


def seeds() -> range:
    if "WEAVEMESH_SEED" in os.environ:
        seed = int(os.environ["WEAVEMESH_SEED"])
        return range(seed, seed + 1)
    return range(int(os.environ.get("WEAVEMESH_SEEDS", SEEDS_DEFAULT)))


class FutureBody(RecordBody, frozen=True, omit_defaults=False):
    """The body of a record of some later release."""

    future: str = "unheard of"


def run_chaos(seed: int) -> World:
    """Start hosts, harm them for a while, heal everything, and see that all is as it should be."""
    rng = random.Random(seed)
    delay_s = rng.choice([(0.001, 0.01), (0.001, 0.2), (0.05, 0.05)])
    world = World(seed=seed, host_count=rng.randint(2, 7), delay_s=delay_s)
    with world.reporting():
        for host in world.hosts:
            world.at(rng.uniform(0, 2), partial(start, world, rng, host))
        for _ in range(rng.randint(5, 40)):
            world.at(rng.uniform(1, CHAOS_S), partial(harm, world, rng))
        world.run(CHAOS_S)
        world.heal()
        for host in world.hosts:
            if host.mesh is None:
                start(world, rng, host)
        world.run_until(world.agrees, at_most_s=SETTLED_S)
        assert_settled(world)
    return world


def start(world: World, rng: random.Random, host: Host) -> None:
    """Start a host towards a few others; the chain over all keeps the mesh connectable."""
    if host.mesh is not None:
        return
    others = [world.hosts[host.index - 1].target] if host.index > 0 else []
    others += [rng.choice(world.hosts).target for _ in range(rng.randint(0, 2))]
    world.start(host, *dict.fromkeys(others))


def harm(world: World, rng: random.Random) -> None:
    """Do one thing that happens in the world."""
    one, other = rng.choice(world.hosts), rng.choice(world.hosts)
    rng.choice([fall, fall, cut_one, cut_many, heal, freeze, clog, speak, speak])(world, rng, one, other)


def fall(world: World, rng: random.Random, one: Host, _: Host) -> None:
    """Crash what runs and start what does not; now and then with a restored backup, which knows no epochs any more."""
    if one.mesh is None:
        start(world, rng, one)
        return
    world.crash(one, is_silent=rng.random() < 0.5)
    if rng.random() < 0.2:
        one.disk, one.epoch, one.has_lost_count = None, 0, True
        start(world, rng, one)


def cut_one(world: World, _: random.Random, one: Host, other: Host) -> None:
    if one is not other:
        world.cut(one, other)


def cut_many(world: World, rng: random.Random, _one: Host, _other: Host) -> None:
    middle = rng.randint(1, len(world.hosts) - 1)
    for left in world.hosts[:middle]:
        for right in world.hosts[middle:]:
            world.cut(left, right)


def freeze(world: World, rng: random.Random, one: Host, _: Host) -> None:
    world.freeze(one, rng.choice([0.5, 2.0, 10.0]))


def clog(world: World, rng: random.Random, one: Host, _: Host) -> None:
    if one.mesh is None:
        return
    life = one.life
    world.clog(one, is_clogged=True)

    def unclog() -> None:
        if one.mesh is not None and one.life == life:
            world.clog(one, is_clogged=False)

    world.at(world.now + rng.uniform(0.1, 5.0), unclog)


def heal(world: World, _: random.Random, _one: Host, _other: Host) -> None:
    world.heal()


def speak(world: World, _: random.Random, one: Host, other: Host) -> None:
    if one.mesh is not None:
        world.describe(one, b"step %d" % world.steps)
        world.say(one, b"word%d" % world.steps)
        world.unicast(one, other, b"to you %d" % world.steps)


def no_target_waits(world: World) -> bool:
    """Tell whether every target has been found, after however long a back-off."""
    views = [view for host in world.hosts if host.mesh is not None for view in host.mesh.targets()]
    return all(view.phase in (TargetPhase.LINKED, TargetPhase.REACHED, TargetPhase.OURSELVES) for view in views)


class Quiet:
    """Whether no link came for QUIET_S."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._opened = -1
        self._since = 0.0

    def __call__(self) -> bool:
        if self._world.links_opened() != self._opened:
            self._opened, self._since = self._world.links_opened(), self._world.now
        return self._world.now - self._since >= QUIET_S


def assert_settled(world: World) -> None:
    """All agree about everything, no two links join one pair, nobody dials any more, unicasts arrive once."""
    world.run_until(partial(no_target_waits, world), at_most_s=45)
    world.run_until(Quiet(world), at_most_s=100)
    assert world.agrees()
    assert len(set(world.topologies())) == 1
    for host in world.hosts:
        assert host.mesh is not None
        peers = [view.peer for view in host.mesh.links()]
        assert len(peers) == len(set(peers)), "two links to one peer"
        assert len(peers) >= min(links_wanted(len(world.hosts)), len(world.hosts) - 1)
        counters = host.mesh.counters()
        # Who has lost all memory may get a unicast before it knows its source again.
        expected = msgspec.structs.replace(Counters(), **{name: getattr(counters, name) for name in HARMLESS})
        assert counters == expected
    for host in world.hosts:
        for other in world.hosts:
            if host is not other:
                world.unicast(host, other, b"finally")
    world.run(3.0)
    for host in world.hosts:
        senders = [source for source, payload in host.unicasts if payload == b"finally"]
        assert len(senders) == len(dict.fromkeys(senders))
        sure = [other.name for other in world.hosts if other is not host and not other.has_lost_count]
        assert [sender for sender in sure if sender not in senders] == []


@pytest.mark.parametrize("batch", range(-(-len(seeds()) // SEEDS_PER_TEST)))
def test_all_agree_after_any_harm(batch: int) -> None:
    for seed in seeds()[batch * SEEDS_PER_TEST : (batch + 1) * SEEDS_PER_TEST]:
        run_chaos(seed)


def test_a_restart_remembers_peers_and_targets_but_reaches_nobody_yet() -> None:
    world = World(seed=1, host_count=3)
    with world.reporting():
        world.start(world.hosts[0])
        world.start(world.hosts[1], world.hosts[0].target)
        world.start(world.hosts[2], world.hosts[1].target)
        world.run_until(world.agrees, at_most_s=5)
        host = world.hosts[2]
        world.crash(host, is_silent=False)
        for other in world.hosts[:2]:
            world.cut(host, other)
        world.start(host)
        assert host.mesh is not None
        me, *others = host.mesh.peers()
        assert [view.name for view in others] == sorted(world.hosts[index].name for index in (0, 1))
        assert me.reachable
        assert [(view.reachable, view.last_heard) for view in others] == [(False, None)] * 2
        assert all(view.summary for view in others)
        assert [view.target for view in host.mesh.targets()] == [world.hosts[1].target]
        world.heal()
        world.run_until(world.agrees, at_most_s=10)


@pytest.mark.timeout(90)
@pytest.mark.parametrize("host_count", [3, 7, 50])
def test_a_silently_dead_peer_is_unreachable_for_all_within_five_seconds(host_count: int) -> None:
    world = World(seed=2, host_count=host_count, delay_s=(0.01, 0.05))
    with world.reporting():
        for host in world.hosts:
            world.start(host, world.hosts[0].target)
        world.run_until(world.agrees, at_most_s=30)
        world.run(20)
        dead_host = world.hosts[2]
        world.crash(dead_host, is_silent=True)

        def is_seen_by_all() -> bool:
            return all(host.mesh is None or dead_host.name not in host.mesh.reachable() for host in world.hosts)

        world.run_until(is_seen_by_all, at_most_s=5, step_s=0.1)
        for host in world.alive():
            assert host.mesh is not None
            dead = host.mesh.peer(dead_host.name)
            assert dead is not None
            assert dead.summary, "its record stays"
            assert dead.last_heard is not None


@pytest.mark.timeout(90)
def test_starved_hosts_are_not_taken_for_dead() -> None:
    world = World(seed=8, host_count=20, delay_s=(0.01, 0.05))
    rng = random.Random(8)
    with world.reporting():
        for host in world.hosts:
            world.start(host, world.hosts[0].target)
        world.run_until(world.agrees, at_most_s=10)
        world.run(20)
        for _ in range(1200):
            world.freeze(rng.choice(world.hosts), rng.uniform(0.1, 1.5))
            world.run(0.1)
            for host in world.hosts:
                assert host.mesh is not None
                assert len(host.mesh.reachable()) == 19, "a false alarm"


@pytest.mark.timeout(90)
def test_a_hub_that_all_were_told_to_join_ends_up_like_any_peer() -> None:
    world = World(seed=9, host_count=70, delay_s=(0.05, 0.05))
    with world.reporting():
        hub = world.hosts[0].target
        for host in world.hosts:
            world.start(host, hub)
        world.run_until(world.agrees, at_most_s=60)
        world.run(60)
        links = [len(host.mesh.links()) for host in world.hosts if host.mesh is not None]
        assert min(links) >= links_wanted(70)
        assert max(links) <= links_wanted(70) + SPARE
        opened = world.links_opened()
        world.run(30)
        assert world.links_opened() == opened, "and then there is peace"


@pytest.mark.parametrize("seed", range(5))
def test_a_removed_peer_is_gone_for_ever_whoever_hears_of_it_first(seed: int) -> None:
    world = World(seed=seed, host_count=8)
    rng = random.Random(seed)
    removed, *others = world.hosts
    with world.reporting():
        for host in world.hosts:
            world.start(host, world.hosts[1].target)
        world.run_until(world.agrees, at_most_s=20)
        for host in others[:4]:
            world.cut(removed, host)
        for host in others:
            world.at(world.now + rng.uniform(0, 20), partial(world.feed, host, FencePeers((removed.name,))))
        world.run(20)
        world.heal()
        world.describe(removed, b"I am still here")
        world.run(60)
        for host in others:
            assert host.mesh is not None
            assert host.mesh.peer(removed.name) is None
            assert len(host.mesh.reachable()) == len(others) - 1
            assert removed.name not in [link.peer for link in host.mesh.links()]
        assert removed.mesh is not None
        assert removed.mesh.links() == ()
        assert removed.fenced_by, "it was told"
        assert len({host.mesh.fingerprint() for host in others if host.mesh is not None}) == 1


def test_a_later_release_and_a_channel_of_its_own_live_beside_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hosts at the ends of a chain are of a release that has one more field in its body."""
    world = World(seed=10, host_count=4, discovery=False)
    with world.reporting():
        for host in world.hosts:
            with monkeypatch.context() as patch:
                if host.index in (0, 3):
                    patch.setattr(author, "RecordBody", FutureBody)
                world.start(host, *([world.hosts[host.index - 1].target] if host.index else []))
        world.run_until(world.agrees, at_most_s=10)
        first, *_, last = world.hosts
        assert first.mesh is not None and last.mesh is not None
        future = [
            record
            for record in decode_snapshot(last.mesh.snapshot()).records
            if msgspec.msgpack.decode(record.body).get("future") == "unheard of"
        ]
        assert sorted(record.origin for record in future) == sorted((first.name, last.name))
        assert [host.mesh.counters() for host in world.hosts if host.mesh is not None] == [Counters()] * 4


def test_two_halves_find_each_other_after_a_partition() -> None:
    world = World(seed=3, host_count=12)
    with world.reporting():
        for host in world.hosts:
            world.start(host, world.hosts[0].target)
        world.run_until(world.agrees, at_most_s=10)
        for left in world.hosts[:6]:
            for right in world.hosts[6:]:
                world.cut(left, right)
        world.run(60)
        world.say(world.hosts[1], b"left")
        world.say(world.hosts[10], b"right")
        world.describe(world.hosts[2], b"changed")
        world.describe(world.hosts[9], b"changed too")
        world.run(120)
        assert not world.agrees()
        world.heal()
        world.run_until(world.agrees, at_most_s=30)
        assert len(set(world.topologies())) == 1


def test_without_discovery_a_chain_stays_a_chain_and_unicasts_cross_it() -> None:
    world = World(seed=4, host_count=6, discovery=False)
    with world.reporting():
        for host in world.hosts:
            world.start(host, *([world.hosts[host.index - 1].target] if host.index else []))
        world.run_until(world.agrees, at_most_s=10)
        world.run(20)
        assert world.links_opened() == 2 * 5
        first, last = world.hosts[0], world.hosts[-1]
        assert first.mesh is not None
        view = first.mesh.peer(last.name)
        assert view is not None
        assert (view.hops, view.next_hop, view.linked) == (5, world.hosts[1].name, None)
        world.unicast(first, last, b"across")
        world.run(2)
        assert last.unicasts == [(first.name, b"across")]


def test_machines_with_one_identity_overtake_each_other_at_a_walking_pace() -> None:
    world = World(seed=5, host_count=4)
    original, clone, *others = world.hosts
    clone.signer = original.signer
    clone.said = original.said
    with world.reporting():
        for host in others:
            world.start(host, others[0].target)
        world.start(original, others[0].target)
        world.start(clone, others[1].target)
        world.run(5)
        before = [host.frames_sent for host in world.hosts]
        world.run(20)
        for host, sent in zip(world.hosts, before, strict=True):
            assert (host.frames_sent - sent) / 20 < 40, "frames a second"
        assert original.mesh is not None
        assert original.mesh.counters().overtaken > 0, "the clone is noticed"


@pytest.mark.timeout(90)
def test_fifty_peers_keep_few_links_and_say_little() -> None:
    world = World(seed=6, host_count=50, delay_s=(0.05, 0.05))
    with world.reporting():
        for host in world.hosts:
            world.start(host, world.hosts[max(0, host.index - 1)].target)
        world.run_until(world.agrees, at_most_s=10)
        world.run(20)
        links = [len(host.mesh.links()) for host in world.hosts if host.mesh is not None]
        assert min(links) >= 3
        assert max(links) <= 14
        bytes_before = sum(host.bytes_sent for host in world.hosts)
        opened = world.links_opened()
        world.run(10)
        assert (sum(host.bytes_sent for host in world.hosts) - bytes_before) / 10 / 50 <= 2048, (
            "bytes a second and peer"
        )
        assert world.links_opened() == opened


@pytest.fixture
def _no_garbage_collection() -> Iterator[None]:
    """A million records are no garbage, and looking through them takes longer than all else."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("_no_garbage_collection")
def test_three_hundred_peers_meet_at_once_and_hear_of_a_change() -> None:
    """A thousand are in tests/bench/gossip_scale.py."""
    world = World(seed=12, host_count=300, delay_s=(0.05, 0.05))
    rng = random.Random(12)
    hubs = tuple(host.target for host in world.hosts[:3])
    with world.reporting():
        for host in world.hosts:
            world.at(rng.uniform(0, 1), partial(world.start, host, *hubs))
        world.run(1)
        world.run_until(world.all_reach_all, at_most_s=10)
        received = sum(host.frames_sent for host in world.hosts) / 300
        assert received <= 300, "frames per peer: each says little while the mesh forms"
        speaker = world.hosts[100]
        world.describe(speaker, b"changed")
        world.run_until(partial(all_have_heard, world, speaker, b"changed"), at_most_s=3, step_s=0.1)


def all_have_heard(world: World, speaker: Host, text: bytes) -> bool:
    views = [host.mesh.peer(speaker.name) for host in world.hosts if host.mesh is not None]
    return all(view is not None and view.summary is not None and view.summary.endswith(text) for view in views)


HASH_SEED_PROGRAM = "from tests.simulation.test_gossip import run_chaos; print(run_chaos(7).trace_hash())"


def test_a_run_does_not_depend_on_the_hash_seed() -> None:
    traces = [
        subprocess.run(
            [sys.executable, "-c", HASH_SEED_PROGRAM],
            cwd=Path(__file__).resolve().parents[2],
            env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": "."},
            capture_output=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert traces[0] == traces[1]
