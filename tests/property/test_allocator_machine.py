"""No address ever has two owners or two users, whatever a mesh of real allocators goes through.

That is: lost, doubled and late messages, partitions, crashes between two outputs, removals on all sides at once,
leaving, and the return of the removed. The one price that settlement.py names is counted in: a peer of which the
executor of a settlement had never heard.
"""

from ipaddress import IPv4Address

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ipam_crdt import (
    Allocate,
    Claim,
    Clear,
    Electorate,
    Fenced,
    Leave,
    Owner,
    PeersReachable,
    Release,
    Remove,
)
from tests.property.allocator_mesh import DIALOGUE_MAX, NAMES, NETWORK_MAX, UNIVERSE, Host, Mesh

HEALED_BY_S = 40
"""After so many seconds without loss all must know the same and nothing may be left to settle."""

peers = st.sampled_from(NAMES)
groups = st.lists(peers, min_size=2, max_size=len(NAMES), unique=True)
numbers = st.integers(0, NETWORK_MAX - 1)


class AllocatorMachine(RuleBasedStateMachine):
    """Any course of events, each peer's own course in order."""

    def __init__(self) -> None:
        super().__init__()
        self.mesh = Mesh()

    # -- events ----------------------------------------------------------------------------------------------------

    @initialize(founder=peers, early=st.booleans())
    def begin(self, founder: Owner, early: bool) -> None:  # noqa: FBT001
        self.mesh.hosts = {name: Host(name, Electorate.addressed(0) if name == founder else None) for name in NAMES}
        for name in NAMES:
            self.mesh.start(self.mesh.hosts[name])
        if early:
            self.converse(list(NAMES), DIALOGUE_MAX)

    @rule(name=peers, ident=numbers)
    def allocate(self, name: Owner, ident: int) -> None:
        self.mesh.feed(name, Allocate(f"{name}{ident % 6}", self.mesh.now + 9.0))

    @rule(name=peers, ident=numbers, address=st.sampled_from(list(UNIVERSE)))
    def claim(self, name: Owner, ident: int, address: IPv4Address) -> None:
        self.mesh.feed(name, Claim(f"{name}{ident % 6}", address, self.mesh.now + 9.0))

    @rule(name=peers, ident=numbers)
    def release(self, name: Owner, ident: int) -> None:
        host = self.mesh.hosts[name]
        if host.allocator is not None and host.uses:
            chosen = sorted(host.uses)[ident % len(host.uses)]
            host.told.pop(chosen, None)
            self.mesh.feed(name, Release(chosen))

    @rule(source=peers, name=peers)
    def gossip(self, source: Owner, name: Owner) -> None:
        """The whole ring of one reaches another, now."""
        if source != name:
            self.mesh.tell_all(source, name)

    @rule(giver=peers, taker=peers, number=numbers)
    def pass_on_unheard(self, giver: Owner, taker: Owner, number: int) -> None:
        """One gets an address of another and leaves it free, and nobody else hears of it for now."""
        ring = self.mesh.hosts[giver].ring
        blocks = () if ring is None or giver == taker else ring.blocks_of(giver)
        if blocks:
            block = blocks[number % len(blocks)]
            address = block.network()[number % block.size]
            before = len(self.mesh.network)
            self.mesh.tell_all(giver, taker)
            self.mesh.feed(taker, PeersReachable((giver,)))
            self.mesh.feed(taker, Claim(f"{taker} in passing", address, self.mesh.now + 9.0))
            self.mesh.deliver_within([giver, taker])
            self.mesh.hosts[taker].told.pop(f"{taker} in passing", None)
            self.mesh.feed(taker, Release(f"{taker} in passing"))
            del self.mesh.network[before:]

    @rule(group=groups, messages_max=st.just(DIALOGUE_MAX) | st.integers(1, 30))
    def converse(self, group: list[Owner], messages_max: int) -> None:
        """Some reach each other and nobody else, and time passes until nothing more is said, or a cut."""
        for name in group:
            self.mesh.feed(name, PeersReachable(tuple(group)))
        self.mesh.now += 1.0
        for name in group:
            self.mesh.tick(name)
        self.mesh.deliver_within(group, messages_max)

    @rule(number=numbers)
    def deliver(self, number: int) -> None:
        if self.mesh.network:
            self.mesh.feed(*self.mesh.network.pop(number % len(self.mesh.network)))

    @rule(number=numbers)
    def deliver_and_keep(self, number: int) -> None:
        if self.mesh.network:
            self.mesh.feed(*self.mesh.network[number % len(self.mesh.network)])

    @rule(number=numbers)
    def lose(self, number: int) -> None:
        if self.mesh.network:
            del self.mesh.network[number % len(self.mesh.network) :]

    @rule(name=peers)
    def crash(self, name: Owner) -> None:
        self.mesh.crash(self.mesh.hosts[name])

    @rule(name=peers, outputs=st.integers(0, 3))
    def crash_among_outputs(self, name: Owner, outputs: int) -> None:
        """Before the snapshot is durable, or after it and before all of the rest has left."""
        self.mesh.hosts[name].fuse = outputs

    @rule(name=peers)
    def restart(self, name: Owner) -> None:
        """Also one that was removed: it comes back with all that it had."""
        if self.mesh.hosts[name].allocator is None:
            self.mesh.start(self.mesh.hosts[name])

    @rule(name=peers, gone=peers)
    def remove(self, name: Owner, gone: Owner) -> None:
        self.mesh.feed(name, Remove(gone))

    @rule(gone=peers, group=groups, messages_max=st.integers(1, 12))
    def remove_and_be_cut_off(self, gone: Owner, group: list[Owner], messages_max: int) -> None:
        """Some who know each other begin to settle what one of them leaves behind, and may come to no end."""
        rest = [name for name in group if name != gone]
        self.converse(group, DIALOGUE_MAX)
        self.mesh.network.clear()
        self.mesh.feed(rest[0], Remove(gone))
        self.converse(rest, messages_max)

    @rule(name=peers)
    def leave(self, name: Owner) -> None:
        self.mesh.feed(name, Leave())

    @rule(name=peers, by=peers)
    def fence(self, name: Owner, by: Owner) -> None:
        """One who knows that this peer was removed refuses it, by other means than the ring's."""
        ring = self.mesh.hosts[by].ring
        if ring is not None and name in ring.roster.removed:
            self.mesh.feed(name, Fenced(by))

    @rule(name=peers)
    def clear(self, name: Owner) -> None:
        self.mesh.feed(name, Clear(UNIVERSE))

    # -- laws ------------------------------------------------------------------------------------------------------

    @precondition(lambda self: bool(self.mesh.hosts))
    @invariant()
    def no_address_has_two_owners(self) -> None:
        removed = self.mesh.removed()
        owners: dict[int, Owner] = {}
        for name in NAMES:
            ring = self.mesh.hosts[name].ring
            for block, title in () if ring is None or name in removed else ring.entries_of(name):
                for address in range(block.start, block.end):
                    if not self.mesh.is_unheard_of(name, address, title):
                        other = owners.setdefault(address, name)
                        assert other == name, f"{IPv4Address(address)} belongs to {other} and to {name}"

    @precondition(lambda self: bool(self.mesh.hosts))
    @invariant()
    def no_address_has_two_users(self) -> None:
        removed = self.mesh.removed()
        users: dict[IPv4Address, str] = {}
        for name in NAMES:
            for ident, use in self.mesh.hosts[name].uses.items():
                if name not in removed and not self.mesh.is_unheard_of(name, int(use.address), use.title):
                    other = users.setdefault(use.address, ident)
                    assert other == ident, f"{use.address} is in use by {other} and by {ident}"

    def teardown(self) -> None:
        """Once all run and hear each other, those who were not removed agree on a ring without an estate."""
        if not self.mesh.hosts:
            return
        for host in self.mesh.hosts.values():
            host.fuse = None
            if host.allocator is None:
                self.mesh.start(host)
        for _ in range(HEALED_BY_S):
            self.converse(list(NAMES), DIALOGUE_MAX)
            for source in NAMES:
                for name in NAMES:
                    if source != name:
                        self.mesh.tell_all(source, name)
                        self.mesh.deliver_within(list(NAMES))
            if self._is_healed():
                break
        else:
            rings = {host.name: host.ring for host in self.mesh.hosts.values()}
            raise AssertionError(f"not healed: {rings}, removed: {self.mesh.removed()}")
        self.no_address_has_two_owners()
        self.no_address_has_two_users()

    def _is_healed(self) -> bool:
        """What only removed peers knew of is known to nobody any more."""
        living = [self.mesh.hosts[name].ring for name in NAMES if name not in self.mesh.removed()]
        rings = {ring for ring in living if ring is not None}
        return None not in living and len(rings) <= 1 and not any(ring.estate() for ring in rings)


@pytest.mark.parametrize("messages", range(1, 13))
def test_wherever_a_settlement_is_cut_off_nobody_takes_of_it_from_a_stranger(messages: int) -> None:
    """Emil has his part from Anne, who was removed since; neither Bert, the executor, nor Carl had heard of him."""
    anne, bert, carl, _, emil = NAMES
    machine = AllocatorMachine()
    machine.begin(anne, early=False)
    machine.pass_on_unheard(anne, emil, 10)
    machine.remove_and_be_cut_off(anne, [bert, carl, anne], messages)
    machine.pass_on_unheard(emil, carl, 0)
    machine.no_address_has_two_owners()
    machine.converse([bert, carl], DIALOGUE_MAX)
    machine.no_address_has_two_owners()
    machine.teardown()


TestAllocatorMachine = AllocatorMachine.TestCase
TestAllocatorMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
