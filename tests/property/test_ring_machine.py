"""The merge of rings is a join, and no address ever has two owners, however grants, news and losses interleave."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from ipam_crdt.cidr import Block
from ipam_crdt.ring import NOBODY, Entry, Merged, Ring, Title
from ipam_crdt.roster import Owner, Roster
from tests.property.ipam_strategies import RING_ID, UNIVERSE, blocks, entries, rings, rosters

ADDRESSES = range(UNIVERSE.start, UNIVERSE.end)
PEERS = tuple(Owner(name) for name in ("anne", "bert", "carl", "dora"))

Titles = dict[int, Title]
"""What a ring means, without blocks: the judge of all that follows."""


def meaning(ring: Ring) -> Titles:
    return {address: ring.entry_at(address).title for address in ADDRESSES}


def merge(one: Ring, other: Ring) -> Ring:
    return one.merge(other.known(), other.roster).ring


@given(rings(), rings())
def test_the_merge_is_the_greater_title_address_by_address(one: Ring, other: Ring) -> None:
    left, right = meaning(one), meaning(other)
    merged = merge(one, other)
    assert merged.check() == []
    assert meaning(merged) == {address: max(left[address], right[address]) for address in ADDRESSES}
    assert merged.roster.members == one.roster.members | other.roster.members
    assert merged.roster.removed == one.roster.removed | other.roster.removed


@given(rings(), rings())
def test_the_merge_is_commutative(one: Ring, other: Ring) -> None:
    assert merge(one, other) == merge(other, one)


@given(rings(), rings(), rings())
def test_the_merge_is_associative(one: Ring, two: Ring, three: Ring) -> None:
    assert merge(merge(one, two), three) == merge(one, merge(two, three))


@given(rings(), rings())
def test_the_merge_is_idempotent(one: Ring, other: Ring) -> None:
    merged = merge(one, other)
    assert merge(one, one) is one
    assert merge(merged, other) is merged
    assert merge(merged, one) is merged


@given(rings(), rings())
def test_rings_of_one_meaning_are_one_value(one: Ring, other: Ring) -> None:
    assert (one == other) == ((meaning(one), one.roster) == (meaning(other), other.roster))
    assert one != other or hash(one) == hash(other)


@given(rings(), rings())
def test_changes_are_exactly_what_was_raised_and_news_carry_them(one: Ring, other: Ring) -> None:
    merged = one.merge(other.known(), other.roster)
    before, after = meaning(one), meaning(merged.ring)
    changed = {
        address: (change.before, change.after)
        for change in merged.changes
        for address in range(change.block.start, change.block.end)
    }
    assert changed == {at: (before[at], after[at]) for at in ADDRESSES if before[at] != after[at]}
    assert one.merge(merged.news, merged.roster_news).ring == merged.ring
    assert merged.is_news == (merged.ring != one) == (merged.ring is not one)
    assert merged.roster_news.members.isdisjoint(one.roster.living - merged.roster_news.removed)


@given(rings(), rings())
def test_conflicts_are_exactly_where_two_titles_share_a_version(one: Ring, other: Ring) -> None:
    left, right = meaning(one), meaning(other)
    found = {
        address: {conflict.kept, conflict.other}
        for conflict in one.merge(other.known(), other.roster).conflicts
        for address in range(conflict.block.start, conflict.block.end)
    }
    assert found == {
        at: {left[at], right[at]}
        for at in ADDRESSES
        if left[at] != right[at] and left[at].version == right[at].version and right[at] != NOBODY
    }


@given(st.lists(st.tuples(entries(), rosters()), max_size=8))
def test_the_order_of_messages_does_not_matter(heard: list[tuple[Entry, Roster]]) -> None:
    """Each message says that whom it names is a member, as the wire does."""
    ends = set()
    for order in (heard, heard[::-1], sorted(heard, key=repr), heard * 2):
        ring = Ring.unknown(RING_ID, UNIVERSE)
        for entry, roster in order:
            named = Roster.of(*(name for name in (entry.title.owner, entry.title.heir) if name))
            ring = ring.merge([entry], roster.join(named)).ring
        assert ring.check() == []
        ends.add(ring)
    assert len(ends) == 1


@given(rings())
def test_the_blocks_of_all_owners_and_the_estate_tile_what_is_known(ring: Ring) -> None:
    owned = [
        (address, owner) for owner in ring.owners() for b in ring.blocks_of(owner) for address in range(b.start, b.end)
    ]
    estate = [(at, entry.title.owner) for entry in ring.estate() for at in range(entry.block.start, entry.block.end)]
    assert sorted(owned + estate) == [(at, title.owner) for at, title in meaning(ring).items() if title != NOBODY]
    assert ring.roster.removed.isdisjoint(owner for _, owner in owned)
    assert ring.roster.removed.issuperset(owner for _, owner in estate)


class RingMachine(RuleBasedStateMachine):
    """Peers that grant only what is theirs, over a network that loses, repeats, reorders and cuts what it carries."""

    messages: Bundle[tuple[Entry, ...]] = Bundle("messages")

    def __init__(self) -> None:
        super().__init__()
        self.rings: dict[Owner, Ring] = {}

    @initialize(founder=st.sampled_from(PEERS))
    def found(self, founder: Owner) -> None:
        self.rings = {peer: Ring.unknown(RING_ID, UNIVERSE) for peer in PEERS}
        self.rings[founder] = Ring.founded(RING_ID, UNIVERSE, (founder,))

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
