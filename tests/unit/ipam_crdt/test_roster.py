"""Rosters only grow, and their union is a join."""

from hypothesis import given

from ipam_crdt.roster import Owner, Roster
from tests.property.ipam_strategies import rosters

ANNE, BERT, CARL = Owner("anne"), Owner("bert"), Owner("carl")


@given(rosters(), rosters(), rosters())
def test_the_join_is_commutative_associative_and_idempotent(one: Roster, two: Roster, three: Roster) -> None:
    assert one.join(two) == two.join(one)
    assert one.join(two).join(three) == one.join(two.join(three))
    assert one.join(two).join(two) == one.join(two)


@given(rosters(), rosters())
def test_a_join_forgets_nobody_and_takes_nobody_back(one: Roster, two: Roster) -> None:
    both = one.join(two)
    assert both == Roster(one.members | two.members, one.removed | two.removed)
    assert both.living.isdisjoint(one.removed | two.removed)
    assert both.check() == []


@given(rosters(), rosters())
def test_without_news_the_join_is_this_very_roster(one: Roster, two: Roster) -> None:
    both = one.join(two)
    assert both.join(two) is both
    assert (both is one) == (both == one)


@given(rosters(), rosters())
def test_what_is_beyond_a_roster_is_what_it_lacks(one: Roster, two: Roster) -> None:
    news = one.join(two).beyond(one)
    assert one.join(news) == one.join(two)
    assert news.check() == []
    assert (news == Roster()) == (one.join(two) == one)
    assert news.removed == two.removed - one.removed
    assert news.members - news.removed == two.members - one.members - news.removed


def test_the_removed_need_not_be_named_twice_and_live_no_more() -> None:
    roster = Roster.of(ANNE, BERT, removed=(BERT, CARL))
    assert roster == Roster(frozenset({ANNE, BERT, CARL}), frozenset({BERT, CARL}))
    assert roster.living == {ANNE}


def test_a_removal_of_one_who_is_no_member_is_named() -> None:
    assert Roster(frozenset({ANNE}), frozenset({BERT})).check() == ["somebody was removed who is no member"]
