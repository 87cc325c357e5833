"""The bytes on the wire: limits, refusals, room for later releases. Round trips are in tests/property."""

from ipaddress import IPv4Network

import msgspec
import pytest

from ipam_crdt.cidr import Block
from ipam_crdt.error import RemoteViolation
from ipam_crdt.ring import ENTRIES_MAX, OWNERS_MAX, ROUND_MAX, VERSION_MAX, Entry, Ring, Title
from ipam_crdt.roster import Owner, Roster
from ipam_crdt.wire import (
    DIGEST_BYTES,
    FORMAT,
    OWNER_LENGTH_MAX,
    PAYLOAD_BYTES_MAX,
    REQUEST_NUMBERS,
    Grant,
    Knowledge,
    Request,
    decode_knowledge,
    decode_message,
    digest_of,
    digest_of_roster,
    encode_knowledge,
    encode_message,
    is_owner_name,
    knowledge_of,
)

RING_ID = bytes(range(16))
ANNE, BERT = Owner("anne"), Owner("bert")
UNIVERSE = Block.of(IPv4Network("10.0.0.0/24"))
START = UNIVERSE.start
RING = Ring.founded(RING_ID, UNIVERSE, (ANNE,))


def packed(value: object) -> bytes:
    return bytes([FORMAT]) + msgspec.msgpack.encode(value)


def wire(
    *entries: tuple[int, int, int, int, int], names: tuple[str, ...] = ("anne", ""), removed: tuple[int, ...] = ()
) -> list[object]:
    return [RING_ID, START, UNIVERSE.length, names, entries, None, removed]


def test_a_hand_made_payload_means_what_the_format_says() -> None:
    told = decode_knowledge(packed(wire((0, 26, 0, 1, 1), (64, 25, 0, 7, 0))))
    assert told == Knowledge(
        RING_ID,
        UNIVERSE,
        (Entry(Block(START, 26), Title(1, ANNE, Owner(""))), Entry(Block(START + 128, 25), Title(7, ANNE, ANNE))),
        Roster.of(ANNE),
        None,
    )


def test_whom_the_table_names_is_a_member_and_whom_the_list_names_was_removed() -> None:
    told = decode_knowledge(packed(wire((0, 24, 0, 1, 1), names=("anne", "", "bert", "carl"), removed=(2, 1, 0))))
    assert told.roster == Roster.of(ANNE, BERT, Owner("carl"), removed=(ANNE, BERT))


def test_the_request_of_a_release_that_knew_no_subnet_is_not_misread() -> None:
    """Its number would stand where the subnet begins."""
    with pytest.raises(RemoteViolation):
        decode_message(packed(["request", wire(), None, 2**40]))


def test_elements_that_a_later_release_appends_are_ignored() -> None:
    later = [RING_ID, START, UNIVERSE.length, ["anne", ""], [[0, 24, 0, 1, 1, "news"]], 3, [], "more"]
    assert decode_knowledge(packed(later)) == knowledge_of(RING, RING.known(), free=3)
    assert decode_message(packed(["grant", later, 0, "more"])) == Grant(knowledge_of(RING, RING.known(), free=3))


@pytest.mark.parametrize(
    "value",
    [
        wire((0, 23, 0, 1, 1)),
        wire((1, 24, 0, 1, 1)),
        wire((256, 24, 0, 1, 1)),
        wire((0, 25, 0, 1, 1), (0, 24, 0, 1, 1)),
        wire((0, 33, 0, 1, 1)),
        wire((-1, 32, 0, 1, 1)),
        wire((0, 24, 1, 1, 1)),
        wire((0, 24, 2, 1, 1)),
        wire((0, 24, 0, 1, 2)),
        wire((0, 24, 0, 0, 1)),
        wire((0, 24, 0, VERSION_MAX + 1, 1)),
        wire(names=("an\nne",)),
        wire(names=("\u00e4nne",)),
        wire(names=("a" * (OWNER_LENGTH_MAX + 1),)),
        [RING_ID[1:], START, 24, [], []],
        [b"", START, 24, ["anne", ""], [[0, 24, 0, 1, 1]]],
        [RING_ID, START + 1, 24, [], []],
        [RING_ID, START, 24, [], [], -1],
        [RING_ID, START, 24, ["a"] * (OWNERS_MAX + 2), []],
        [RING_ID, START, 24, ["a", ""], [[0, 32, 0, 1, 1]] * (ENTRIES_MAX + 1)],
        [b"", START, 24, ["anne"], []],
        wire(removed=(2,)),
        wire(removed=(-1,)),
        [RING_ID, START, 24, ["a"], [], 0, [0] * (OWNERS_MAX + 1)],
        ["ring"],
        None,
    ],
)
def test_knowledge_that_cannot_be_right_is_a_violation(value: object) -> None:
    with pytest.raises(RemoteViolation):
        decode_knowledge(packed(value))
    for message in (
        ["request", value, None, START, 24],
        ["grant", value],
        ["deny", value, "full", None],
        ["settle", value, 1, b""],
        ["agree", value, 1, b""],
        ["notice", value],
    ):
        with pytest.raises(RemoteViolation):
            decode_message(packed(message))


@pytest.mark.parametrize(
    "value",
    [
        ["give", wire()],
        ["request", wire()],
        ["request", wire(), None],
        ["request", wire(), 2**32, START, 24],
        ["request", wire(), None, START + 1, 24],
        ["request", wire(), None, START + 1, 33],
        ["request", wire(), None, START, 23],
        ["request", wire(), None, START - 256, 24],
        ["request", wire(), None, START, 24, REQUEST_NUMBERS],
        ["deny", wire(), "moody", None],
        ["settle", wire(), -1, b""],
        ["settle", wire(), ROUND_MAX + 1, b""],
        ["settle", wire(), 1, bytes(DIGEST_BYTES + 1)],
        ["agree", wire(), True, b""],
        ["agree", wire(), ROUND_MAX + 1, b""],
        ["notice"],
        [],
    ],
)
def test_a_message_that_cannot_be_right_is_a_violation(value: object) -> None:
    with pytest.raises(RemoteViolation):
        decode_message(packed(value))


@pytest.mark.parametrize("payload", [b"", bytes(PAYLOAD_BYTES_MAX + 1), b"\x02\x90", b"\x01"])
def test_an_empty_an_endless_and_an_unknown_payload_are_violations(payload: bytes) -> None:
    for decode in (decode_knowledge, decode_message):
        with pytest.raises(RemoteViolation):
            decode(payload)


def test_knowledge_is_no_message_and_a_message_no_knowledge() -> None:
    told = knowledge_of(RING, RING.known())
    with pytest.raises(RemoteViolation):
        decode_message(encode_knowledge(told))
    with pytest.raises(RemoteViolation):
        decode_knowledge(encode_message(Request(told, None, UNIVERSE)))


def test_telling_sorts_entries_leaves_out_the_unknown_and_says_nothing_twice() -> None:
    upper = Entry(UNIVERSE.halves()[1], Title(2, BERT, ANNE))
    ring = Ring.unknown(RING_ID, UNIVERSE).merge([upper]).ring
    assert knowledge_of(ring, [upper, *reversed(ring.entries)], free=4).entries == (upper,)


def test_the_ring_of_a_thousand_peers_takes_less_than_32_kib() -> None:
    universe = Block.of(IPv4Network("10.32.0.0/12"))
    entries = []
    for index in range(1024):
        owner, heir = Owner(f"peer{index:012}"), Owner(f"peer{index // 2:012}")
        entries.append(Entry(Block(universe.start + index * 1024, 22), Title(index + 2, owner, heir)))
    ring = Ring.unknown(RING_ID, universe).merge(entries).ring
    assert len(encode_knowledge(knowledge_of(ring, ring.known()))) < 32 * 1024


def test_the_largest_ring_within_the_limits_fits_a_payload() -> None:
    names = [Owner(f"{index:032}") for index in range(OWNERS_MAX)]
    entries = tuple(
        Entry(Block(index << 18, 32), Title(VERSION_MAX, names[index % OWNERS_MAX], names[-1 - index % OWNERS_MAX]))
        for index in range(ENTRIES_MAX)
    )
    roster = Roster.of(removed=tuple(names))
    payload = encode_knowledge(Knowledge(RING_ID, Block(0, 0), entries, roster, 2**32))
    assert len(payload) <= PAYLOAD_BYTES_MAX
    assert decode_knowledge(payload).entries == entries
    assert decode_knowledge(payload).roster == roster


def test_a_ring_of_all_the_owners_that_may_be_is_understood_although_its_founder_has_no_heir() -> None:
    members = Roster.of(*(Owner(f"peer{index}") for index in range(OWNERS_MAX - 1)))
    ring = RING.merge((), members).ring
    assert ring.is_within_limits() and len(ring.roster.members) == OWNERS_MAX
    assert decode_knowledge(encode_knowledge(knowledge_of(ring, ring.known(), ring.roster))).roster == ring.roster


def test_no_ring_has_a_digest_of_its_own() -> None:
    assert digest_of(None) == b""
    assert digest_of(RING) != digest_of(None)
    assert digest_of(RING) != digest_of(Ring.founded(bytes(16), UNIVERSE, (ANNE,)))
    assert digest_of(RING) != digest_of(RING.merge((), Roster.of(BERT)).ring)


def test_digests_of_rosters_tell_members_from_removed_ones() -> None:
    rosters = [Roster(), Roster.of(ANNE), Roster.of(ANNE, BERT), Roster.of(ANNE, removed=(BERT,))]
    digests = {digest_of_roster(roster) for roster in rosters}
    assert len(digests) == len(rosters) and {len(digest) for digest in digests} == {DIGEST_BYTES}


@pytest.mark.parametrize("name", ["a", "a" * OWNER_LENGTH_MAX, "with space"])
def test_an_owner_name_is_short_printable_ascii(name: str) -> None:
    assert is_owner_name(name)


@pytest.mark.parametrize("name", ["", "a" * (OWNER_LENGTH_MAX + 1), "a\x1b", "\u00e4nne"])
def test_what_would_upset_a_terminal_is_no_owner_name(name: str) -> None:
    assert not is_owner_name(name)
