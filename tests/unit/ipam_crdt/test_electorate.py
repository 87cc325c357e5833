"""Whose vote counts: never somebody's who does not count us, and nobody's where there are more than there should be."""

import pytest
from msgspec.structs import replace

from ipam_crdt.electorate import NAMES_TOLD_MAX, excuse, voters
from ipam_crdt.roster import Owner
from ipam_crdt.vote import JOINING, Electorate, Vote


def counted(name: str, number: int = 3) -> Vote:
    return Vote(Owner(name), 1, Electorate.counted(number), (Owner(name),))


def addressed(name: str, known: str, targets: int = 2) -> Vote:
    """A peer that was given so many addresses and has learned these one-letter names."""
    names = {Owner(name), *(Owner(letter) for letter in known)}
    return Vote(Owner(name), 1, Electorate.addressed(targets), tuple(sorted(names)))


def counting(*votes: Vote) -> str:
    """The names that count for the first."""
    return "".join(sorted(vote.name for vote in voters(votes[0], votes)))


def sentence(*votes: Vote, reachable: str = "") -> str:
    """What the first says."""
    return excuse(votes[0], votes, [Owner(letter) for letter in reachable])


def test_by_count_all_count_that_were_told_the_same_number() -> None:
    assert counting(counted("a"), counted("b"), counted("c", 4), addressed("d", "a")) == "ab"


def test_by_count_one_too_many_and_nobody_counts() -> None:
    assert counting(*(counted(name) for name in "abcd")) == ""


def test_by_addresses_those_count_that_name_each_other() -> None:
    assert counting(addressed("a", "bc"), addressed("b", "a"), addressed("c", "b")) == "ab"
    assert counting(addressed("a", "b"), addressed("b", "a"), addressed("c", "ab")) == "ab"


def test_by_addresses_those_with_another_number_of_them_do_not_count() -> None:
    assert counting(addressed("a", "bc"), addressed("b", "a", 1), addressed("c", "a")) == "ac"


def test_ways_do_not_mix() -> None:
    assert counting(addressed("a", "bc"), counted("b"), addressed("c", "a")) == "ac"


def test_by_addresses_one_too_many_and_nobody_counts() -> None:
    assert counting(addressed("a", "bcd"), addressed("b", "a")) == ""


def test_a_peer_that_we_named_and_that_names_somebody_else_makes_everybodys_vote_void() -> None:
    assert counting(addressed("a", "bc"), addressed("b", "a"), addressed("c", "ad")) == ""


def test_a_peer_that_we_did_not_name_cannot_make_votes_void() -> None:
    assert counting(addressed("a", "bc"), addressed("b", "a"), addressed("e", "ab")) == "ab"


def test_a_peer_that_joins_counts_for_nobody() -> None:
    joiner = replace(counted("a"), electorate=JOINING)
    assert counting(joiner, counted("b")) == ""
    assert counting(counted("b"), joiner) == "b"
    assert "joins a ring and founds none" in sentence(joiner)
    assert "joins a ring and founds none" in excuse(None, [], [])


@pytest.mark.parametrize(
    ("votes", "reachable", "told"),
    [
        ([counted("a")], "", "waiting for 1 more of 3 initial peers: heard of a; start the others"),
        ([addressed("a", "bc")], "bc", "waiting for 1 more of 3 initial peers: heard of a, not of b, c; start"),
        (
            [counted(name) for name in "abcd"],
            "bcd",
            "more than 3 initial peers: a, b, c, d were all started with --initial-peers 3; restart all but 3",
        ),
        (
            [counted("a"), counted("b", 2)],
            "b",
            "b was started with --initial-peers 2 and this one with --initial-peers 3; start all initial peers with",
        ),
        ([addressed("a", "bcd")], "", "more than 3 initial peers are at the addresses given: a, b, c, d; stop the"),
        (
            [addressed("a", "bc"), addressed("c", "ad")],
            "",
            "more than 3 initial peers: c and this one together name a, b, c, d; stop the initial peers, `weavemesh",
        ),
        (
            [addressed("a", "bc"), addressed("b", "a", 1)],
            "b",
            "b was started with 1 address of initial peers and this one with 2 addresses of initial peers; give each",
        ),
        ([addressed("a", "b"), counted("b")], "b", "b was started with --initial-peers 3 and this one with 2 addr"),
        ([addressed("a", "b"), replace(counted("b"), electorate=JOINING)], "b", "b was started to join and this one"),
        ([addressed("a", "b", 1), addressed("b", "", 1)], "b", "b has not reached this peer at any address"),
        ([counted("a"), counted("b")], "", "of 3 initial peers, 2 must be reachable to found a ring, and these are"),
        ([counted("a"), counted("b")], "b", "the initial peers are agreeing on a ring"),
    ],
)
def test_the_excuse_names_cause_and_remedy(votes: list[Vote], reachable: str, told: str) -> None:
    assert sentence(*votes, reachable=reachable).startswith(told)


def test_by_count_a_peer_given_addresses_is_no_stranger() -> None:
    assert sentence(counted("a"), addressed("b", "a")).startswith("waiting for 1 more")


def test_a_long_list_is_cut() -> None:
    votes = [counted(f"peer{index}", 30) for index in range(NAMES_TOLD_MAX + 2)]
    assert "peer7 and 2 more" in sentence(*votes)
