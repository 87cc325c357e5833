"""Whom to ask: one at a time, the promising first, nobody for ever left out."""

from ipaddress import IPv4Network
from random import Random

from ipam_crdt.cidr import Block
from ipam_crdt.donor import ANSWER_S, DENIED_REST_MAX_S, DENIED_REST_S, DonorSearch
from ipam_crdt.ring import Ring
from ipam_crdt.roster import Owner, Roster

SELF, ANNE, BERT, CARL = (Owner(name) for name in ("self", "anne", "bert", "carl"))
UNIVERSE = Block.of(IPv4Network("10.0.0.0/24"))


def ring_of(*owners: Owner) -> Ring:
    """The first owns half, each next one half of what is left of the other half."""
    ring, rest = Ring.founded(bytes(16), UNIVERSE, owners[:1]), UNIVERSE
    for owner in owners[1:]:
        rest = rest.halves()[1]
        giver = ring.entry_at(rest.start).title.owner
        ring = ring.grant(rest, giver=giver, taker=owner).ring
    return ring


RING = ring_of(SELF, ANNE, BERT, CARL)


def search(*reachable: Owner, seed: int = 1, subnet: Block = UNIVERSE) -> DonorSearch:
    donors = DonorSearch(SELF, subnet, Random(seed))
    donors.set_reachable(reachable)
    return donors


def test_nobody_is_asked_who_is_unreachable_owns_nothing_or_is_ourselves() -> None:
    assert search(SELF).next_donor(RING, 0.0) is None
    assert search(Owner("dora")).next_donor(RING, 0.0) is None
    assert search().next_donor(RING, 0.0) is None
    assert search(BERT, SELF, Owner("dora")).next_donor(RING, 0.0) == BERT


def test_while_an_answer_is_awaited_nobody_else_is_asked() -> None:
    donors = search(ANNE, BERT)
    assert donors.next_donor(RING, 0.0) is not None
    assert donors.next_donor(RING, ANSWER_S / 2) is None
    assert donors.wake_at(RING) == ANSWER_S


def test_the_silent_are_asked_again_only_after_all_others() -> None:
    donors = search(ANNE, BERT, CARL)
    asked = [donors.next_donor(RING, number * ANSWER_S) for number in range(6)]
    assert set(asked[:3]) == set(asked[3:]) == {ANNE, BERT, CARL}


def test_an_answer_makes_way_for_the_next_question_at_once() -> None:
    donors = search(ANNE)
    donors.next_donor(RING, 0.0)
    donors.note_answer(ANNE)
    assert donors.next_donor(RING, 0.0) == ANNE


def test_an_answer_of_another_does_not_end_the_wait() -> None:
    donors = search(ANNE)
    donors.next_donor(RING, 0.0)
    donors.note_answer(BERT)
    assert donors.next_donor(RING, 0.0) is None


def test_who_denies_rests_longer_each_time_up_to_a_limit() -> None:
    donors, now, rests = search(ANNE), 0.0, []
    for _ in range(20):
        assert donors.next_donor(RING, now) == ANNE
        donors.note_denial(ANNE, now)
        assert donors.next_donor(RING, now) is None
        wake_at = donors.wake_at(RING)
        assert wake_at is not None
        rests.append(wake_at - now)
        now = wake_at
    assert rests[0] == DENIED_REST_S
    assert rests == sorted(rests) and rests[-1] == DENIED_REST_MAX_S


def test_news_of_free_space_end_a_rest_but_news_of_none_do_not() -> None:
    donors = search(ANNE)
    donors.note_denial(ANNE, 0.0)
    donors.hear(ANNE, 0)
    assert donors.next_donor(RING, 0.0) is None
    donors.hear(ANNE, None)
    assert (donors.next_donor(RING, 0.0), donors.free_at(ANNE)) == (None, 0)
    donors.hear(ANNE, 5)
    assert (donors.next_donor(RING, 0.0), donors.free_at(ANNE)) == (ANNE, 5)


def test_news_of_free_space_do_not_end_the_rest_of_one_whose_grant_was_of_no_use() -> None:
    donors = search(ANNE)
    donors.note_denial(ANNE, 0.0, outlasts_news=True)
    donors.hear(ANNE, 5)
    assert donors.next_donor(RING, 0.0) is None
    assert donors.next_donor(RING, DENIED_REST_S) == ANNE


def test_a_request_to_one_who_went_away_is_given_up_at_once() -> None:
    donors = search(ANNE)
    donors.next_donor(RING, 0.0)
    donors.set_reachable([BERT])
    assert donors.next_donor(RING, 0.0) == BERT


def test_one_who_comes_back_starts_afresh() -> None:
    donors = search(ANNE)
    donors.note_denial(ANNE, 0.0)
    donors.set_reachable([])
    assert donors.wake_at(RING) is None
    donors.set_reachable([ANNE])
    assert donors.next_donor(RING, 0.0) == ANNE


def test_rest_forgets_who_was_asked_and_who_denied() -> None:
    donors = search(ANNE)
    donors.note_denial(ANNE, 0.0)
    donors.rest()
    assert donors.wake_at(RING) is None
    assert donors.next_donor(RING, 0.0) == ANNE


def test_those_with_more_free_space_are_asked_more_often_and_those_with_none_now_and_then() -> None:
    first = {ANNE: 0, BERT: 0, CARL: 0}
    for seed in range(400):
        donors = search(ANNE, BERT, CARL, seed=seed)
        for owner, free in ((ANNE, 0), (BERT, 10), (CARL, 100)):
            donors.hear(owner, free)
        chosen = donors.next_donor(RING, 0.0)
        assert chosen is not None
        first[chosen] += 1
    assert 0 < first[ANNE] < first[BERT] < first[CARL]


def test_one_seed_is_one_course_of_events() -> None:
    courses = []
    for _ in range(2):
        donors = search(ANNE, BERT, CARL, seed=7)
        courses.append([donors.next_donor(RING, number * ANSWER_S) for number in range(9)])
    assert courses[0] == courses[1]


def test_an_excuse_names_each_owner_with_its_state_and_the_remedy() -> None:
    donors = search(ANNE, BERT)
    donors.note_denial(ANNE, 0.0)
    excuse = donors.excuse(RING)
    for part in ("anne (has no free address)", "bert (has not answered)", "carl (unreachable)", "start those peers"):
        assert part in excuse
    assert "no other peer owns any" in donors.excuse(ring_of(SELF))


def test_an_excuse_counts_the_owners_beyond_a_few() -> None:
    ring = ring_of(SELF, *(Owner(f"p{number}") for number in range(6)))
    excuse = search().excuse(ring)
    assert "p3 (unreachable) and 2 more" in excuse and "p4" not in excuse


def test_the_excuse_of_a_claim_names_the_owner_of_its_address() -> None:
    address = RING.blocks_of(ANNE)[0].start
    assert "belongs to anne, which is unreachable" in search().excuse_claim(RING, address)
    assert "belongs to anne, which has not answered" in search(ANNE).excuse_claim(RING, address)
    assert "nobody is known to own" in search().excuse_claim(Ring.unknown(bytes(16), UNIVERSE), address)


def test_one_answer_to_the_latest_request_lets_us_ask_once_more() -> None:
    donors = search(ANNE)
    donors.next_donor(RING, 0.0)
    first = donors.request_number
    donors.next_donor(RING, ANSWER_S)
    second = donors.request_number
    assert first != second
    assert not donors.is_awaited(first), "it is late"
    assert donors.is_awaited(second)
    assert not donors.is_awaited(second), "it came twice"


def test_only_owners_of_a_part_of_the_subnet_are_asked_and_named() -> None:
    donors = search(ANNE, BERT, CARL, subnet=RING.blocks_of(BERT)[0])
    assert donors.next_donor(RING, 0.0) == BERT
    assert "bert" in donors.excuse(RING) and "anne" not in donors.excuse(RING)


def test_nobody_is_asked_who_was_removed_and_the_excuse_of_a_claim_says_so() -> None:
    ring = RING.merge((), Roster.of(removed=(ANNE, BERT))).ring
    assert search(ANNE, BERT).next_donor(ring, 0.0) is None
    address = RING.blocks_of(ANNE)[0].start
    assert "belongs to anne, which was removed" in search(ANNE).excuse_claim(ring, address)
