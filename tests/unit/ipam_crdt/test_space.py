"""Which address comes next, what is given away, and that every address of ours is in exactly one place."""

from ipaddress import IPv4Network

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ipam_crdt.cidr import Block
from ipam_crdt.space import FREED_MAX, Space


def block(text: str) -> Block:
    return Block.of(IPv4Network(text))


SMALL = block("10.0.0.0/28")
LARGE = block("10.0.0.0/20")


def space_of(universe: Block, *blocks: Block) -> Space:
    space = Space(universe, universe)
    space.set_owned(blocks or (universe,))
    return space


def fill(space: Space) -> list[int]:
    addresses = []
    while (address := space.allocate(f"pod{len(space.allocations)}")) is not None:
        addresses.append(address)
    return addresses


def test_every_address_but_the_first_and_last_of_the_universe_is_handed_out_lowest_first() -> None:
    space = space_of(SMALL)
    assert fill(space) == list(range(SMALL.start + 1, SMALL.end - 1))
    assert space.free_count == 0
    assert space.check() == []


def test_the_ends_of_a_block_inside_the_universe_are_handed_out() -> None:
    inner = block("10.0.0.4/30")
    assert fill(space_of(SMALL, inner)) == list(range(inner.start, inner.end))


def test_nothing_owned_is_nothing_to_hand_out_or_give_away() -> None:
    space = Space(SMALL, SMALL)
    assert space.allocate("pod") is None
    assert space.donation(SMALL) is None


def test_a_freed_address_is_not_reused_while_fresh_ones_are_left() -> None:
    space = space_of(SMALL)
    first = space.allocate("a")
    assert space.release("a") == first
    others = fill(space)
    assert others[-1] == first and len(others) == SMALL.size - 2


def test_of_the_freed_addresses_the_one_freed_longest_ago_comes_first() -> None:
    space = space_of(SMALL)
    fill(space)
    freed = [space.release(ident) for ident in ("pod7", "pod2", "pod9")]
    assert [space.allocate(ident) for ident in ("x", "y", "z")] == freed


def test_an_address_returns_to_the_fresh_ones_after_freed_max_others_were_freed() -> None:
    space = space_of(LARGE)
    first = space.allocate("first")
    space.release("first")
    for number in range(FREED_MAX):
        assert space.allocate("churn") != first, number
        space.release("churn")
    assert space.allocate("again") == first
    assert space.check() == []


def test_releasing_what_has_no_address_changes_nothing() -> None:
    space = space_of(SMALL)
    assert space.release("nobody") is None
    assert space.free_count == SMALL.size - 2


def test_a_claim_takes_fresh_and_freed_addresses_but_no_taken_reserved_or_foreign_ones() -> None:
    space = space_of(SMALL, block("10.0.0.0/29"))
    start = SMALL.start
    assert space.claim("fresh", start + 5)
    space.release("fresh")
    assert space.claim("freed", start + 5)
    assert not space.claim("second", start + 5)
    assert not space.claim("reserved", start)
    assert not space.claim("foreign", start + 9)
    assert space.allocations == {"freed": start + 5}
    assert space.ident_at(start + 5) == "freed"
    assert space.check() == []


def test_an_address_in_use_stays_its_pods_when_its_block_is_lost_and_is_not_handed_out_twice_when_it_returns() -> None:
    space = space_of(SMALL)
    address = space.allocate("pod")
    assert address is not None
    space.set_owned(())
    assert (space.allocations, space.strays(), space.free_count) == ({"pod": address}, [address], 0)
    space.set_owned((SMALL,))
    assert space.strays() == []
    assert address not in fill(space)
    assert space.check() == []


def test_a_stray_that_is_released_does_not_come_back_to_us() -> None:
    space = space_of(SMALL)
    space.allocate("pod")
    space.set_owned(())
    space.release("pod")
    assert (space.free_count, list(space.freed), space.check()) == (0, [], [])


def test_a_donor_with_a_little_in_use_gives_its_upper_half() -> None:
    space = space_of(LARGE)
    space.allocate("pod")
    assert space.donation(LARGE) == LARGE.halves()[1]


def test_a_donation_holds_nothing_that_is_taken_and_is_as_large_as_can_be() -> None:
    space = space_of(SMALL)
    space.claim("middle", SMALL.start + 9)
    assert space.donation(SMALL) == block("10.0.0.0/29")


def test_one_free_address_is_given_rather_than_stranded() -> None:
    space = space_of(SMALL)
    fill(space)
    address = space.release("pod4")
    assert address is not None
    assert space.donation(SMALL) == Block(address, 32)


def test_a_donation_of_which_only_one_half_is_usable_is_that_half() -> None:
    edge = block("10.0.0.0/31")
    assert space_of(SMALL, edge).donation(SMALL) == Block(edge.start + 1, 32)


def test_repeated_donations_give_away_all_that_is_free() -> None:
    space, owned = space_of(SMALL), {*range(SMALL.start, SMALL.end)}
    space.claim("pod", SMALL.start + 6)
    while (given := space.donation(SMALL)) is not None:
        lost = {*range(given.start, given.end)}
        assert lost <= owned
        owned -= lost
        space.set_owned([Block(address, 32) for address in sorted(owned)])
    assert space.free_count == 0
    assert space.allocations == {"pod": SMALL.start + 6}


def test_a_restored_space_goes_on_where_it_was() -> None:
    space = space_of(SMALL)
    fill(space)
    for ident in ("pod7", "pod2"):
        space.release(ident)
    again = Space.restored(SMALL, SMALL, space.blocks, dict(space.allocations), list(space.freed))
    assert again.check() == []
    assert again.allocations == space.allocations
    assert [again.allocate("x"), again.allocate("y")] == [space.allocate("x"), space.allocate("y")]


def test_a_restored_space_takes_no_freed_address_that_is_taken_or_foreign() -> None:
    lower = block("10.0.0.0/29")
    taken, foreign, own = SMALL.start + 1, SMALL.start + 12, SMALL.start + 3
    space = Space.restored(SMALL, SMALL, (lower,), {"pod": taken}, [taken, foreign, own, own, SMALL.start])
    assert list(space.freed) == [own]
    assert space.check() == []


def test_a_subnet_keeps_its_ends_and_its_gateway_out_of_use_and_is_handed_out_alone() -> None:
    subnet = block("10.0.0.8/29")
    space = Space(SMALL, subnet)
    space.set_owned([SMALL])
    assert [address for address in range(SMALL.start, SMALL.end) if space.is_reserved(address)] == [
        SMALL.start,
        subnet.start,
        subnet.start + 1,
        subnet.end - 1,
    ]
    assert fill(space) == list(range(subnet.start + 2, subnet.end - 1))
    assert space.check() == []
    freed = space.release("pod1")
    assert space.allocate("again") == freed
    assert space.allocate("more") is None and space.free_count == 7, "the rest of ours is for claims and for others"
    assert space.claim("claimed", SMALL.start + 3) and not space.claim("gateway", subnet.start + 1)


def test_what_was_freed_outside_the_subnet_is_not_handed_out_unasked() -> None:
    space = Space(SMALL, block("10.0.0.8/29"))
    space.set_owned([SMALL])
    space.claim("claimed", SMALL.start + 3)
    space.release("claimed")
    assert SMALL.start + 3 not in fill(space)
    assert space.claim("again", SMALL.start + 3) and space.check() == []


def test_a_donation_lies_within_what_was_asked_for() -> None:
    space = space_of(SMALL)
    quarter = block("10.0.0.4/30")
    assert space.donation(quarter) == quarter
    space.claim("pod", quarter.start)
    given = space.donation(quarter)
    assert given is not None and quarter.covers(given) and not given.holds(quarter.start)
    assert space_of(SMALL, quarter).donation(block("10.0.0.8/29")) is None
    assert space_of(SMALL, quarter).donation(SMALL) == quarter.halves()[1]


def test_a_restored_space_of_another_subnet_keeps_what_is_in_use_even_where_it_is_reserved_now() -> None:
    subnet = block("10.0.0.8/29")
    gateway = subnet.start + 1
    space = Space.restored(SMALL, subnet, [SMALL], {"pod": gateway}, [subnet.start, SMALL.start + 2])
    assert space.allocations == {"pod": gateway} and space.check() == []
    assert list(space.freed) == [SMALL.start + 2]
    space.release("pod")
    assert not space.claim("other", gateway) and space.check() == []


class SpaceMachine(RuleBasedStateMachine):
    """Any course of events, judged by a dict and a set."""

    quarters = tuple(half for whole in SMALL.halves() for half in whole.halves())

    def __init__(self) -> None:
        super().__init__()
        self.space = space_of(SMALL)
        self.owned = {*range(SMALL.start, SMALL.end)}
        self.held: dict[str, int] = {}

    idents = st.sampled_from([f"pod{number}" for number in range(20)])

    @rule(ident=idents)
    def allocate(self, ident: str) -> None:
        if ident in self.held:
            return
        free = self.free()
        address = self.space.allocate(ident)
        assert (address in free) if free else (address is None)
        if address is not None:
            self.held[ident] = address

    @rule(ident=idents, address=st.integers(SMALL.start, SMALL.end - 1))
    def claim(self, ident: str, address: int) -> None:
        if ident in self.held:
            return
        is_free = address in self.free()
        assert self.space.claim(ident, address) == is_free
        if is_free:
            self.held[ident] = address

    @rule(ident=idents)
    def release(self, ident: str) -> None:
        assert self.space.release(ident) == self.held.pop(ident, None)

    @rule(chosen=st.sets(st.sampled_from(quarters)))
    def own(self, chosen: set[Block]) -> None:
        self.space.set_owned(sorted(chosen))
        self.owned = {address for part in chosen for address in range(part.start, part.end)}

    @invariant()
    def all_is_as_the_judge_says(self) -> None:
        assert self.space.check() == []
        assert self.space.allocations == self.held
        assert self.space.free_count == len(self.free())
        assert self.space.strays() == sorted(set(self.held.values()) - self.owned)

    @invariant()
    def a_donation_has_something_free_and_nothing_taken(self) -> None:
        given = self.space.donation(SMALL)
        assert (given is not None) == bool(self.free())
        if given is not None:
            inside = {*range(given.start, given.end)}
            assert inside <= self.owned and inside & self.free() and not inside & set(self.held.values())

    def free(self) -> set[int]:
        return self.owned - set(self.held.values()) - {SMALL.start, SMALL.end - 1}


TestSpaceMachine = SpaceMachine.TestCase
TestSpaceMachine.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
