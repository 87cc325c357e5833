"""One peer's part of the founding, step by step: what it promises, accepts, proposes, keeps and tells."""

from random import Random

import pytest
from msgspec.structs import replace

from ipam_crdt.election import ABSENT_S, FIRST_DELAY_S, PAUSE_S, Election
from ipam_crdt.error import LocalMisuse, RemoteViolation, SnapshotCorrupt
from ipam_crdt.roster import Owner
from ipam_crdt.vote import (
    COUNTER_MAX,
    JOINING,
    NO_BALLOT,
    PARTICIPANTS_MAX,
    Accepted,
    Ballot,
    Decree,
    Electorate,
    Vote,
    decode_votes,
    encode_votes,
)

A, B, C = Owner("a"), Owner("b"), Owner("c")
LATEST_S = FIRST_DELAY_S[1] + ABSENT_S
THREE = Electorate.counted(3)
DECREE = Decree(bytes(range(16)), (B, C))
OTHER = Decree(bytes(16), (C,))


def an_election(
    owner: Owner = A, electorate: Electorate | None = THREE, snapshot: bytes | None = None, now: float = 0.0
) -> Election:
    return Election(owner, electorate=electorate, snapshot=snapshot, rng=Random(owner), now=now)


def says(name: Owner, serial: int = 1, promised: Ballot = NO_BALLOT, accepted: Accepted | None = None) -> bytes:
    """The vote of another initial peer, by count."""
    return encode_votes([Vote(name, serial, THREE, (name,), promised, accepted)])


def own(election: Election) -> Vote:
    vote = election.vote()
    assert vote is not None and election.check() == []
    return vote


def attempting() -> Election:
    """A peer of three that has heard of another, and whose first attempt has been made, in ballot 1."""
    election = an_election()
    election.receive(says(B), 0.0)
    election.set_reachable([B], 0.0)
    election.tick(LATEST_S)
    assert own(election).promised == Ballot(1, A)
    return election


def exchange(*elections: Election, now: float) -> None:
    """Everybody hears everybody until nobody has news."""
    told = True
    while told:
        told = False
        for one in elections:
            news = one.take_news()
            if news is not None:
                told = True
                for other in elections:
                    other.receive(news, now)


def test_a_peer_that_expects_nobody_else_has_decided_at_once() -> None:
    for electorate in (Electorate.counted(1), Electorate.addressed(0)):
        election = an_election(electorate=electorate)
        assert election.decision is not None and election.decision.owners == (A,)
        assert election.take_news() is not None and election.deadline() is None and election.excuse() == ""
        again = an_election(electorate=electorate, snapshot=election.state())
        assert again.decision == election.decision and again.take_news() is None


def test_three_peers_decide_the_same_and_all_get_a_share() -> None:
    elections = [an_election(name) for name in (A, B, C)]
    exchange(*elections, now=0.0)
    for election in elections:
        election.set_reachable([A, B, C], 0.0)
    first = min(elections, key=lambda election: election.deadline() or 99.0)
    assert first.deadline() is not None
    first.tick(first.deadline() or 0.0)
    exchange(*elections, now=1.0)
    assert {election.decision for election in elections} == {first.decision}
    assert first.decision is not None and first.decision.owners == (A, B, C)
    assert all(election.deadline() is None and election.excuse() == "" for election in elections)


def test_by_addresses_names_must_be_known_both_ways() -> None:
    one, other = an_election(A, Electorate.addressed(1)), an_election(B, Electorate.addressed(1))
    for election in (one, other):
        election.set_reachable([A, B], 0.0)
    one.set_known([B], 0.0)
    exchange(one, other, now=0.0)
    assert one.deadline() is None and other.deadline() is None
    other.set_known([A], 0.0)
    exchange(one, other, now=0.0)
    assert one.deadline() is not None and other.deadline() is not None


def test_known_names_only_grow_and_outlive_a_restart_but_not_another_command_line() -> None:
    election = an_election(electorate=Electorate.addressed(2))
    election.set_known([B], 0.0)
    election.set_known([C], 0.0)
    election.set_known([], 0.0)
    assert own(election).known == (A, B, C)
    assert own(an_election(electorate=Electorate.addressed(2), snapshot=election.state())).known == (A, B, C)
    assert own(an_election(electorate=Electorate.addressed(1), snapshot=election.state())).known == (A,)


def test_by_count_and_to_join_addresses_do_not_matter() -> None:
    for electorate in (THREE, None):
        election = an_election(electorate=electorate)
        before = election.state()
        election.set_known([B], 0.0)
        assert election.state() == before


def test_no_attempt_without_a_reachable_majority() -> None:
    election = an_election()
    election.set_reachable([B, C], 0.0)
    assert election.deadline() is None
    election.receive(says(B), 0.0)
    deadline = election.deadline()
    assert deadline is not None and FIRST_DELAY_S[0] <= deadline <= LATEST_S
    election.set_reachable([], 0.05)
    assert election.deadline() is None
    election.tick(99.0)
    assert own(election).promised == NO_BALLOT


def test_an_attempt_is_a_promise_to_ourselves_in_a_ballot_above_all_others() -> None:
    election = an_election()
    election.receive(says(B, promised=Ballot(7, C)), 0.0)
    election.set_reachable([B], 0.0)
    election.take_news()
    election.tick(FIRST_DELAY_S[0] / 2)
    assert election.take_news() is None, "too early"
    election.tick(LATEST_S)
    assert own(election).promised == Ballot(8, A)
    assert own(election).accepted is None and election.decision is None
    assert election.take_news() == election.state()


def test_pauses_grow_and_each_attempt_has_a_greater_ballot() -> None:
    election = attempting()
    now, pauses = LATEST_S, []
    for number in range(1, 9):
        assert own(election).promised == Ballot(number, A)
        deadline = election.deadline()
        assert deadline is not None
        pauses.append(deadline - now)
        now = deadline
        election.tick(now)
    assert PAUSE_S[0] <= pauses[0] / 2 <= PAUSE_S[1]
    assert max(pauses) <= 16 * PAUSE_S[1]
    assert pauses[-1] >= 16 * PAUSE_S[0]


def test_a_majority_of_promises_makes_a_new_decree_for_those_that_are_reachable() -> None:
    election = attempting()
    election.receive(says(C), 1.0)
    election.receive(says(B, 2, Ballot(1, A)), 1.0)
    accepted = own(election).accepted
    assert accepted is not None and accepted.ballot == Ballot(1, A) and accepted.decree.owners == (A, B)
    assert election.decision is None
    election.receive(says(B, 3, Ballot(1, A), accepted), 1.0)
    assert election.decision == accepted.decree


def test_what_somebody_had_accepted_is_proposed_again_the_latest_of_all() -> None:
    five = Electorate.counted(5)
    election = an_election(electorate=five)
    names = [Owner(name) for name in "bcd"]
    election.receive(encode_votes([Vote(name, 1, five, (name,)) for name in names]), 0.0)
    election.set_reachable(names, 0.0)
    election.receive(encode_votes([Vote(B, 2, five, (B,), Ballot(5, C), Accepted(Ballot(5, C), DECREE))]), 0.1)
    election.receive(encode_votes([Vote(C, 2, five, (C,), Ballot(4, B), Accepted(Ballot(4, B), OTHER))]), 0.1)
    election.tick(LATEST_S)
    ballot = own(election).promised
    assert ballot == Ballot(6, A)
    election.receive(encode_votes([Vote(B, 3, five, (B,), ballot, Accepted(Ballot(5, C), DECREE))]), 1.0)
    election.receive(encode_votes([Vote(C, 3, five, (C,), ballot, Accepted(Ballot(4, B), OTHER))]), 1.0)
    assert own(election).accepted == Accepted(ballot, DECREE)


def test_promises_in_another_ballot_do_not_count() -> None:
    election = attempting()
    election.receive(says(B, 2, Ballot(2, B)), 1.0)
    assert own(election).promised == Ballot(2, B), "the greater ballot is promised"
    assert own(election).accepted is None
    late = attempting()
    late.receive(says(B, 2, Ballot(9, C)), 1.0)
    assert own(late).promised == Ballot(1, A), "C has not asked us itself"
    assert own(late).accepted is None


def test_a_promise_is_given_to_greater_ballots_of_their_proposers_only() -> None:
    election = an_election()
    election.receive(says(B, promised=Ballot(3, B)), 0.0)
    election.receive(says(C, promised=Ballot(2, C)), 0.0)
    assert own(election).promised == Ballot(3, B)
    election.receive(says(C, 2, promised=Ballot(3, C)), 0.0)
    assert own(election).promised == Ballot(3, C)


def test_a_proposal_is_accepted_unless_more_was_promised() -> None:
    election = an_election()
    election.receive(says(B, promised=Ballot(3, B)), 0.0)
    election.receive(says(C, promised=Ballot(2, C), accepted=Accepted(Ballot(2, C), OTHER)), 0.0)
    assert own(election).accepted is None
    election.receive(says(B, 2, Ballot(3, B), Accepted(Ballot(3, B), DECREE)), 0.0)
    assert own(election).accepted == Accepted(Ballot(3, B), DECREE)
    assert election.decision == DECREE
    election.receive(says(B, 3, Ballot(3, B), Accepted(Ballot(3, B), OTHER)), 0.0)
    assert own(election).accepted == Accepted(Ballot(3, B), DECREE), "never two decrees in one ballot"


def test_a_proposal_is_not_accepted_from_somebody_who_does_not_count() -> None:
    election = an_election()
    stranger = Vote(B, 1, Electorate.counted(4), (B,), Ballot(3, B), Accepted(Ballot(3, B), DECREE))
    election.receive(encode_votes([stranger]), 0.0)
    assert own(election).promised == NO_BALLOT
    assert election.votes() == (own(election), stranger), "but it is kept and passed on"
    assert "--initial-peers 4" in election.excuse()


def test_a_decided_peer_still_promises_and_never_changes_its_decision() -> None:
    election = an_election()
    election.receive(says(B, promised=Ballot(3, B), accepted=Accepted(Ballot(3, B), DECREE)), 0.0)
    assert election.decision == DECREE
    election.receive(says(C, promised=Ballot(4, C)), 0.0)
    assert own(election).promised == Ballot(4, C) and election.decision == DECREE
    assert election.deadline() is None


def test_a_restart_goes_on_from_what_was_promised() -> None:
    election = attempting()
    again = an_election(snapshot=election.state())
    assert own(again) == own(election)
    assert again.take_news() is None
    again.receive(says(B, 2, Ballot(1, A)), 1.0)
    assert own(again).accepted_ballot == Ballot(1, A)


def test_another_command_line_keeps_the_promises_and_to_join_withdraws_the_vote() -> None:
    election = attempting()
    for electorate in (Electorate.counted(5), None):
        again = an_election(electorate=electorate, snapshot=election.state())
        assert own(again).electorate == (electorate or JOINING)
        assert own(again).promised == Ballot(1, A)
        assert own(again).serial > own(election).serial and again.take_news() is not None


def test_our_own_vote_that_comes_back_newer_is_taken_over() -> None:
    old = an_election().state()
    for snapshot in (None, old):
        election = an_election(snapshot=snapshot)
        newer = Vote(A, 9, THREE, (A,), Ballot(4, B), Accepted(Ballot(3, B), DECREE))
        election.receive(encode_votes([newer]), 0.0)
        assert own(election) == newer
        older = replace(newer, serial=8, promised=Ballot(3, B))
        election.receive(encode_votes([older]), 0.0)
        assert own(election) == newer


def test_of_two_votes_of_ours_with_one_serial_the_greater_promises_stand() -> None:
    election = attempting()
    twin = replace(own(election), promised=Ballot(1, Owner("9")), accepted=Accepted(Ballot(1, Owner("9")), DECREE))
    assert twin.promised < own(election).promised
    election.receive(encode_votes([twin]), 0.0)
    assert own(election).promised == Ballot(1, A) and own(election).accepted == twin.accepted
    assert own(election).serial == twin.serial + 1
    greater = replace(own(election), promised=Ballot(8, C))
    election.receive(encode_votes([greater]), 0.0)
    assert own(election) == greater


def test_our_own_vote_heard_by_a_peer_that_joins_is_withdrawn() -> None:
    election = an_election(electorate=None)
    election.receive(says(A, 5, Ballot(4, B)), 0.0)
    assert own(election) == Vote(A, 6, JOINING, (A,), Ballot(4, B))


def test_a_serial_that_cannot_be_topped_is_not_believed() -> None:
    election = an_election()
    election.receive(says(A, COUNTER_MAX), 0.0)
    assert own(election).serial == 1


def test_news_is_told_once_and_what_is_known_is_no_news() -> None:
    election = an_election()
    assert election.take_news() is not None
    assert election.take_news() is None
    election.receive(says(B), 0.0)
    assert decode_votes(election.take_news() or b"") == election.votes()
    election.receive(says(B), 0.0)
    election.receive(election.state(), 0.0)
    election.receive(encode_votes([]), 0.0)
    assert election.take_news() is None


def test_a_peer_that_joins_keeps_and_passes_on_what_others_say_and_does_nothing() -> None:
    election = an_election(electorate=None)
    assert election.vote() is None and election.take_news() is None
    election.set_reachable([B, C], 0.0)
    election.receive(says(B, promised=Ballot(3, B), accepted=Accepted(Ballot(3, B), DECREE)), 0.0)
    election.tick(9.0)
    assert election.vote() is None and election.deadline() is None and election.decision is None
    assert election.take_news() == says(B, promised=Ballot(3, B), accepted=Accepted(Ballot(3, B), DECREE))
    assert "founds none" in election.excuse()


def test_with_too_many_votes_those_that_matter_are_kept_and_the_rest_is_no_news() -> None:
    election = an_election(Owner("zoe"), Electorate.addressed(1))
    friend = Owner("yves")
    election.set_known([friend], 0.0)
    crowd = [Owner(f"peer{index:03}") for index in range(PARTICIPANTS_MAX)]
    election.receive(encode_votes([Vote(name, 1, THREE, (name,)) for name in crowd]), 0.0)
    election.receive(encode_votes([Vote(friend, 1, Electorate.addressed(1), (friend,))]), 0.0)
    kept = [vote.name for vote in election.votes()]
    assert len(kept) == PARTICIPANTS_MAX and kept[-2:] == [friend, "zoe"]
    assert election.check() == []
    election.take_news()
    election.receive(encode_votes([Vote(name, 1, THREE, (name,)) for name in crowd]), 0.0)
    assert election.take_news() is None


def test_garbage_is_refused_and_changes_nothing() -> None:
    election = an_election()
    before = election.state()
    for payload in (b"", b"\x01", before[:-1], before + b"x"):
        with pytest.raises(RemoteViolation):
            election.receive(payload, 0.0)
    assert election.state() == before


def test_a_snapshot_that_cannot_be_read_is_corrupt() -> None:
    with pytest.raises(SnapshotCorrupt):
        an_election(snapshot=b"\x02\xff")


@pytest.mark.parametrize("name", ["", "a\x1b", "a" * 33])
def test_a_name_that_nobody_may_have_is_misuse(name: str) -> None:
    with pytest.raises(LocalMisuse):
        an_election(Owner(name))
