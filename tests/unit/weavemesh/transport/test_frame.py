"""Frames come out as they went in, however the stream is cut; a length beyond its limit is seen at once."""

import msgspec
import pytest

import gossip
from weavemesh.transport.frame import (
    FEATURES_MAX,
    FRAME_BYTES_MAX,
    REASON_CHARACTERS_MAX,
    Frame,
    FrameDecoder,
    FrameViolation,
    Goodbye,
    Hello,
    decode_message,
    encode_frame,
    encode_message,
)


def test_the_wire_is_four_bytes_of_length_and_the_content() -> None:
    assert encode_frame(b"abc") == b"\x00\x00\x00\x03abc"
    assert encode_message(Goodbye("x"))[:4] == b"\x80\x00\x00\x17"
    assert encode_message(Goodbye("x"))[4:] == msgspec.msgpack.encode({"type": "goodbye", "reason": "x"})


def test_every_frame_of_the_mesh_fits() -> None:
    assert gossip.FRAME_BYTES_MAX <= FRAME_BYTES_MAX
    content = bytes(FRAME_BYTES_MAX)
    assert list(FrameDecoder().feed(encode_frame(content))) == [Frame(content, is_message=False)]


@pytest.mark.parametrize("head", [FRAME_BYTES_MAX + 1, 0x7FFFFFFF, 0x80001001, 0xFFFFFFFF])
def test_a_length_beyond_its_limit_is_refused_before_its_content(head: int) -> None:
    decoder = FrameDecoder()
    assert list(decoder.feed(b"\x00\x00\x00\x01a")) == [Frame(b"a", is_message=False)]
    with pytest.raises(FrameViolation):
        list(decoder.feed(head.to_bytes(4, "big")))


def test_messages_survive_and_are_kept_within_limits() -> None:
    assert decode_message(encode_message(Hello(("a", "b")))[4:]) == Hello(("a", "b"))
    long = decode_message(encode_message(Goodbye("x" * 10_000))[4:])
    assert long == Goodbye("x" * REASON_CHARACTERS_MAX)
    assert decode_message(msgspec.msgpack.encode(Goodbye("a\x1b[31m\nb"))) == Goodbye("a [31m b")
    assert decode_message(msgspec.msgpack.encode(Goodbye("\n"))) == Goodbye("no reason given")
    many = decode_message(msgspec.msgpack.encode(Hello(tuple(map(str, range(200))))))
    assert isinstance(many, Hello)
    assert len(many.features) == FEATURES_MAX


@pytest.mark.parametrize("content", [b"", b"\xc1", msgspec.msgpack.encode({"type": "of the future", "a": 1})])
def test_unknown_messages_are_none(content: bytes) -> None:
    assert decode_message(content) is None


def test_a_message_may_grow_fields() -> None:
    assert decode_message(msgspec.msgpack.encode({"type": "hello", "features": ["a"], "colour": 1})) == Hello(("a",))


def test_frames_before_a_violation_are_not_lost() -> None:
    frames = FrameDecoder().feed(encode_frame(b"a") + encode_frame(b"b") + b"\xff" * 4)
    assert (next(frames).content, next(frames).content) == (b"a", b"b")
    with pytest.raises(FrameViolation):
        next(frames)
