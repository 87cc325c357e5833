"""Keys show nothing that is secret and compare as bytes; the text of a state is the same for the same state."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

import pytest

from weavemesh.overlay.state import (
    DISCARD_KEY,
    Endpoint,
    IPNetwork,
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
RAW_TEXT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
PEERS = (
    ObservedPeer(
        public_key=PublicKey(b"\x02" * 32),
        preshared_key=None,
        endpoint=None,
        allowed_ips=(),
        last_handshake=None,
        rx_bytes=0,
        tx_bytes=0,
    ),
    ObservedPeer(
        public_key=PublicKey(b"\x01" * 32),
        preshared_key=PresharedKey(RAW),
        endpoint=Endpoint(IPv6Address("2001:db8::1"), 6783),
        allowed_ips=(IPv6Network("fd00::a20:0/112"), IPv4Network("10.128.0.0/16"), IPv4Network("10.32.0.0/16")),
        last_handshake=1000.0,
        rx_bytes=5,
        tx_bytes=6,
    ),
)
STATE = ObservedState(
    interface="weavemesh",
    up=True,
    mtu=1420,
    private_key=PrivateKey(RAW),
    listen_port=6783,
    addresses=(IPv6Interface("fd00::a20:1/128"), IPv4Interface("10.32.0.1/32")),
    peers=PEERS,
    routes=(
        Route(IPv4Network("10.0.0.0/8"), "unreachable", None),
        Route(IPv6Network("fd00::a20:0/112"), "device", None),
        Route(IPv4Network("10.32.0.0/16"), "device", IPv4Address("10.32.0.1")),
    ),
)
GOLDEN = """\
interface weavemesh up mtu 1420 port 6783 key set
  address 10.32.0.1/32
  address fd00::a20:1/128
  peer AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE= endpoint [2001:db8::1]:6783 preshared set
    allowed 10.32.0.0/16
    allowed 10.128.0.0/16
    allowed fd00::a20:0/112
  peer AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI= endpoint none preshared none
  route 10.32.0.0/16 device src 10.32.0.1
  route fd00::a20:0/112 device
  route 10.0.0.0/8 unreachable
"""


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_key_of_another_length_than_32_bytes_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"not {length}"):
        PublicKey(bytes(length))


def test_a_key_is_written_and_read_as_wg_writes_it() -> None:
    key = PublicKey(RAW)
    assert key.text() == RAW_TEXT
    assert PublicKey.from_text(RAW_TEXT) == key
    assert bytes(key) == RAW


@pytest.mark.parametrize("text", ["", "abc", RAW_TEXT[:-1], RAW_TEXT + "\n", "!" + RAW_TEXT[1:], "é" * 44, RAW.hex()])
def test_a_text_that_is_not_base64_of_32_bytes_is_no_key(text: str) -> None:
    with pytest.raises(ValueError):
        PrivateKey.from_text(text)


def test_the_representation_of_a_secret_key_tells_nothing_of_it() -> None:
    other = bytes(reversed(RAW))
    for kind in (PrivateKey, PresharedKey):
        assert repr(kind(RAW)) == str(kind(RAW)) == repr(kind(other))
    for text in (repr(STATE), render(STATE)):
        for secret in (PrivateKey(RAW), PresharedKey(RAW)):
            assert secret.text() not in text
            assert bytes(secret).hex() not in text


def test_a_private_key_is_kept_as_wireguard_keeps_it() -> None:
    kept = PrivateKey(b"\xff" * 32)
    assert bytes(kept) == b"\xf8" + b"\xff" * 30 + b"\x7f"
    assert bytes(PrivateKey(bytes(32))) == bytes(31) + b"\x40"
    assert PrivateKey(bytes(kept)) == PrivateKey.from_text(kept.text()) == kept


def test_keys_are_equal_only_within_their_kind() -> None:
    assert PublicKey(RAW) == PublicKey.from_text(RAW_TEXT)
    assert PublicKey(RAW) != PublicKey(bytes(32))
    assert PublicKey(RAW) != PrivateKey(RAW)
    assert PublicKey(RAW) != RAW
    assert len({PublicKey(RAW), PublicKey(RAW), PrivateKey(RAW), PresharedKey(RAW)}) == 3


def test_public_keys_sort_as_their_bytes() -> None:
    raws = [b"\xff" * 32, bytes(32), RAW, b"\x00" * 31 + b"\x01"]
    assert [bytes(key) for key in sorted(map(PublicKey, raws))] == sorted(raws)


def test_an_endpoint_is_written_as_wg_prints_it() -> None:
    assert Endpoint(IPv4Address("192.0.2.1"), 6783).text() == "192.0.2.1:6783"
    assert Endpoint(IPv6Address("2001:db8::1"), 1).text() == "[2001:db8::1]:1"


def test_a_state_as_text_is_sorted_by_key_and_by_number_and_has_no_counters() -> None:
    assert render(STATE) == GOLDEN


def test_the_same_state_in_another_order_or_at_another_time_is_the_same_text() -> None:
    later = tuple(
        replace(
            peer, allowed_ips=peer.allowed_ips[::-1], last_handshake=2000.0, rx_bytes=peer.rx_bytes + 9, tx_bytes=99
        )
        for peer in reversed(PEERS)
    )
    shuffled = replace(STATE, addresses=STATE.addresses[::-1], peers=later, routes=STATE.routes[::-1])
    assert render(shuffled) == GOLDEN


def test_a_bare_device_is_one_line() -> None:
    bare = replace(STATE, up=False, private_key=None, listen_port=0, addresses=(), peers=(), routes=())
    assert render(bare) == "interface weavemesh down mtu 1420 port 0 key none\n"


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (IPv4Network("10.0.0.0/8"), IPv4Network("10.32.0.0/12"), True),
        (IPv4Network("10.32.0.0/12"), IPv4Network("10.32.0.0/12"), True),
        (IPv4Network("10.32.0.0/16"), IPv4Network("10.33.0.0/16"), False),
        (IPv6Network("fd00::/8"), IPv6Network("fd00::1/128"), True),
        (IPv6Network("fd00::/96"), IPv6Network("fd00::1:0:0/96"), False),
        (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"), False),
    ],
)
def test_ranges_overlap_if_they_share_an_address_of_one_family(
    one: IPNetwork, other: IPNetwork, *, expected: bool
) -> None:
    assert overlap(one, other) is expected
    assert overlap(other, one) is expected


def test_the_key_that_takes_allowed_ips_away_never_changes() -> None:
    # Hosts of different versions may share a device over an upgrade.
    assert DISCARD_KEY.text() == "cJl5kZnN6/ylmhcG5nZu37qr3rl7IipWkemH/tuGgg0="
