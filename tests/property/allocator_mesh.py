"""A few real allocators, their disks, and a network that a test holds in its hands; and what is checked at each step.

Checked here, because it needs one peer only: what is told is on disk already, no version goes back, no address is
forgotten, and `check()` finds nothing. The machine that drives it checks what needs several.
"""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from random import Random
from typing import NamedTuple

from ipam_crdt import (
    Allocated,
    Allocator,
    Announce,
    Electorate,
    Input,
    MessageReceived,
    Output,
    Owner,
    Persist,
    RingReceived,
    Send,
)
from ipam_crdt.ring import ROUND_BITS, Ring, Title
from ipam_crdt.snapshot import read_snapshot
from ipam_crdt.vote import VOTES_FORMAT
from ipam_crdt.wire import Knowledge, decode_knowledge, decode_message

UNIVERSE = IPv4Network("10.0.0.0/28")
NAMES = tuple(Owner(name) for name in ("anne", "bert", "carl", "dora", "emil"))
NETWORK_MAX = 200
"""Messages under way; the oldest are lost beyond that."""
DIALOGUE_MAX = 2_000
"""Messages after which a conversation must long have ended."""


class Use(NamedTuple):
    """An address that an ident has."""

    address: IPv4Address
    title: Title
    """By which the peer held the address when it was first seen in use."""


@dataclass(eq=False)
class Host:
    """One peer: what runs, what is on its disk, and what is known of both."""

    name: Owner
    electorate: Electorate | None
    allocator: Allocator | None = None
    disk: bytes | None = None
    kept: Ring | None = None
    """The ring on its disk."""
    ring: Ring | None = None
    """The ring that it holds, or while it is down the one on its disk."""
    told: dict[str, IPv4Address] = field(default_factory=dict)
    """Addresses answered and not released since: never to be forgotten."""
    uses: dict[str, Use] = field(default_factory=dict)
    lives: int = 0
    fuse: int | None = None
    """After so many outputs it crashes."""


class Mesh:
    """All peers, by name; nothing happens by itself."""

    def __init__(self) -> None:
        self.now = 0.0
        self.hosts: dict[Owner, Host] = {}
        self.network: list[tuple[Owner, Input]] = []
        """What is under way, and to whom."""
        self._settled: dict[int, dict[Title, frozenset[Owner]]] = {}
        """Of each address that was settled, by which titles, and whom each executor knew then."""
        self._roots: dict[int, dict[Title, Title]] = {}
        """Of each title of each address, the founder's or the settlement's from which it was passed on."""

    def removed(self) -> frozenset[Owner]:
        """All whom anybody knows to be removed."""
        rings = [host.ring for host in self.hosts.values() if host.ring is not None]
        return frozenset(name for ring in rings for name in ring.roster.removed)

    def is_unheard_of(self, name: Owner, address: int, title: Title) -> bool:
        """Whether it ended by a settlement whose executor did not know of the peer, and does not come from that."""
        root = self._roots[address][title]
        return any(
            settled != root and settled.round >= root.round and name not in members
            for settled, members in self._settled.get(address, {}).items()
        )

    def start(self, host: Host) -> None:
        host.lives += 1
        host.allocator = Allocator(
            owner=host.name,
            universe=UNIVERSE,
            electorate=host.electorate,
            snapshot=host.disk,
            rng=Random(f"{host.name}{host.lives}"),
            now=self.now,
        )
        self._perform(host, host.allocator)

    def crash(self, host: Host) -> None:
        """Gone, and with it all that was not on disk."""
        host.allocator = None
        host.fuse = None
        host.ring = host.kept
        kept = {} if host.disk is None else read_snapshot(host.disk).allocations
        assert all(kept.get(ident) == int(address) for ident, address in host.told.items()), "an address is forgotten"
        self._note_uses(host, {ident: IPv4Address(address) for ident, address in kept.items()})

    def feed(self, name: Owner, event: Input) -> None:
        host = self.hosts[name]
        if host.allocator is not None:
            host.allocator.receive(event, self.now)
            self._perform(host, host.allocator)

    def tick(self, name: Owner) -> None:
        host = self.hosts[name]
        if host.allocator is not None:
            host.allocator.tick(self.now)
            self._perform(host, host.allocator)
            deadline = host.allocator.deadline() if host.allocator else None
            assert deadline is None or deadline > self.now - 1.0, "there is never an end to what is due"

    def tell_all(self, source: Owner, name: Owner) -> None:
        allocator = self.hosts[source].allocator
        if allocator is not None:
            self.feed(name, RingReceived(source, allocator.state()))

    def deliver_within(self, group: list[Owner], messages_max: int = DIALOGUE_MAX) -> None:
        for _ in range(messages_max):
            within = (at for at, (name, event) in enumerate(self.network) if {name, _source(event)} <= {*group})
            at = next(within, None)
            if at is None:
                return
            self.feed(*self.network.pop(at))
        assert messages_max < DIALOGUE_MAX, "a conversation that does not end"

    def _perform(self, host: Host, allocator: Allocator) -> None:
        assert allocator.check() == []
        for output in allocator.outputs():
            if host.fuse == 0:
                self.crash(host)
                return
            host.fuse = None if host.fuse is None else host.fuse - 1
            self._perform_one(host, output)
        self._note_uses(host, dict(allocator.allocations()))
        self._note_ring(host, allocator.ring)

    def _perform_one(self, host: Host, output: Output) -> None:
        match output:
            case Persist(snapshot):
                host.disk = snapshot
                kept = read_snapshot(snapshot).ring
                assert host.kept is None or _knows(kept, host.kept), "the disk went back"
                host.kept = kept
                self._note_titles(kept)
            case Announce(payload) if payload.startswith(VOTES_FORMAT):
                pass
            case Announce(payload):
                self._assert_durable(host, decode_knowledge(payload))
                self.network += [(name, RingReceived(host.name, payload)) for name in NAMES if name != host.name]
            case Send(destination, payload):
                self._assert_durable(host, decode_message(payload).knowledge)
                self.network.append((destination, MessageReceived(host.name, payload)))
            case Allocated(ident, address):
                assert address in [*UNIVERSE.hosts()]
                host.told[ident] = address
        del self.network[:-NETWORK_MAX]

    def _assert_durable(self, host: Host, told: Knowledge) -> None:
        kept = host.kept
        assert kept is not None
        assert kept.merge(told.entries, told.roster).ring is kept, "what was told is not on disk"

    def _note_uses(self, host: Host, allocations: dict[str, IPv4Address]) -> None:
        for ident in host.uses.keys() - allocations.keys():
            del host.uses[ident]
        for ident, address in allocations.items():
            use = host.uses.get(ident)
            if use is None or use.address != address:
                ring = host.allocator.ring if host.allocator is not None else host.kept
                assert ring is not None
                host.uses[ident] = Use(address, ring.entry_at(int(address)).title)

    def _note_ring(self, host: Host, ring: Ring | None) -> None:
        if ring is None or ring is host.ring:
            return
        assert host.ring is None or _knows(ring, host.ring), "a version went back"
        host.ring = ring

    def _note_titles(self, kept: Ring) -> None:
        """Who makes a title persists it before anybody hears of it, so the first to do so is its maker."""
        for block, title in kept.known():
            for address in range(block.start, block.end):
                roots = self._roots.setdefault(address, {})
                if title in roots:
                    continue
                giver = title.heir or title.owner
                parents = [one for one in roots if giver in (one.owner, one.heir) and one.version < title.version]
                if parents and title.version != title.round << ROUND_BITS:
                    roots[title] = roots[max(parents)]
                    continue
                roots[title] = title
                if title.round:
                    self._settled.setdefault(address, {})[title] = kept.roster.members


def _source(event: Input) -> Owner:
    assert isinstance(event, RingReceived | MessageReceived)
    return event.source


def _knows(ring: Ring, older: Ring) -> bool:
    """Whether all that the older one knows is known to this one."""
    return ring.merge(older.known(), older.roster).ring is ring
