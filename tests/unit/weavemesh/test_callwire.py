"""Calls as bytes: they come back as they were; garbage is None."""

from ipaddress import IPv4Address, IPv6Address

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gossip import PeerName
from weavemesh.callwire import CALL_BYTES_MAX, NothingKept, decode_call, encode_call
from weavemesh.overlay.pathevent import Call
from weavemesh.overlay.state import Endpoint

CALL = Call(
    endpoints=(Endpoint(IPv4Address("198.51.100.1"), 20000), Endpoint(IPv6Address("2001:db8::1"), 6783)),
    relays=((PeerName("r"), 0.012),),
    use=(PeerName("r"),),
    lost=True,
    reply=False,
)


def test_what_is_written_is_read() -> None:
    content = encode_call(CALL)
    assert len(content) <= CALL_BYTES_MAX
    assert decode_call(content) == CALL


@given(st.binary(max_size=300))
def test_garbage_is_none(content: bytes) -> None:
    assert decode_call(content) is None


def test_what_is_out_of_bounds_is_none() -> None:
    fields = msgspec.msgpack.decode(encode_call(CALL))
    for change in (
        {"endpoints": ["nonsense"]},
        {"endpoints": ["192.0.2.1:1"] * 9},
        {"relays": [["r", -1.0]]},
        {"relays": [["r", float("nan")]]},
        {"use": ["r"] * 5},
    ):
        assert decode_call(msgspec.msgpack.encode({**fields, **change})) is None
    assert decode_call(bytes(CALL_BYTES_MAX + 1)) is None


def test_what_a_later_release_adds_is_passed_over() -> None:
    fields = msgspec.msgpack.decode(encode_call(CALL))
    assert decode_call(msgspec.msgpack.encode({**fields, "future": 1})) == CALL


def test_there_is_no_state_to_repair() -> None:
    assert NothingKept().digest() == NothingKept().state() == b""
