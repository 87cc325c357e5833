"""Each request leaves by exactly one answer: at once, when our space can serve it, or at its deadline."""

from ipaddress import IPv4Address, IPv4Network

import pytest

from ipam_crdt.cidr import Block
from ipam_crdt.event import Allocated, Refused
from ipam_crdt.holding import Holding
from ipam_crdt.ring import Entry, Title
from ipam_crdt.roster import Owner
from ipam_crdt.waiting import IDENT_LENGTH_MAX, WAITING_MAX, Answer, Waiting, WaitingList

ANNE, BERT = Owner("anne"), Owner("bert")
UNIVERSE = Block.of(IPv4Network("10.0.0.0/28"))
START = UNIVERSE.start


def poor() -> tuple[Holding, WaitingList]:
    """A peer in a ring of which it owns nothing."""
    holding = Holding(ANNE, UNIVERSE, UNIVERSE)
    holding.enter(bytes(16))
    return holding, WaitingList(holding)


def rich() -> tuple[Holding, WaitingList]:
    holding = Holding(ANNE, UNIVERSE, UNIVERSE)
    holding.settle_in(bytes(16), (ANNE,))
    return holding, WaitingList(holding)


def enrich(holding: Holding) -> None:
    assert holding.ring is not None
    holding.adopt(holding.ring.merge([Entry(UNIVERSE, Title(2, ANNE, BERT))]))


def wants(ident: str, offset: int | None = None, deadline: float = 10.0) -> Waiting:
    return Waiting(ident, None if offset is None else START + offset, deadline, 0.0)


def excuse(waiting: Waiting) -> str:
    return f"too late for {waiting.ident}"


def reason_of(answers: list[Answer]) -> str:
    (answer,) = answers
    assert isinstance(answer, Refused)
    return answer.reason


def test_what_our_space_can_serve_is_served_at_once() -> None:
    _, waiting = rich()
    assert waiting.add(wants("one")) == [Allocated("one", IPv4Address(START + 1))]
    assert waiting.add(wants("two", 7)) == [Allocated("two", IPv4Address(START + 7))]
    assert len(waiting) == 0


def test_an_ident_that_has_an_address_is_given_the_same_again() -> None:
    holding, waiting = rich()
    assert waiting.add(wants("pod")) == waiting.add(wants("pod")) == waiting.add(wants("pod", 1))
    assert holding.space.allocations == {"pod": START + 1}


def test_those_that_wait_are_served_in_the_order_in_which_they_came() -> None:
    holding, waiting = poor()
    for ident in ("c", "a", "b"):
        assert waiting.add(wants(ident)) == []
    assert [one.ident for one in waiting.all()] == ["c", "a", "b"]
    assert waiting.settle(1.0, excuse) == []
    enrich(holding)
    assert waiting.settle(1.0, excuse) == [
        Allocated(ident, IPv4Address(START + number)) for number, ident in enumerate(("c", "a", "b"), 1)
    ]
    assert waiting.settle(99.0, excuse) == []


def test_at_its_deadline_a_request_is_refused_with_the_excuse_and_not_before() -> None:
    _, waiting = poor()
    waiting.add(wants("early", deadline=1.0))
    waiting.add(wants("late", deadline=2.0))
    assert waiting.settle(0.9, excuse) == []
    assert waiting.settle(1.0, excuse) == [Refused("early", "too late for early")]
    assert waiting.settle(5.0, excuse) == [Refused("late", "too late for late")]
    assert len(waiting) == 0


def test_what_can_be_served_at_the_deadline_is_served() -> None:
    holding, waiting = poor()
    waiting.add(wants("pod", deadline=1.0))
    enrich(holding)
    assert waiting.settle(2.0, excuse) == [Allocated("pod", IPv4Address(START + 1))]


def test_asking_again_replaces_the_request_and_its_deadline() -> None:
    _, waiting = poor()
    waiting.add(wants("pod", deadline=1.0))
    waiting.add(wants("pod", 3, deadline=2.0))
    assert waiting.settle(1.5, excuse) == []
    assert [one.address for one in waiting.claims()] == [START + 3]
    assert len(waiting.settle(2.0, excuse)) == 1


def test_a_request_that_is_cancelled_is_refused_once() -> None:
    _, waiting = poor()
    waiting.add(wants("pod"))
    assert [answer.ident for answer in waiting.cancel("pod")] == ["pod"]
    assert waiting.cancel("pod") == []
    assert waiting.settle(99.0, excuse) == []


@pytest.mark.parametrize(
    ("offset", "reason"),
    [(-1, "is not in 10.0.0.0/28"), (16, "is not in"), (0, "kept out of use"), (15, "kept out of use")],
)
def test_an_address_that_nobody_can_have_is_refused_at_once(offset: int, reason: str) -> None:
    _, waiting = poor()
    assert reason in reason_of(waiting.add(wants("pod", offset)))
    assert len(waiting) == 0


@pytest.mark.parametrize("length", [0, IDENT_LENGTH_MAX + 1])
def test_an_ident_that_is_empty_or_endless_is_refused(length: int) -> None:
    _, waiting = rich()
    assert "an ident has" in reason_of(waiting.add(wants("x" * length)))


def test_an_address_in_use_here_is_refused_with_its_holder() -> None:
    _, waiting = rich()
    waiting.add(wants("holder", 5))
    assert "in use here by holder" in reason_of(waiting.add(wants("other", 5)))
    assert "holder already has 10.0.0.5" in reason_of(waiting.add(wants("holder", 6)))


def test_of_two_claims_of_one_address_the_first_gets_it_and_the_other_hears_who_has_it() -> None:
    holding, waiting = poor()
    waiting.add(wants("first", 5))
    waiting.add(wants("second", 5))
    enrich(holding)
    served, refused = waiting.settle(1.0, excuse)
    assert served == Allocated("first", IPv4Address(START + 5))
    assert "in use here by first" in reason_of([refused])


def test_claims_of_one_address_are_refused_together_and_no_others() -> None:
    _, waiting = poor()
    for ident, offset in (("a", 5), ("b", 6), ("c", 5), ("d", None)):
        waiting.add(wants(ident, offset))
    assert waiting.refuse_claims(START + 5, "taken") == [Refused("a", "taken"), Refused("c", "taken")]
    assert [one.ident for one in waiting.all()] == ["b", "d"]


def test_only_so_many_wait_and_those_already_waiting_are_not_hurt() -> None:
    _, waiting = poor()
    for number in range(WAITING_MAX):
        assert waiting.add(wants(f"pod{number}")) == []
    assert "wait already" in reason_of(waiting.add(wants("one more")))
    assert waiting.add(wants("pod0", deadline=20.0)) == []
    assert len(waiting) == WAITING_MAX
    assert waiting.settle(15.0, excuse)[-1] == Refused(f"pod{WAITING_MAX - 1}", f"too late for pod{WAITING_MAX - 1}")
    assert [one.ident for one in waiting.all()] == ["pod0"]


def test_a_claim_knows_its_block() -> None:
    lower, upper = UNIVERSE.halves()
    assert wants("pod", 3).claims_in(lower) and not wants("pod", 3).claims_in(upper)
    assert not wants("pod").claims_in(UNIVERSE)


def test_all_who_wait_can_be_refused_at_once() -> None:
    _, waiting = poor()
    for ident, offset in (("a", 5), ("b", None)):
        waiting.add(wants(ident, offset))
    assert waiting.refuse_all("over") == [Refused("a", "over"), Refused("b", "over")]
    assert len(waiting) == 0 and waiting.refuse_all("over") == []


def test_the_gateway_of_a_subnet_cannot_be_claimed() -> None:
    holding = Holding(ANNE, UNIVERSE, UNIVERSE.halves()[1])
    holding.settle_in(bytes(16), (ANNE,))
    waiting = WaitingList(holding)
    assert "gateway" in reason_of(waiting.add(wants("pod", 9)))
    assert waiting.add(wants("pod")) == [Allocated("pod", IPv4Address(START + 10))]
