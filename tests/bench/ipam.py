"""Benchmark: what the address ring costs, in time, on the wire and in routes. Pure: no root, no network.

Claims, for a mesh of 1,000 peers: allocate and release a median of 10 µs at most; a full ring merged in 20 ms, a delta
of one entry in 0.2 ms; the ring 32 KiB on the wire; after 10,000 grants and removals the allowed IPs per peer a median
of 2 and 6 at the 99th percentile. Beside that, what these would be with ranges cut anywhere, without alignment.
`python tests/bench/ipam.py` in the project's environment.
"""

import random
import statistics
import sys
import time
from bisect import insort
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, summarize_address_range
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tabulate import tabulate

from ipam_crdt import Allocate, Allocator, Owner, Release, RingReceived, Roster
from ipam_crdt.cidr import Block
from ipam_crdt.ring import Entry, Ring
from ipam_crdt.settlement import settled
from ipam_crdt.space import Space
from ipam_crdt.wire import encode_knowledge, knowledge_of

UNIVERSE = IPv4Network("10.32.0.0/12")
PEERS, CHANGES, PODS = 1_000, 10_000, 30
SEED = 20_261_124


class Aligned:
    """Peers that share a ring as the program does: buddies, given by `Space.donation`, settled by `settled`."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._count = 0
        self.spaces: dict[Owner, Space] = {}
        first = self._new()
        self.ring = Ring.founded(bytes(16), Block.of(UNIVERSE), (first,))
        self.spaces[first].set_owned(self.ring.blocks_of(first))
        while len(self.spaces) < PEERS:
            self.join()

    def join(self) -> None:
        """A newcomer asks for its first range and fills it with pods."""
        name = self._new()
        self.grant(name)
        for number in range(PODS):
            while self.spaces[name].allocate(f"{name}/{number}") is None:
                self.grant(name)

    def grant(self, taker: Owner) -> None:
        """One asks another, who is more likely to be asked the more he has free."""
        names = [name for name in self.spaces if name != taker]
        giver = self._rng.choices(names, [self.spaces[name].free_count for name in names])[0]
        block = self.spaces[giver].donation(Block.of(UNIVERSE))
        assert block is not None
        self._adopt(self.ring.grant(block, giver=giver, taker=taker).ring, (giver, taker))

    def expand(self) -> None:
        """Somebody needs more."""
        self.grant(self._rng.choice(sorted(self.spaces)))

    def replace(self) -> None:
        """One is removed, its estate settled; a newcomer takes its place."""
        gone = self._rng.choice(sorted(self.spaces))
        del self.spaces[gone]
        ring = self.ring.merge((), Roster.of(removed=(gone,))).ring
        executor, round_ = min(self.spaces), max(entry.title.round for entry in ring.entries) + 1
        titles = [Entry(entry.block, settled(ring, entry, round_, executor)) for entry in ring.estate()]
        self._adopt(ring.merge(titles).ring, {title.owner for _, title in titles})
        self.join()

    def allowed_ips(self) -> list[int]:
        """How many each peer has."""
        return [len(self.ring.blocks_of(name)) for name in self.spaces]

    def _new(self) -> Owner:
        self._count += 1
        name = Owner(f"{self._rng.getrandbits(64):016x}")
        self.spaces[name] = Space(Block.of(UNIVERSE), Block.of(UNIVERSE))
        return name

    def _adopt(self, ring: Ring, names: set[Owner] | tuple[Owner, ...]) -> None:
        self.ring = ring
        for name in names:
            self.spaces[name].set_owned(ring.blocks_of(name))


class Unaligned:
    """The same, but half of what is free of a peer's largest range is given wherever that half happens to begin."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._count = 0
        start = int(UNIVERSE.network_address)
        self.ranges: dict[int, list[tuple[int, int, int]]] = {0: [(start, start + UNIVERSE.num_addresses, 0)]}
        """Per peer: first address, address after the last, and who gave it."""
        while len(self.ranges) < PEERS:
            self.join()

    def join(self) -> None:
        self._count += 1
        self.ranges[self._count] = []
        self.grant(self._count)

    def grant(self, taker: int) -> None:
        names = [name for name in self.ranges if name != taker and self._largest(name)[1] > 2 * PODS]
        giver = self._rng.choices(names, [self._largest(name)[1] for name in names])[0]
        start, end, heir = self._largest(giver)[0]
        used = min(self._rng.randint(PODS, 2 * PODS), (end - start) // 2)
        middle = start + used + (end - start - used) // 2
        self.ranges[giver].remove((start, end, heir))
        insort(self.ranges[giver], (start, middle, heir))
        self._take(taker, [(middle, end, giver)])

    def expand(self) -> None:
        self.grant(self._rng.choice(sorted(self.ranges)))

    def replace(self) -> None:
        gone = self._rng.choice(sorted(self.ranges))
        estate = self.ranges.pop(gone)
        for start, end, heir in estate:
            self._take(heir if heir in self.ranges else min(self.ranges), [(start, end, heir)])
        self.join()

    def allowed_ips(self) -> list[int]:
        return [
            sum(
                1 for start, end, _ in ranges for _ in summarize_address_range(IPv4Address(start), IPv4Address(end - 1))
            )
            for ranges in self.ranges.values()
        ]

    def _largest(self, name: int) -> tuple[tuple[int, int, int], int]:
        best = max(self.ranges[name], key=lambda item: item[1] - item[0], default=(0, 0, 0))
        return best, best[1] - best[0]

    def _take(self, name: int, ranges: list[tuple[int, int, int]]) -> None:
        """Ranges that touch are joined, as anybody would."""
        joined: list[tuple[int, int, int]] = []
        for start, end, heir in sorted([*self.ranges[name], *ranges]):
            if joined and joined[-1][1] == start:
                joined[-1] = (joined[-1][0], end, joined[-1][2])
            else:
                joined.append((start, end, heir))
        self.ranges[name] = joined


def churn(mesh: Aligned | Unaligned, rng: random.Random) -> None:
    """Grants and removals in turn, as chance has it."""
    for _ in range(CHANGES):
        if rng.random() < 0.5:
            mesh.replace()
        else:
            mesh.expand()


def timed(action: Callable[[], object], *, times: int) -> list[float]:
    """Seconds of each."""
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        action()
        taken.append(time.perf_counter() - begin)
    return taken


def allocator_of(ring: Ring, owner: Owner) -> Allocator:
    """A peer that knows the whole ring."""
    allocator = Allocator(
        owner=owner, universe=UNIVERSE, electorate=None, snapshot=None, rng=random.Random(SEED), now=0.0
    )
    payload = encode_knowledge(knowledge_of(ring, ring.known(), ring.roster))
    allocator.receive(RingReceived(Owner("another"), payload), 0.0)
    allocator.outputs()
    return allocator


def measure_times(mesh: Aligned) -> list[tuple[str, str, str, str]]:
    """Rows: what, median, 99th percentile, claim."""
    ring = mesh.ring
    owner = max(mesh.spaces, key=lambda name: mesh.spaces[name].free_count)
    allocator = allocator_of(ring, owner)
    space = mesh.spaces[owner]

    def in_space() -> None:
        space.allocate("bench")
        space.release("bench")

    def in_allocator() -> None:
        allocator.receive(Allocate("bench", 1.0), 0.0)
        allocator.receive(Release("bench"), 0.0)

    def persisted() -> None:
        in_allocator()
        allocator.outputs()

    empty = Ring.unknown(ring.ring_id, ring.universe)
    known = ring.known()
    block = mesh.spaces[owner].donation(ring.universe)
    assert block is not None
    delta = ring.grant(block, giver=owner, taker=min(mesh.spaces)).news
    rows = [
        ("allocate + release, in the space", timed(in_space, times=20_000), "10 µs"),
        ("allocate + release, by the allocator's door", timed(in_allocator, times=20_000), "10 µs"),
        ("the same, and the snapshot to be kept", timed(persisted, times=2_000), ""),
        ("merge of the full ring into an empty one", timed(lambda: empty.merge(known, ring.roster), times=30), "20 ms"),
        ("merge of the full ring into itself", timed(lambda: ring.merge(known, ring.roster), times=30), "20 ms"),
        ("merge of a delta of one entry", timed(lambda: ring.merge(delta), times=2_000), "0.2 ms"),
    ]
    return [
        (what, _time(statistics.median(taken)), _time(_percentile(taken, 0.99)), at_most)
        for what, taken, at_most in rows
    ]


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} µs" if seconds < 1e-3 else f"{seconds * 1e3:.2f} ms"


def _percentile(values: list[float] | list[int], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def wire_bytes(ring: Ring) -> int:
    """Of the whole ring, with the names of all members, the removed ones too."""
    return len(encode_knowledge(knowledge_of(ring, ring.known(), ring.roster)))


def main() -> None:
    """Print the tables."""
    rng = random.Random(SEED)
    mesh = Aligned(rng)
    print(tabulate(measure_times(mesh), headers=["what, with 1,000 peers", "median", "99 %", "claim: median at most"]))
    new_bytes, new_entries = wire_bytes(mesh.ring), len(mesh.ring.entries)
    rows = [_spread("with buddies, at first", mesh.allowed_ips())]
    other = Unaligned(random.Random(SEED))
    rows.append(_spread("ranges cut anywhere, at first", other.allowed_ips()))
    churn(mesh, rng)
    churn(other, random.Random(SEED))
    rows.append(_spread(f"with buddies, after {CHANGES:,} changes (claim: 2 and 6)", mesh.allowed_ips()))
    rows.append(_spread(f"ranges cut anywhere, after {CHANGES:,} changes", other.allowed_ips()))
    print()
    print(tabulate(rows, headers=["allowed IPs per peer", "mean", "median", "99 %", "most"]))
    print()
    removed = len(mesh.ring.roster.removed)
    print(
        tabulate(
            [
                ("1,000 peers, new (claim: 32 KiB)", new_entries, f"{new_bytes / 1024:.1f}"),
                (
                    f"after the changes, {removed:,} peers removed",
                    len(mesh.ring.entries),
                    f"{wire_bytes(mesh.ring) / 1024:.1f}",
                ),
            ],
            headers=["the whole ring on the wire", "entries", "KiB"],
        )
    )


def _spread(what: str, counts: list[int]) -> tuple[str, str, float, float, int]:
    mean = f"{statistics.mean(counts):.2f}"
    return what, mean, statistics.median(counts), _percentile(counts, 0.99), max(counts)


if __name__ == "__main__":
    main()
