"""Votes are understood as they were meant, garbage raises RemoteViolation alone, and elections survive anything."""

from contextlib import suppress
from random import Random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ipam_crdt.election import Election
from ipam_crdt.error import RemoteViolation
from ipam_crdt.roster import Owner
from ipam_crdt.vote import (
    COUNTER_MAX,
    FORMAT,
    JOINING,
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

names = st.sampled_from([Owner(name) for name in "abcde"])
some_names = st.frozensets(names, min_size=1, max_size=4)
counters = st.integers(1, 4) | st.integers(1, COUNTER_MAX)
ballots = st.builds(Ballot, counters, names)
decrees = st.builds(Decree, st.binary(min_size=16, max_size=16), some_names.map(lambda some: tuple(sorted(some))))
electorates = (
    st.just(JOINING)
    | st.sampled_from([Electorate.counted(3), Electorate.addressed(2)])
    | st.builds(Electorate, st.sampled_from([Way.COUNT, Way.ADDRESSES]), st.integers(1, PARTICIPANTS_MAX))
)


@st.composite
def votes(draw: st.DrawFn) -> Vote:
    name = draw(names)
    known = tuple(sorted({name, *draw(some_names)}))
    first, second = sorted([draw(ballots), draw(ballots)])
    accepted = draw(st.none() | st.builds(Accepted, st.just(first), decrees))
    promised = second if accepted is not None else draw(st.sampled_from([NO_BALLOT, second]))
    return Vote(name, draw(counters), draw(electorates), known, promised, accepted)


states = st.lists(votes(), max_size=5, unique_by=lambda vote: vote.name)


def decode_anything(payload: bytes) -> None:
    """What passes the decoder keeps the laws of votes and goes back into the same votes."""
    with suppress(RemoteViolation):
        heard = decode_votes(payload)
        for vote in heard:
            assert vote.name in vote.known and list(vote.known) == sorted({*vote.known})
            assert vote.accepted_ballot <= vote.promised
        assert decode_votes(encode_votes(heard)) == heard


@given(states)
def test_votes_come_back_as_they_went(told: list[Vote]) -> None:
    assert decode_votes(encode_votes(told)) == tuple(sorted(told, key=lambda vote: vote.name))


@given(st.binary(max_size=200))
def test_garbage_raises_only_remote_violation(payload: bytes) -> None:
    decode_anything(payload)
    decode_anything(bytes([FORMAT]) + payload)


@given(states.map(encode_votes), st.data())
def test_a_payload_altered_anywhere_is_sound_or_refused(payload: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(payload) - 1))
    change = data.draw(st.binary(max_size=3))
    decode_anything(payload[:place] + change + payload[place + 1 :])


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=4) | st.binary(max_size=17),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=16,
)
numbers = st.integers(0, 3) | st.integers(-1, 2**64 - 1)
pairs = st.none() | st.tuples(numbers, numbers)
plausible = st.tuples(
    st.lists(names | st.text(max_size=3), max_size=4),
    st.lists(st.tuples(st.binary(min_size=16, max_size=16), st.lists(numbers, max_size=3)), max_size=2),
    st.lists(
        st.tuples(
            numbers,
            numbers,
            st.sampled_from(["count", "addresses", "join"]),
            numbers,
            st.lists(numbers, max_size=3),
            pairs,
            pairs,
            st.none() | numbers,
        ),
        max_size=3,
    ),
)


@given(values | plausible)
def test_well_formed_messagepack_of_any_content_is_sound_or_refused(value: object) -> None:
    decode_anything(bytes([FORMAT]) + msgspec.msgpack.encode(value))


def an_election(electorate: Electorate | None) -> Election:
    return Election(Owner("a"), electorate=electorate, snapshot=None, rng=Random(1), now=0.0)


@given(st.sampled_from([None, Electorate.counted(3), Electorate.addressed(2)]), st.lists(states, max_size=6))
def test_whatever_others_say_our_promises_stand_and_what_we_tell_can_be_read(
    electorate: Electorate | None, heard: list[list[Vote]]
) -> None:
    election = an_election(electorate)
    promised = NO_BALLOT
    for number, told in enumerate(heard):
        election.set_known([Owner(name) for name in "bc"], float(number))
        election.set_reachable([Owner(name) for name in "bc"], float(number))
        election.receive(encode_votes(told), float(number))
        election.tick(float(number) + 0.7)
        assert decode_votes(election.state()) == election.votes()
        assert election.check() == []
        vote = election.vote()
        if vote is not None:
            assert vote.promised >= promised
            promised = vote.promised


@given(states, states)
def test_an_observer_joins_votes_in_any_order_to_the_same(one: list[Vote], other: list[Vote]) -> None:
    forth, back = an_election(None), an_election(None)
    told = [encode_votes([vote for vote in some if vote.name != "a"]) for some in (one, other)]
    for payload in told:
        forth.receive(payload, 0.0)
    for payload in [*reversed(told), *told]:
        back.receive(payload, 0.0)
    assert forth.state() == back.state()
