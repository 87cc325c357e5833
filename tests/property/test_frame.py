"""Whatever is framed comes out as it went in, however the stream is cut; garbage raises FrameViolation or nothing."""

from hypothesis import given
from hypothesis import strategies as st

from weavemesh.transport.frame import (
    FRAME_BYTES_MAX,
    Frame,
    FrameDecoder,
    FrameViolation,
    Goodbye,
    Hello,
    decode_message,
    encode_frame,
    encode_message,
)


@given(contents=st.lists(st.binary(max_size=300)), cuts=st.lists(st.integers(min_value=1, max_value=50)))
def test_frames_survive_any_cutting_of_the_stream(contents: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(map(encode_frame, contents))
    decoder = FrameDecoder()
    frames: list[Frame] = []
    at = 0
    for size in [*cuts, len(stream) + 1]:
        frames += decoder.feed(stream[at : at + size])
        at += size
    assert frames == [Frame(content, is_message=False) for content in contents]


@given(chunks=st.lists(st.binary(max_size=200), max_size=20))
def test_garbage_raises_a_violation_or_nothing_and_is_bounded(chunks: list[bytes]) -> None:
    decoder = FrameDecoder()
    try:
        for chunk in chunks:
            assert all(len(frame.content) <= FRAME_BYTES_MAX for frame in decoder.feed(chunk))
    except FrameViolation:
        pass


@given(reason=st.text(max_size=500), features=st.lists(st.text(max_size=20), max_size=80))
def test_messages_survive_or_are_tamed(reason: str, features: list[str]) -> None:
    goodbye = decode_message(_content(encode_message(Goodbye(reason))))
    assert isinstance(goodbye, Goodbye)
    assert goodbye.reason.isprintable()
    hello = decode_message(_content(encode_message(Hello(tuple(features[:20])))))
    assert isinstance(hello, Hello)
    assert set(hello.features) <= set(features)


@given(st.binary(max_size=500))
def test_garbage_is_no_message(content: bytes) -> None:
    message = decode_message(content)
    assert message is None or isinstance(message, Hello | Goodbye)


def _content(encoded: bytes) -> bytes:
    [frame] = FrameDecoder().feed(encoded)
    assert frame.is_message
    return frame.content
