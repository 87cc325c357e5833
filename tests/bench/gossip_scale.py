"""How the gossip scales, in simulation: python tests/bench/gossip_scale.py [PEERS …], by default 100 and 1000.

Peers of the real core (`gossip.Mesh`) in the virtual world of tests/simulation, 50 ms from each to each, all told to
join the same three. Printed: how fast a change reaches everybody, links, steady traffic and processor time per peer,
silent deaths, and two halves that meet after ten minutes. Signatures are not checked and TLS is not there: processor
time is that of the core and of this simulator, whose peers push each other out of the processor's caches. So in the end
a few cores hear the inputs of one minute once more, each alone. A real signature costs about 0.1 ms to check.
"""

from __future__ import annotations

import functools
import gc
import random
import sys
import time
from functools import partial
from pathlib import Path
from statistics import mean, median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gossip import Input, PeerName, store
from gossip.record import open_body
from tests.simulation.gossip_world import Host, World

DELAY_S = 0.05
FRAME_OVERHEAD_BYTES = 4 + 22 + 52
"""Around each frame on the wire, if it travels alone: its length, TLS 1.3's record, TCP and IPv4 headers."""

START_S = 5.0
SETTLE_S = 90.0
STEADY_S = 60.0
CHANGES = 20
DEATHS = 5
PARTED_S = 600.0
CORES_ALONE = 10
ROUNDS = 5


class Watch:
    """When each host heard of a change of one peer."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._peer: PeerName | None = None
        self._since = 0.0
        self._heard: dict[int, float] = {}
        world.observe = self._changed

    def begin(self, peer: PeerName) -> None:
        self._peer, self._since, self._heard = peer, self._world.now, {}

    def delays(self) -> list[float]:
        return sorted(self._heard.values())

    def _changed(self, host: Host, peer: PeerName) -> None:
        if peer == self._peer and host.name != peer:
            self._heard.setdefault(host.index, self._world.now - self._since)


class Clock:
    """Processor time of what is done inside, and virtual time."""

    def __init__(self, world: World, what: str) -> None:
        self._world, self._what = world, what

    def __enter__(self) -> Clock:
        self._cpu, self._virtual = time.process_time(), self._world.now
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu_s = time.process_time() - self._cpu
        self.virtual_s = self._world.now - self._virtual
        print(f"    ({self._what}: {self.virtual_s:.0f} s in {self.cpu_s:.1f} s of one core)", flush=True)


def formed(count: int) -> World:
    """A mesh of `count` that has come to rest."""
    world = World(seed=1, host_count=count, delay_s=(DELAY_S, DELAY_S), verify=lambda *_: True)
    rng = random.Random(2)
    seeds = [host.target for host in world.hosts[:3]]
    for host in world.hosts:
        world.at(rng.uniform(0, START_S), partial(world.start, host, *seeds))
    with Clock(world, "forming"):
        world.run(START_S)
        took = world.run_until(world.all_reach_all, at_most_s=120, step_s=0.25)
        print(f"  all know each other after the last start    {took:.2f} s")
        show_received(world, "until then")
        world.run(SETTLE_S)
        world.run_until(world.agrees, at_most_s=30, step_s=0.25)
        show_received(world, "until all is at rest")
    return world


def show_received(world: World, when: str) -> None:
    """Print how much each peer received so far (what is under way is little)."""
    count = len(world.hosts)
    frames = sum(host.frames_sent for host in world.hosts) / count
    kib = sum(host.bytes_sent for host in world.hosts) / count / 1024
    said = mean(host.mesh.peers()[0].version for host in world.hosts if host.mesh is not None)
    print(f"    {when}: {frames:.0f} frames, {kib:.0f} KiB per peer; each wrote {said:.1f} records")


def measure_links(world: World) -> None:
    links = [len(host.mesh.links()) for host in world.hosts if host.mesh is not None]
    print(f"  links per peer                              {min(links)} to {max(links)}, mean {mean(links):.1f}")


def measure_steady(world: World) -> None:
    before = [(host.bytes_sent, host.frames_sent) for host in world.hosts]
    with Clock(world, "steady") as clock:
        world.run(STEADY_S)
    count = len(world.hosts)
    sent = sum(host.bytes_sent for host in world.hosts) - sum(sent for sent, _ in before)
    frames = sum(host.frames_sent for host in world.hosts) - sum(frames for _, frames in before)
    plain, wire = sent / STEADY_S / count, (sent + frames * FRAME_OVERHEAD_BYTES) / STEADY_S / count
    print(f"  steady, sent per peer                       {wire:.0f} B/s on the wire ({plain:.0f} B/s of frames)")
    print(f"  steady, processor time per peer             {clock.cpu_s / STEADY_S / count * 1e6:.0f} us a second")


class Minute:
    """All inputs of a few hosts, to be heard once more by each of them alone."""

    def __init__(self, world: World) -> None:
        step = max(1, len(world.hosts) // CORES_ALONE)
        self._heard: dict[int, list[tuple[Input | None, float]]] = {host.index: [] for host in world.hosts[::step]}
        self._world = world
        world.overhear = self._overheard
        self._begin = world.now
        world.run(STEADY_S)
        world.overhear = None

    def _overheard(self, host: Host, event: Input | None) -> None:
        if host.index in self._heard:
            self._heard[host.index].append((event, self._world.now))

    def replay(self) -> float:
        """Return the processor time per virtual second of one core; the world is of no use afterwards."""
        cpu_s = 0.0
        for index, heard in self._heard.items():
            mesh = self._world.hosts[index].mesh
            assert mesh is not None
            for number in range(1, ROUNDS + 1):
                begin, shift_s = time.process_time(), number * STEADY_S
                for event, when in heard:
                    if event is None:
                        mesh.tick(when + shift_s)
                    else:
                        mesh.receive(event, when + shift_s)
                    mesh.outputs()
                    mesh.deadline()
                cpu_s += time.process_time() - begin
            assert all(not link.in_doubt for link in mesh.links()), "the same again is no silence"
        return cpu_s / len(self._heard) / ROUNDS / STEADY_S


def measure_core(world: World) -> None:
    print(f"  the same, of the core alone                 {Minute(world).replay() * 1e6:.0f} us a second")


def measure_changes(world: World) -> None:
    rng, watch, delays = random.Random(3), Watch(world), []
    for number in range(CHANGES):
        host = rng.choice(world.hosts)
        watch.begin(host.name)
        world.describe(host, b"change %d" % number)
        world.run(3.0)
        heard = watch.delays()
        assert len(heard) == len(world.hosts) - 1, "somebody did not hear"
        delays += heard
    delays.sort()
    p99 = delays[int(0.99 * len(delays))]
    print(
        f"  a change is known after                     {median(delays):.2f} s median, {p99:.2f} s p99, "
        f"{delays[-1]:.2f} s by the last"
    )


def measure_deaths(world: World) -> None:
    rng, took = random.Random(4), []
    for _ in range(DEATHS):
        host = rng.choice(world.alive())
        world.crash(host, is_silent=True)
        took.append(world.run_until(partial(nobody_reaches, world, host), at_most_s=30, step_s=0.05))
        world.run(20.0)
    print(f"  a silent death is seen by all after         {median(took):.2f} s median, {max(took):.2f} s at worst")
    for host in world.hosts:
        if host.mesh is None:
            world.start(host, world.hosts[0].target)
    world.run_until(world.agrees, at_most_s=60, step_s=0.25)
    world.run(30.0)


def nobody_reaches(world: World, host: Host) -> bool:
    views = (other.mesh.peer(host.name) for other in world.alive() if other.mesh is not None)
    return not any(view is not None and view.reachable for view in views)


def measure_partition(world: World) -> None:
    middle = len(world.hosts) // 2
    world.part(world.hosts[:middle], world.hosts[middle:])
    rng = random.Random(5)
    with Clock(world, "parted"):
        for number in range(10):
            for half in (world.hosts[:middle], world.hosts[middle:]):
                host = rng.choice(half)
                world.describe(host, b"parted %d" % number)
                world.say(host, b"word %d of %d" % (number, host.index))
            world.run(PARTED_S / 10)
    assert not world.agrees()
    world.heal()
    with Clock(world, "meeting"):
        took = world.run_until(world.agrees, at_most_s=60, step_s=0.05)
        print(f"  halves parted for {PARTED_S / 60:.0f} minutes agree after      {took:.2f} s")
        world.run(60.0)


def main() -> None:
    gc.disable()  # a million records are no garbage, and looking through them takes longer than all else
    vars(store)["open_body"] = functools.lru_cache(maxsize=100_000)(
        open_body
    )  # a thousand peers read the same bytes here
    for count in [int(text) for text in sys.argv[1:]] or [100, 1000]:
        print(f"{count} peers, {DELAY_S * 1000:.0f} ms one way")
        world = formed(count)
        measure_links(world)
        measure_steady(world)
        measure_changes(world)
        measure_deaths(world)
        measure_partition(world)
        measure_links(world)
        measure_core(world)


if __name__ == "__main__":
    main()
