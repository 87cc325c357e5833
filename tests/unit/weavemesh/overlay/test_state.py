"""Keys keep their secrets and their kinds apart; the overlay is shown as text."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weavemesh.overlay.state import (
    KEY_BYTES,
    Endpoint,
    ObservedPeer,
    ObservedState,
    PresharedKey,
    PrivateKey,
    PublicKey,
    Route,
    overlap,
    render,
)

RAW = bytes(range(32))


@given(st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES))
def test_keys_survive_their_text(raw: bytes) -> None:
    for kind in (PublicKey, PresharedKey, PrivateKey):
        key = kind(raw)
        assert kind.from_text(key.text()) == key
        assert len(key.text()) == 44


@given(st.one_of(st.text(), st.binary().map(repr)))
def test_garbage_is_no_key(text: str) -> None:
    with pytest.raises(ValueError):  # whatever base64 says of it
        PublicKey.from_text(text[:43])


def test_keys_of_other_lengths_are_refused() -> None:
    for length in (0, 31, 33):
        for kind in (PublicKey, PresharedKey, PrivateKey):
            with pytest.raises(ValueError, match=f"32 bytes, not {length}"):
                kind(bytes(length))


def test_secret_keys_are_not_shown() -> None:
    assert repr(PrivateKey(RAW)) == "PrivateKey(redacted)"
    assert repr(PresharedKey(RAW)) == "PresharedKey(redacted)"
    assert PublicKey(RAW).text() in repr(PublicKey(RAW))


def test_keys_of_different_kinds_are_different() -> None:
    assert PublicKey(RAW) != PresharedKey(RAW)
    assert len({PublicKey(RAW), PresharedKey(RAW), PublicKey(RAW)}) == 2
    assert sorted([PublicKey(bytes([2] * 32)), PublicKey(RAW)]) == [PublicKey(RAW), PublicKey(bytes([2] * 32))]


def test_a_private_key_is_kept_as_wireguard_keeps_it() -> None:
    key = PrivateKey(bytes([0xFF] * 32))
    assert (bytes(key)[0], bytes(key)[31]) == (0xF8, 0x7F)
    assert PrivateKey(bytes(key)) == key


def test_endpoints_are_written_as_wg_writes_them() -> None:
    assert Endpoint(IPv4Address("192.0.2.1"), 6783).text() == "192.0.2.1:6783"
    assert Endpoint(IPv6Address("2001:db8::1"), 6783).text() == "[2001:db8::1]:6783"


def test_networks_of_different_families_never_overlap() -> None:
    assert not overlap(IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
    assert overlap(IPv6Network("fd00::/8"), IPv6Network("fd00:77::/96"))
    assert not overlap(IPv4Network("10.0.0.0/9"), IPv4Network("10.128.0.0/9"))


def test_the_text_is_sorted_and_has_no_secrets() -> None:
    state = ObservedState(
        interface="wm0",
        up=False,
        mtu=1420,
        private_key=None,
        listen_port=0,
        addresses=(IPv6Interface("fd00::1/128"), IPv4Interface("10.32.0.1/32")),
        peers=(
            ObservedPeer(PublicKey(bytes([2] * 32)), None, None, (), None, 0, 0),
            ObservedPeer(
                PublicKey(bytes([1] * 32)),
                PresharedKey(RAW),
                Endpoint(IPv4Address("192.0.2.1"), 1),
                (IPv6Network("fd00::/120"), IPv4Network("10.34.0.0/16"), IPv4Network("10.33.0.0/16")),
                5.0,
                1,
                2,
            ),
        ),
        routes=(
            Route(IPv4Network("10.32.0.0/12"), "unreachable", None),
            Route(IPv4Network("10.33.0.0/16"), "device", IPv4Address("10.32.0.1")),
        ),
    )
    assert render(state) == (
        "interface wm0 down mtu 1420 port 0 key none\n"
        "  address 10.32.0.1/32\n"
        "  address fd00::1/128\n"
        "  peer AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE= endpoint 192.0.2.1:1 preshared set\n"
        "    allowed 10.33.0.0/16\n"
        "    allowed 10.34.0.0/16\n"
        "    allowed fd00::/120\n"
        "  peer AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI= endpoint none preshared none\n"
        "  route 10.33.0.0/16 device src 10.32.0.1\n"
        "  route 10.32.0.0/12 unreachable\n"
    )
