import msgspec
import pytest

from gossip import RemoteViolation, Target
from gossip.record import BODY_BYTES_MAX, COUNT_MAX, KEY_BYTES_MAX, SIGNATURE_BYTES_MAX, Record
from gossip.wire import (
    ADDRESS_CHARACTERS_MAX,
    FRAME_BYTES_MAX,
    HOPS_MAX,
    OTHERS_MAX,
    PAYLOAD_BYTES_MAX,
    REASON_CHARACTERS_MAX,
    Bye,
    ByeCode,
    Hello,
    News,
    Ping,
    Records,
    Unicast,
    bye,
    decode,
    encode,
)
from tests.unit.gossip.transcript import NAMES


def test_what_a_later_release_appends_is_skipped() -> None:
    assert decode(msgspec.msgpack.encode([0, 1, 2, 3, 4, [], {"more": []}])) == Hello(1, 2, 3, 4)
    assert decode(msgspec.msgpack.encode([2, 7, 9, "future"])) == Ping(7, 9)


def test_what_an_earlier_release_did_not_say_has_its_default() -> None:
    assert decode(msgspec.msgpack.encode([0, 1, 2, 3, 4])) == Hello(1, 2, 3, 4, ())
    assert decode(msgspec.msgpack.encode([2, 7])) == Ping(7, 0)
    assert decode(msgspec.msgpack.encode([1, "gone"])) == Bye("gone", 0, ())


def test_kinds_have_the_numbers_they_always_had() -> None:
    assert encode(Hello(1, 1, 2, 3)) == bytes([0x96, 0, 1, 1, 2, 3, 0x90])
    assert encode(Ping(5)) == bytes([0x93, 2, 5, 0])
    assert encode(News("c", b"p")) == bytes([0x93, 9, 0xA1, ord("c"), 0xC4, 1, ord("p")])


def test_the_largest_payload_fits_into_a_frame_with_everything_around_it() -> None:
    largest = Unicast(
        "c" * 32, NAMES["ann"], NAMES["bob"], HOPS_MAX, 2**62, 2**62, bytes(64), bytes(PAYLOAD_BYTES_MAX), bytes(128)
    )
    assert decode(encode(largest)) == largest


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xc1",
        b"\x91" * 3000,
        bytes(FRAME_BYTES_MAX + 1),
        msgspec.msgpack.encode([11]),
        msgspec.msgpack.encode(["ping", 1]),
        msgspec.msgpack.encode([2]),
        msgspec.msgpack.encode([2, -1]),
        msgspec.msgpack.encode([2, 2**63]),
        msgspec.msgpack.encode([2, 1]) + b"\x00",
        msgspec.msgpack.encode([1, "x" * (REASON_CHARACTERS_MAX + 1)]),
        msgspec.msgpack.encode([6, ["not a name"]]),
        msgspec.msgpack.encode([6, [NAMES["ann"]] * 5000]),
        msgspec.msgpack.encode([9, "c" * 33, b""]),
        msgspec.msgpack.encode([9, "", b""]),
    ],
    ids=range(15),
)
def test_what_is_no_frame_is_a_violation(frame: bytes) -> None:
    with pytest.raises(RemoteViolation):
        decode(frame)


@pytest.mark.parametrize(
    "change",
    [
        {"origin": "a" * 17},
        {"origin": "a" * 15},
        {"epoch": COUNT_MAX + 1},
        {"public_key": bytes(KEY_BYTES_MAX + 1)},
        {"body": bytes(BODY_BYTES_MAX + 1)},
        {"signature": bytes(SIGNATURE_BYTES_MAX + 1)},
    ],
    ids=str,
)
def test_each_part_of_a_record_is_bounded(change: dict[str, object]) -> None:
    largest = Record(
        NAMES["ann"], COUNT_MAX, COUNT_MAX, bytes(KEY_BYTES_MAX), bytes(BODY_BYTES_MAX), bytes(SIGNATURE_BYTES_MAX)
    )
    assert decode(encode(Records((largest,)))) == Records((largest,))
    with pytest.raises(RemoteViolation):
        decode(encode(Records((msgspec.structs.replace(largest, **change),))))


def test_addresses_named_to_others_are_bounded() -> None:
    longest = Target("h" * ADDRESS_CHARACTERS_MAX)
    assert decode(encode(Bye("", ByeCode.BUSY, (longest,) * OTHERS_MAX))) is not None
    for others in ((Target(longest + "h"),), (longest,) * (OTHERS_MAX + 1)):
        with pytest.raises(RemoteViolation):
            decode(encode(Bye("", ByeCode.BUSY, others)))


def test_a_long_reason_is_cut_short_and_so_are_the_others() -> None:
    assert len(bye("x" * 1000).reason) == REASON_CHARACTERS_MAX
    others = tuple(Target(text) for text in ("", "x" * 1000, *(f"h:{port}" for port in range(9))))
    assert bye("busy", ByeCode.BUSY, others).others == ("h:0", "h:1", "h:2", "h:3")[:OTHERS_MAX]
