"""A vote's greater version stands; what no honest peer says is a violation; what is told of many fits a frame."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from ipam_crdt.error import LocalMisuse, RemoteViolation
from ipam_crdt.roster import Owner
from ipam_crdt.vote import (
    COUNTER_MAX,
    FORMAT,
    JOINING,
    NAMES_MAX,
    NO_BALLOT,
    PARTICIPANTS_MAX,
    Accepted,
    Ballot,
    Decree,
    Electorate,
    Vote,
    Way,
    decode_votes,
    encode_votes,
)
from ipam_crdt.wire import OWNER_LENGTH_MAX, PAYLOAD_BYTES_MAX

ANNE, BERT = Owner("anne"), Owner("bert")
THREE = Electorate.counted(3)
DECREE = Decree(bytes(16), (ANNE, BERT))
PLAIN = Vote(ANNE, 1, THREE, (ANNE,))
FULL = Vote(BERT, 7, Electorate.addressed(1), (ANNE, BERT), Ballot(4, ANNE), Accepted(Ballot(3, BERT), DECREE))


def test_votes_come_back_as_they_went_sorted_by_name() -> None:
    assert decode_votes(encode_votes([FULL, PLAIN])) == (PLAIN, FULL)
    assert encode_votes([FULL, PLAIN]) == encode_votes([PLAIN, FULL])
    assert decode_votes(encode_votes([])) == ()


@pytest.mark.parametrize("number", [0, -1, PARTICIPANTS_MAX + 1])
def test_a_number_of_initial_peers_that_cannot_be_is_refused(number: int) -> None:
    with pytest.raises(LocalMisuse):
        Electorate.counted(number)
    with pytest.raises(LocalMisuse):
        Electorate.addressed(number - 1)


def test_by_addresses_the_peer_itself_is_one_more() -> None:
    assert Electorate.addressed(2) == Electorate(Way.ADDRESSES, 3)
    assert JOINING.expected == 0


@pytest.mark.parametrize("expected", range(1, 9))
def test_two_quorums_do_not_fit_side_by_side(expected: int) -> None:
    quorum = Electorate.counted(expected).quorum
    assert 2 * quorum > expected >= quorum


def test_the_greater_serial_stands_and_versions_are_totally_ordered() -> None:
    versions = [
        PLAIN,
        replace(PLAIN, electorate=Electorate.addressed(2)),
        replace(PLAIN, electorate=Electorate.counted(4)),
        replace(PLAIN, known=(ANNE, BERT)),
        replace(PLAIN, promised=Ballot(2, BERT)),
        replace(PLAIN, promised=Ballot(2, BERT), accepted=Accepted(Ballot(2, BERT), DECREE)),
    ]
    for one in versions:
        assert replace(one, serial=2).rank > max(version.rank for version in versions)
        assert sum(one.rank == other.rank for other in versions) == 1
    assert len(sorted(version.rank for version in versions)) == len(versions)


def test_a_ballot_and_a_proposal_are_asked_for_by_their_proposer_alone() -> None:
    mine = Vote(ANNE, 1, THREE, (ANNE,), Ballot(4, ANNE), Accepted(Ballot(4, ANNE), DECREE))
    assert (mine.own_ballot, mine.proposal) == (Ballot(4, ANNE), mine.accepted)
    following = replace(mine, name=BERT)
    assert (following.own_ballot, following.proposal) == (NO_BALLOT, None)
    assert (PLAIN.own_ballot, PLAIN.proposal, PLAIN.accepted_ballot) == (NO_BALLOT, None, NO_BALLOT)


def test_a_vote_mentions_all_names_in_it() -> None:
    other = Decree(bytes(16), (Owner("carl"),))
    vote = Vote(ANNE, 1, THREE, (ANNE, BERT), Ballot(2, Owner("dora")), Accepted(Ballot(1, Owner("emil")), other))
    assert vote.names() == {"anne", "bert", "carl", "dora", "emil"}
    assert PLAIN.names() == {"anne"}


def packed(value: object) -> bytes:
    return bytes([FORMAT]) + msgspec.msgpack.encode(value)


def wire(**changes: Any) -> list[Any]:
    """A state of one vote that is fine but for the changes."""
    parts = {
        "name": 0,
        "serial": 1,
        "way": "count",
        "expected": 3,
        "known": [0],
        "promised": [1, 1],
        "accepted": [1, 1],
        "decree": 0,
        "names": ["anne", "bert"],
        "ring_id": bytes(16),
        "owners": [0, 1],
    } | changes
    vote = [parts[part] for part in ("name", "serial", "way", "expected", "known", "promised", "accepted", "decree")]
    return [parts["names"], [[parts["ring_id"], parts["owners"]]], [vote]]


def test_the_state_of_these_tests_is_fine_and_what_a_later_release_appends_is_ignored() -> None:
    (vote,) = decode_votes(packed(wire()))
    assert vote == Vote(ANNE, 1, THREE, (ANNE,), Ballot(1, BERT), Accepted(Ballot(1, BERT), DECREE))
    assert decode_votes(packed([*wire(), "later"])) == (vote,)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": 2},
        {"serial": 0},
        {"serial": COUNTER_MAX + 1},
        {"way": "lot"},
        {"expected": 0},
        {"expected": PARTICIPANTS_MAX + 1},
        {"way": "join"},
        {"known": []},
        {"known": [1]},
        {"known": [0, 0]},
        {"known": [1, 0]},
        {"known": [0, 2]},
        {"known": [0] * (PARTICIPANTS_MAX + 1)},
        {"promised": None},
        {"promised": [0, 0]},
        {"promised": [COUNTER_MAX + 1, 0]},
        {"promised": [1, 0]},
        {"promised": [2, 2]},
        {"accepted": None},
        {"decree": None},
        {"decree": 1},
        {"decree": -1},
        {"names": ["anne", ""]},
        {"names": ["anne", "b" * (OWNER_LENGTH_MAX + 1)]},
        {"names": ["anne", "b\x1b"]},
        {"names": [f"peer{index}" for index in range(NAMES_MAX + 1)]},
        {"ring_id": bytes(15)},
        {"owners": []},
        {"owners": [1, 0]},
        {"owners": [0, 0]},
        {"owners": [0, 2]},
    ],
)
def test_what_no_honest_peer_says_is_a_violation(changes: dict[str, object]) -> None:
    with pytest.raises(RemoteViolation):
        decode_votes(packed(wire(**changes)))


def test_two_votes_of_one_peer_are_a_violation() -> None:
    names, decrees, (vote,) = wire()
    with pytest.raises(RemoteViolation):
        decode_votes(packed([names, decrees, [vote, vote]]))


@pytest.mark.parametrize(
    "payload",
    [b"", b"\x01\x93\x90\x90\x90", bytes([FORMAT]), bytes([FORMAT]) + b"\x93\x91\xa1\xff\x90\x90", packed(None)],
)
def test_what_is_not_a_state_at_all_is_a_violation(payload: bytes) -> None:
    with pytest.raises(RemoteViolation):
        decode_votes(payload)


def test_an_endless_payload_is_a_violation() -> None:
    with pytest.raises(RemoteViolation):
        decode_votes(bytes([FORMAT]) * (PAYLOAD_BYTES_MAX + 1))


def test_the_most_that_may_be_told_fits_a_quarter_of_a_payload_each_way() -> None:
    names = tuple(Owner(f"{index:0{OWNER_LENGTH_MAX}}") for index in range(NAMES_MAX))
    first, last = names[:PARTICIPANTS_MAX], names[-PARTICIPANTS_MAX:]
    votes = tuple(
        Vote(
            name,
            COUNTER_MAX,
            Electorate.counted(PARTICIPANTS_MAX),
            tuple(sorted({name, *last[1:]})),
            Ballot(COUNTER_MAX, names[-1]),
            Accepted(Ballot(COUNTER_MAX, names[-1]), Decree(index.to_bytes(16, "big"), last)),
        )
        for index, name in enumerate(first)
    )
    payload = encode_votes(votes)
    assert len(payload) <= PAYLOAD_BYTES_MAX // 2
    assert decode_votes(payload) == votes
