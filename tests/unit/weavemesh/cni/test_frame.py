import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.weavemesh.cni.fake_doors import encode_call
from weavemesh.cni.frame import (
    ENVIRONMENT_BYTES_MAX,
    REPLIES_BYTES_MAX,
    REQUEST_HEADER,
    STDIN_BYTES_MAX,
    Answer,
    FrameError,
    decode_answer,
    decode_outcome,
    decode_request,
    encode_end,
    encode_plan,
    encode_request,
    request_bytes,
)
from weavemesh.kernel.podplan import Batch, Outcome

names = st.text(st.characters(codec="ascii", categories=["Lu"]), min_size=1)
values = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


@given(variables=st.dictionaries(names, values), stdin=st.binary())
def test_what_was_called_is_what_arrives(variables: dict[str, str], stdin: bytes) -> None:
    frame = encode_call(variables, stdin, flags=3)
    assert request_bytes(frame[: REQUEST_HEADER.size]) == len(frame)
    call = decode_request(frame, [5, 6])
    assert (call.environment, call.stdin, call.own_netns_fd, call.netns_fd) == (variables, stdin, 5, 6)


@pytest.mark.parametrize(
    ("flags", "descriptors", "own", "pod"), [(0, [], None, None), (1, [5], 5, None), (2, [6], None, 6)]
)
def test_descriptors_are_told_apart_by_flags(flags: int, descriptors: list[int], own: int | None, pod: int) -> None:
    call = decode_request(encode_call({}, b"", flags=flags), descriptors)
    assert (call.own_netns_fd, call.netns_fd) == (own, pod)


@pytest.mark.parametrize(("flags", "descriptors"), [(0, [5]), (3, [5]), (3, []), (1, [5, 6]), (4, [5]), (8, [])])
def test_descriptors_that_do_not_fit_are_refused(flags: int, descriptors: list[int]) -> None:
    with pytest.raises(FrameError):
        decode_request(encode_call({}, b"", flags=flags), descriptors)


def test_the_ipam_plugin_is_told_by_a_flag() -> None:
    assert decode_request(encode_call({}, b"", flags=4), []).is_ipam
    assert decode_request(encode_call({}, b"", flags=6), [7]).netns_fd == 7
    assert not decode_request(encode_call({}, b"", flags=2), [7]).is_ipam


def test_what_is_encoded_is_decoded() -> None:
    call = decode_request(encode_request({"CNI_COMMAND": "ADD", "CNI_ARGS": "A=1;B=2"}, b"{}"), [7])
    assert (call.environment, call.stdin, call.netns_fd) == ({"CNI_COMMAND": "ADD", "CNI_ARGS": "A=1;B=2"}, b"{}", 7)
    answer = Answer(3, b"hello")
    frame = answer.encode()
    assert decode_answer(frame) == answer
    assert all(decode_answer(frame[:size]) is None for size in range(len(frame)))
    with pytest.raises(FrameError):
        decode_answer(b"HTTP/1.1 400 Bad Request")


@given(garbage=st.binary(), magic=st.sampled_from([b"", b"WMC1"]))
def test_garbage_is_refused_and_nothing_else_happens(garbage: bytes, magic: bytes) -> None:
    frame = magic + garbage
    try:
        decode_request(frame, [])
    except FrameError:
        return
    assert request_bytes(frame) == len(frame)


def test_variables_that_are_no_text_do_no_harm() -> None:
    block = b"A=\xff\xfe\0B\0C=1"
    frame = struct.pack(">4sIII", b"WMC1", 0, len(block), 0) + block
    assert decode_request(frame, []).environment == {"A": "\ufffd\ufffd", "B": "", "C": "1"}


@pytest.mark.parametrize(("environment_bytes", "stdin_bytes"), [(ENVIRONMENT_BYTES_MAX, 0), (0, STDIN_BYTES_MAX)])
def test_sizes_end_at_their_limits(environment_bytes: int, stdin_bytes: int) -> None:
    assert request_bytes(struct.pack(">4sIII", b"WMC1", 0, environment_bytes, stdin_bytes)) > 2**16
    over = (environment_bytes + bool(environment_bytes), stdin_bytes + bool(stdin_bytes))
    with pytest.raises(FrameError, match="too large"):
        request_bytes(struct.pack(">4sIII", b"WMC1", 0, *over))


def test_an_answer_is_its_status_and_its_text() -> None:
    assert Answer(1, b"hi", attached="net/c/eth0").encode() == b"WMA1\0\0\0\x01\0\0\0\x02hi"


@pytest.mark.parametrize(
    ("variable", "offer"),
    [("7", 7), ("0", 0), ("", None), ("-1", None), ("x", None), ("9" * 30, None), ("\u0663", None)],
)
def test_an_offer_to_play_is_a_variable(variable: str, offer: int | None) -> None:
    assert decode_request(encode_call({"WEAVEMESH_PLAYS_PARTS": variable}, b""), []).offer == offer
    assert decode_request(encode_call({}, b""), []).offer is None


def test_a_plan_is_its_batches_in_order() -> None:
    frame = encode_plan((Batch(False, 2, b"out"), Batch(True, 5, b"inside")), cpu=7)
    body = b"\0\0\0\0\0\0\0\2\0\0\0\3out\0\0\0\1\0\0\0\5\0\0\0\6inside"
    assert frame == b"WMP2\0\0\0\7" + struct.pack(">I", len(body)) + body


def test_the_end_of_a_plan_brings_an_answer_or_none() -> None:
    assert encode_end(b"hi") == b"WME2\0\0\0\0\0\0\0\2hi"
    assert encode_end(b"") == b"WME2" + bytes(8)


def test_an_outcome_is_whole_or_none_or_refused() -> None:
    frame = struct.pack(">4sII", b"WMO2", 17, 3) + b"abc"
    assert decode_outcome(frame) == Outcome(17, b"abc")
    assert all(decode_outcome(frame[:size]) is None for size in range(len(frame)))
    for wrong in (frame + b"d", b"WMX1" + frame[4:], struct.pack(">4sII", b"WMO2", 0, REPLIES_BYTES_MAX + 1)):
        with pytest.raises(FrameError):
            decode_outcome(wrong)
