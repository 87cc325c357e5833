"""What is told of a ring is understood as it was meant, and garbage raises RemoteViolation and nothing else."""

from contextlib import suppress

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ipam_crdt.cidr import ADDRESS_BITS, Block
from ipam_crdt.error import RemoteViolation
from ipam_crdt.ring import RING_ID_BYTES, ROUND_MAX, VERSION_MAX, Entry, Ring, Title
from ipam_crdt.roster import Owner, Roster
from ipam_crdt.wire import (
    DIGEST_BYTES,
    FORMAT,
    OWNER_LENGTH_MAX,
    REQUEST_NUMBERS,
    Agree,
    Deny,
    DenyReason,
    Grant,
    Knowledge,
    Message,
    Notice,
    Request,
    Settle,
    decode_knowledge,
    decode_message,
    digest_of,
    digest_of_roster,
    encode_knowledge,
    encode_message,
    knowledge_of,
)
from tests.property.ipam_strategies import blocks

names = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=OWNER_LENGTH_MAX).map(Owner)
titles = st.builds(Title, st.integers(1, VERSION_MAX), names, st.just(Owner("")) | names)
addresses = st.integers(0, 2**ADDRESS_BITS - 1)

ALL = Block(0, 0)

rosters = st.builds(
    lambda members, removed: Roster.of(*members, removed=tuple(removed)),
    st.lists(names, max_size=3),
    st.lists(names, max_size=3),
)


@st.composite
def rings(draw: st.DrawFn) -> Ring:
    universe = draw(blocks(ALL))
    ring = Ring.unknown(draw(st.binary(min_size=RING_ID_BYTES, max_size=RING_ID_BYTES)), universe)
    for entry in draw(st.lists(st.builds(Entry, blocks(universe), titles), max_size=8)):
        ring = ring.merge([entry]).ring
    return ring.merge((), draw(rosters)).ring


@st.composite
def knowledge(draw: st.DrawFn) -> Knowledge:
    free = draw(st.none() | st.integers(0, 2**ADDRESS_BITS))
    if draw(st.booleans()):
        return Knowledge(None, draw(blocks(ALL)), (), Roster(), free)
    ring = draw(rings())
    told = [entry for entry in ring.entries if draw(st.booleans())]
    return knowledge_of(ring, told, draw(rosters), free=free)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    told = draw(knowledge())
    return Request(told, draw(st.none() | addresses), draw(blocks(told.universe)), draw(numbers_of_requests))


numbers_of_requests = st.integers(0, REQUEST_NUMBERS - 1)
rounds = st.integers(0, ROUND_MAX)
digests = st.binary(max_size=DIGEST_BYTES)
messages = st.one_of(
    requests(),
    st.builds(Grant, knowledge(), numbers_of_requests),
    st.builds(Deny, knowledge(), st.sampled_from(DenyReason), st.none() | addresses, numbers_of_requests),
    st.builds(Settle, knowledge(), rounds, digests),
    st.builds(Agree, knowledge(), rounds, digests),
    st.builds(Notice, knowledge()),
)


@given(knowledge())
def test_knowledge_comes_back_as_it_went(told: Knowledge) -> None:
    assert decode_knowledge(encode_knowledge(told)) == told


@given(messages)
def test_a_message_comes_back_as_it_went(message: Message) -> None:
    assert decode_message(encode_message(message)) == message


@given(rings())
def test_a_ring_told_whole_is_the_same_ring_elsewhere(ring: Ring) -> None:
    heard = decode_knowledge(encode_knowledge(knowledge_of(ring, ring.known(), ring.roster)))
    assert Ring.unknown(ring.ring_id, ring.universe).merge(heard.entries, heard.roster).ring == ring


@given(rings(), rings())
def test_digests_are_equal_exactly_for_equal_rings(one: Ring, other: Ring) -> None:
    again = Ring(one.ring_id, one.universe, tuple(one.entries), Roster(*map(frozenset, one.roster)))
    assert digest_of(one) == digest_of(again)
    assert (digest_of(one) == digest_of(other)) == (one == other)


@given(rosters, rosters)
def test_digests_of_rosters_are_equal_exactly_for_equal_rosters(one: Roster, other: Roster) -> None:
    assert digest_of_roster(one.join(other)) == digest_of_roster(other.join(one))
    assert (digest_of_roster(one) == digest_of_roster(other)) == (one == other)


def assert_sound(told: Knowledge) -> None:
    """What passes the decoder keeps the promise on which the merge relies."""
    position = told.universe.start
    assert told.universe.is_aligned
    for block, title in told.entries:
        assert block.is_aligned and told.universe.covers(block) and block.start >= position
        assert title.owner and 1 <= title.version <= VERSION_MAX
        position = block.end
    named = {name for _, title in told.entries for name in (title.owner, title.heir) if name}
    assert named <= told.roster.members and told.roster.check() == [] and Owner("") not in told.roster.members
    if told.ring_id is not None:
        assert Ring.unknown(told.ring_id, told.universe).merge(told.entries, told.roster).ring.check() == []
    else:
        assert (told.entries, told.roster) == ((), Roster())


def decode_anything(payload: bytes) -> None:
    with suppress(RemoteViolation):
        assert_sound(decode_knowledge(payload))
    with suppress(RemoteViolation):
        message = decode_message(payload)
        assert_sound(message.knowledge)
        if isinstance(message, Request):
            assert message.subnet.is_aligned and message.knowledge.universe.covers(message.subnet)


@given(st.binary(max_size=200))
def test_garbage_raises_only_remote_violation(payload: bytes) -> None:
    decode_anything(payload)
    decode_anything(bytes([FORMAT]) + payload)


@given(st.one_of(knowledge().map(encode_knowledge), messages.map(encode_message)), st.data())
def test_a_payload_altered_anywhere_is_sound_or_refused(payload: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(payload) - 1))
    change = data.draw(st.binary(max_size=3))
    decode_anything(payload[:place] + change + payload[place + 1 :])


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=4)
    | st.binary(max_size=17),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=12,
)
numbers = st.integers(0, 40) | addresses | st.integers(-1, 2**64 - 1)
plausible = st.tuples(
    st.binary(max_size=17) | st.just(bytes(RING_ID_BYTES)),
    numbers,
    numbers,
    st.lists(names | st.text(max_size=3), max_size=4),
    st.lists(st.tuples(numbers, numbers, numbers, numbers, numbers), max_size=4),
    st.none() | numbers,
    st.lists(numbers, max_size=3),
)
kinds = st.sampled_from(("request", "grant", "deny", "notice", "settle", "agree"))


@given(values | plausible | st.tuples(kinds, plausible, values | numbers, values | numbers, values | numbers, values))
def test_well_formed_messagepack_of_any_content_is_sound_or_refused(value: object) -> None:
    decode_anything(bytes([FORMAT]) + msgspec.msgpack.encode(value))
