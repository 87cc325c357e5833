"""The merge of rings is a join, and no address ever has two owners, however grants, news and losses interleave."""

from ipaddress import IPv4Network

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from ipam_crdt.cidr import Block
from ipam_crdt.ring import NOBODY, Entry, Merged, Owner, Ring, Title

RING_ID = bytes(16)
UNIVERSE = Block.of(IPv4Network("10.0.0.0/28"))
ADDRESSES = range(UNIVERSE.start, UNIVERSE.end)
PEERS = tuple(Owner(name) for name in ("anne", "bert", "carl", "dora"))

Titles = dict[int, Title]
"""What a ring means, without blocks: the judge of all that follows."""


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    length = draw(st.integers(UNIVERSE.length, 32))
    size = 1 << (32 - length)
    return Block(UNIVERSE.start + size * draw(st.integers(0, UNIVERSE.size // size - 1)), length)


titles = st.builds(Title, st.integers(1, 4), st.sampled_from(PEERS), st.sampled_from((Owner(""), *PEERS)))
entries = st.builds(Entry, blocks(), titles)


def ring_after(some: list[Entry]) -> Ring:
    """Any ring at all, conflicts included: what a peer that obeys nothing could make."""
    ring = Ring.unknown(RING_ID, UNIVERSE)
    for entry in some:
        ring = ring.merge([entry]).ring
    return ring


rings = st.lists(entries, max_size=10).map(ring_after)


def meaning(ring: Ring) -> Titles:
    return {address: ring.entry_at(address).title for address in ADDRESSES}


def merge(one: Ring, other: Ring) -> Ring:
    return one.merge(other.known()).ring


@given(rings, rings)
def test_the_merge_is_the_greater_title_address_by_address(one: Ring, other: Ring) -> None:
    left, right = meaning(one), meaning(other)
    merged = merge(one, other)
    assert merged.check() == []
    assert meaning(merged) == {address: max(left[address], right[address]) for address in ADDRESSES}


@given(rings, rings)
def test_the_merge_is_commutative(one: Ring, other: Ring) -> None:
    assert merge(one, other) == merge(other, one)


@given(rings, rings, rings)
def test_the_merge_is_associative(one: Ring, two: Ring, three: Ring) -> None:
    assert merge(merge(one, two), three) == merge(one, merge(two, three))


@given(rings, rings)
def test_the_merge_is_idempotent(one: Ring, other: Ring) -> None:
    merged = merge(one, other)
    assert one.merge(one.known()).ring is one
    assert merged.merge(other.known()).ring is merged
    assert merged.merge(one.known()).ring is merged


@given(rings, rings)
def test_rings_of_one_meaning_are_one_value(one: Ring, other: Ring) -> None:
    assert (one == other) == (meaning(one) == meaning(other))


@given(rings, rings)
def test_changes_are_exactly_what_was_raised_and_news_carry_them(one: Ring, other: Ring) -> None:
    merged = one.merge(other.known())
    before, after = meaning(one), meaning(merged.ring)
    changed = {
        address: (change.before, change.after)
        for change in merged.changes
        for address in range(change.block.start, change.block.end)
    }
    assert changed == {at: (before[at], after[at]) for at in ADDRESSES if before[at] != after[at]}
    assert one.merge(merged.news).ring == merged.ring


@given(rings, rings)
def test_conflicts_are_exactly_where_two_titles_share_a_version(one: Ring, other: Ring) -> None:
    left, right = meaning(one), meaning(other)
    found = {
        address: {conflict.kept, conflict.other}
        for conflict in one.merge(other.known()).conflicts
        for address in range(conflict.block.start, conflict.block.end)
    }
    assert found == {
        at: {left[at], right[at]}
        for at in ADDRESSES
        if left[at] != right[at] and left[at].version == right[at].version and right[at] != NOBODY
    }


@given(rings)
def test_the_blocks_of_all_owners_tile_what_is_known(ring: Ring) -> None:
    owned = [
        (address, owner) for owner in ring.owners() for b in ring.blocks_of(owner) for address in range(b.start, b.end)
    ]
    assert sorted(owned) == [(at, title.owner) for at, title in meaning(ring).items() if title != NOBODY]


class RingMachine(RuleBasedStateMachine):
    """Peers that grant only what is theirs, over a network that loses, repeats, reorders and cuts what it carries."""

    messages: Bundle[tuple[Entry, ...]] = Bundle("messages")

    def __init__(self) -> None:
        super().__init__()
        self.rings: dict[Owner, Ring] = {}

    @initialize(founder=st.sampled_from(PEERS))
    def found(self, founder: Owner) -> None:
        self.rings = {peer: Ring.unknown(RING_ID, UNIVERSE) for peer in PEERS}
        self.rings[founder] = Ring.founded(RING_ID, UNIVERSE, founder)

    @rule(target=messages, giver=st.sampled_from(PEERS), taker=st.sampled_from(PEERS), block=blocks())
    def grant(self, giver: Owner, taker: Owner, block: Block) -> tuple[Entry, ...]:
        ring = self.rings[giver]
        if giver == taker or not ring.may_grant(block, giver):
            return ()
        merged = ring.grant(block, giver=giver, taker=taker)
        assert merged.ring.entry_at(block.start) == merged.ring.entry_at(block.end - 1)
        self._keep(giver, merged)
        return merged.news

    @rule(target=messages, peer=st.sampled_from(PEERS))
    def tell_all(self, peer: Owner) -> tuple[Entry, ...]:
        return self.rings[peer].known()

    @rule(target=messages, message=messages, start=st.integers(0, 4), count=st.integers(1, 4))
    def cut(self, message: tuple[Entry, ...], start: int, count: int) -> tuple[Entry, ...]:
        return message[start : start + count]

    @rule(message=messages, peer=st.sampled_from(PEERS))
    def deliver(self, message: tuple[Entry, ...], peer: Owner) -> None:
        self._keep(peer, self.rings[peer].merge(message))

    @rule(one=st.sampled_from(PEERS), other=st.sampled_from(PEERS))
    def exchange(self, one: Owner, other: Owner) -> None:
        known = self.rings[one].known(), self.rings[other].known()
        self._keep(one, self.rings[one].merge(known[1]))
        self._keep(other, self.rings[other].merge(known[0]))
        assert self.rings[one] == self.rings[other]

    @precondition(lambda self: bool(self.rings))
    @invariant()
    def no_address_is_owned_by_two(self) -> None:
        for address in ADDRESSES:
            owners = [peer for peer in PEERS if self.rings[peer].entry_at(address).title.owner == peer]
            assert len(owners) <= 1, (address, owners)

    @precondition(lambda self: bool(self.rings))
    @invariant()
    def every_ring_is_canonical(self) -> None:
        for ring in self.rings.values():
            assert ring.check() == []

    @precondition(lambda self: bool(self.rings))
    @invariant()
    def an_owner_knows_more_of_its_address_than_anybody_else(self) -> None:
        for address in ADDRESSES:
            known = {peer: self.rings[peer].entry_at(address).title for peer in PEERS}
            for peer, title in known.items():
                assert title.owner != peer or title == max(known.values())

    def teardown(self) -> None:
        """When all have heard all, all hold one ring, and nothing is lost: every address has an owner."""
        if not self.rings:
            return
        everything = [entry for ring in self.rings.values() for entry in ring.known()]
        ends = {self._joined(peer, everything) for peer in PEERS}
        assert len(ends) == 1
        assert all(title != NOBODY for title in meaning(ends.pop()).values())

    def _joined(self, peer: Owner, some: list[Entry]) -> Ring:
        ring = self.rings[peer]
        for entry in some:
            ring = ring.merge([entry]).ring
        return ring

    def _keep(self, peer: Owner, merged: Merged) -> None:
        """No peer cheats here, so no merge may find a conflict, and no title is ever lowered."""
        assert merged.conflicts == ()
        before, after = meaning(self.rings[peer]), meaning(merged.ring)
        assert all(before[address] <= after[address] for address in ADDRESSES)
        self.rings[peer] = merged.ring


TestRingMachine = RingMachine.TestCase
TestRingMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
