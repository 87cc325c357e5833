"""Knocks as bytes: they come back as they were, and nothing that another made or changed is believed."""

from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st

from gossip import PeerName
from weavemesh.overlay.knock import KNOCK_BYTES, MAGIC, KnockKey, KnockMessage, decode, sender_of
from weavemesh.overlay.state import Endpoint, PresharedKey

KEY, OTHER_KEY = (KnockKey.of(PresharedKey(bytes([number] * 32))) for number in (1, 2))
NAMES = st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=16, max_size=16).map(PeerName)
ENDPOINTS = st.builds(
    Endpoint,
    st.ip_addresses(v=4) | st.ip_addresses(v=6, network="2000::/3"),
    st.integers(1, 65535),
)
MESSAGES = st.builds(
    KnockMessage,
    sender=NAMES,
    receiver=NAMES,
    nonce=st.integers(0, 2**64 - 1),
    bind_for=st.none() | NAMES,
    uses=st.booleans(),
    seen_as=st.none() | ENDPOINTS,
    both_bound=st.booleans(),
    other_uses=st.booleans(),
    refused=st.booleans(),
)
KNOCK = KnockMessage(sender=PeerName("a" * 16), receiver=PeerName("b" * 16), nonce=7)


@given(MESSAGES)
def test_what_is_written_is_read(message: KnockMessage) -> None:
    content = message.encode(KEY)
    assert len(content) == KNOCK_BYTES and content.startswith(MAGIC)
    assert sender_of(content) == message.sender
    assert decode(content, KEY) == message


@given(st.binary(max_size=200) | st.binary(min_size=KNOCK_BYTES - 4, max_size=KNOCK_BYTES - 4).map(MAGIC.__add__))
def test_garbage_is_nothing(content: bytes) -> None:
    sender_of(content)
    assert decode(content, KEY) is None


@given(st.integers(0, KNOCK_BYTES - 1), st.integers(1, 255))
def test_whatever_is_changed_proves_nothing(index: int, bits: int) -> None:
    content = bytearray(KNOCK.encode(KEY))
    content[index] ^= bits
    assert decode(bytes(content), KEY) is None


def test_another_key_proves_nothing() -> None:
    assert decode(KNOCK.encode(OTHER_KEY), KEY) is None


def test_both_families_are_kept_apart() -> None:
    for address in (IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")):
        answer = KnockMessage(sender=KNOCK.sender, receiver=KNOCK.receiver, nonce=7, seen_as=Endpoint(address, 1))
        assert decode(answer.encode(KEY), KEY) == answer


def test_wireguard_takes_it_for_none_of_its_messages() -> None:
    assert int.from_bytes(KNOCK.encode(KEY)[:4], "little") not in (1, 2, 3, 4)


def test_a_key_is_not_shown() -> None:
    assert KEY.raw.hex() not in repr(KEY) and "redacted" in repr(KEY)
