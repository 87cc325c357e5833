"""A summary survives the wire, skips what later releases add, and nothing unbelievable gets through."""

import msgspec
import pytest

from gossip import SUMMARY_BYTES_MAX
from weavemesh.summary import Summary, SummaryInvalid

SUMMARY = Summary(
    nickname="host1",
    version="0.1.0",
    wireguard_public_key=bytes(range(32)),
    port=6783,
    advertised=("203.0.113.5:7000",),
    endpoints=("192.0.2.1:6783", "[2001:db8::1]:6783"),
    overlay_ipv4="10.32.0.1",
    datapath="kernel",
    mtu=1420,
    started_at=1_700_000_000.5,
)


def test_a_summary_survives_the_wire() -> None:
    assert Summary.decode(SUMMARY.encode()) == SUMMARY
    assert [endpoint.text() for endpoint in SUMMARY.own_endpoints()] == list(SUMMARY.endpoints)
    assert [endpoint.text() for endpoint in SUMMARY.advertised_endpoints()] == list(SUMMARY.advertised)
    assert bytes(SUMMARY.public_key()) == bytes(range(32))
    assert len(SUMMARY.encode()) < 400


def test_fields_of_a_later_release_are_skipped() -> None:
    fields = msgspec.msgpack.decode(SUMMARY.encode()) | {"colour": {"of": ["the", "future"]}}
    assert Summary.decode(msgspec.msgpack.encode(fields)) == SUMMARY


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("nickname", ""),
        ("nickname", "x" * 256),
        ("nickname", "\x1b[2Jhost"),
        ("version", "x" * 65),
        ("datapath", "kernel\nevent=forged"),
        ("wireguard_public_key", bytes(31)),
        ("port", 0),
        ("port", 65536),
        ("endpoints", ("192.0.2.1:1",) * 33),
        ("endpoints", ("host.example:1",)),
        ("endpoints", ("192.0.2.1",)),
        ("advertised", ("192.0.2.1:0",)),
        ("overlay_ipv4", "2001:db8::1"),
        ("overlay_ipv4", 7),
        ("mtu", -1),
        ("started_at", -1.0),
    ],
)
def test_a_value_beyond_its_limits_is_refused(field: str, value: object) -> None:
    fields = msgspec.msgpack.decode(SUMMARY.encode()) | {field: value}
    with pytest.raises(SummaryInvalid):
        Summary.decode(msgspec.msgpack.encode(fields))


@pytest.mark.parametrize(
    "garbage", [b"", b"\xff", b"\x80", b"\x93\x01\x02\x03", bytes(SUMMARY_BYTES_MAX + 1), b"\x91" * 5000]
)
def test_garbage_is_refused(garbage: bytes) -> None:
    with pytest.raises(SummaryInvalid):
        Summary.decode(garbage)
