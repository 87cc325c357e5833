"""Requests and answers are those of WireGuard's cross-platform interface; what is not raises and shows no key."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest

from weavemesh.kernel.device import DeviceState
from weavemesh.kernel.uapi import (
    UapiViolation,
    decode_errno,
    decode_state,
    encode_device,
    encode_discard,
    encode_peer,
    encode_removal,
)
from weavemesh.overlay.diff import NO_PRESHARED_KEY, SetPeer
from weavemesh.overlay.state import DISCARD_KEY, Endpoint, ObservedPeer, PresharedKey, PrivateKey, PublicKey

OURS, PAIR = "e8" + "4b" * 31, "18" + "85" * 31
ALICE, BOB = "b8" * 32, "58" * 32
NOTHING = "00" * 32
DISCARD = bytes(DISCARD_KEY).hex()
V4, V6 = IPv4Network("10.33.0.0/16"), IPv6Network("fd00::a21:0/112")

ANSWER = f"""\
private_key={OURS}
listen_port=6783
fwmark=0
public_key={ALICE}
preshared_key={PAIR}
protocol_version=1
endpoint=[2001:db8::1]:51820
last_handshake_time_sec=1700000000
last_handshake_time_nsec=500000000
tx_bytes=38333
rx_bytes=2224
persistent_keepalive_interval=0
allowed_ip=10.33.0.0/16
allowed_ip=fd00::a21:0/112
public_key={BOB}
preshared_key={NOTHING}
protocol_version=1
endpoint=192.0.2.1:6783
last_handshake_time_sec=0
last_handshake_time_nsec=0
tx_bytes=0
rx_bytes=0
errno=0

"""


def key(text: str) -> PublicKey:
    return PublicKey(bytes.fromhex(text))


def test_an_answer_becomes_the_device_with_all_its_peers() -> None:
    assert decode_state(ANSWER) == DeviceState(
        private_key=PrivateKey(bytes.fromhex(OURS)),
        listen_port=6783,
        peers=(
            ObservedPeer(
                public_key=key(ALICE),
                preshared_key=PresharedKey(bytes.fromhex(PAIR)),
                endpoint=Endpoint(IPv6Address("2001:db8::1"), 51820),
                allowed_ips=(V4, V6),
                last_handshake=1_700_000_000.5,
                rx_bytes=2224,
                tx_bytes=38333,
            ),
            ObservedPeer(
                public_key=key(BOB),
                preshared_key=None,
                endpoint=Endpoint(IPv4Address("192.0.2.1"), 6783),
                allowed_ips=(),
                last_handshake=None,
                rx_bytes=0,
                tx_bytes=0,
            ),
        ),
    )


def test_a_device_that_has_just_been_made_has_no_key_no_port_and_no_peers() -> None:
    fresh = DeviceState(private_key=None, listen_port=0, peers=())
    assert decode_state("errno=0\n\n") == fresh
    assert decode_state(f"private_key={NOTHING}\nlisten_port=0\nerrno=0\n\n") == fresh


def test_words_of_a_later_version_are_passed_over() -> None:
    later = ANSWER.replace("fwmark=0\n", "colour=blue=green\n").replace("tx_bytes=0\n", "mood=\ntx_bytes=0\n")
    assert decode_state(later) == decode_state(ANSWER)


def test_host_bits_of_an_allowed_ip_are_cut_off() -> None:
    (peer,) = decode_state(f"public_key={ALICE}\nallowed_ip=10.33.1.2/16\nerrno=0\n\n").peers
    assert peer.allowed_ips == (V4,)


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "listen_port",
        "listen_port=",
        "listen_port=-1",
        "listen_port=1e3",
        "listen_port=²",
        "listen_port=" + "9" * 21,
        "private_key=abc",
        "private_key=" + "ab" * 31,
        "private_key=" + "zz" * 32,
        "public_key=",
        "public_key=" + "ab" * 33,
        f"public_key={ALICE}\npreshared_key=" + "ab" * 16,
        f"public_key={ALICE}\nallowed_ip=10.33.0.0/33",
        f"public_key={ALICE}\nallowed_ip=everyone",
        f"public_key={ALICE}\nendpoint=",
        f"public_key={ALICE}\nendpoint=192.0.2.1",
        f"public_key={ALICE}\nendpoint=192.0.2.1:",
        f"public_key={ALICE}\nendpoint=192.0.2.1:65536",
        f"public_key={ALICE}\nendpoint=example.org:6783",
        f"public_key={ALICE}\nrx_bytes=many",
        f"public_key={ALICE}\ntx_bytes=+1",
        f"public_key={ALICE}\nlast_handshake_time_sec=1.5",
        f"public_key={ALICE}\nlast_handshake_time_nsec=-1",
    ],
)
def test_an_answer_that_is_not_of_the_interface_is_a_violation(line: str) -> None:
    with pytest.raises(UapiViolation):
        decode_state(f"{line}\nerrno=0\n\n")


@pytest.mark.parametrize(
    "text",
    [
        f"private_key={OURS}ff\n",
        f"private_key={OURS[:-1]}z\n",
        f"private_key {OURS}\n",
        f"public_key={ALICE}\npreshared_key={OURS}ff\n",
        f"public_key={ALICE}\npreshared_key={OURS[:-2]}\n",
    ],
)
def test_a_violation_shows_nothing_of_a_key(text: str) -> None:
    with pytest.raises(UapiViolation) as caught:
        decode_state(text)
    assert OURS[:8] not in f"{caught.value} {caught.value!r} {caught.value.line}"


def test_errno_is_found_wherever_it_stands() -> None:
    assert decode_errno("errno=0\n\n") == 0
    assert decode_errno("errno=22\n\n") == 22
    assert decode_errno(ANSWER.replace("errno=0", "errno=98")) == 98


@pytest.mark.parametrize("text", ["", "\n\n", "listen_port=1\n\n", "errno=\n\n", "errno=-22\n\n", "errno\n\n"])
def test_an_answer_without_errno_is_a_violation(text: str) -> None:
    with pytest.raises(UapiViolation):
        decode_errno(text)


def test_a_new_peer_is_made_with_all_that_is_known() -> None:
    change = SetPeer(
        key(ALICE),
        exists=False,
        preshared_key=PresharedKey(bytes.fromhex(PAIR)),
        endpoint=Endpoint(IPv6Address("2001:db8::1"), 6783),
        allowed_ips=(V4, V6),
    )
    assert encode_peer(change) == (
        f"set=1\npublic_key={ALICE}\npreshared_key={PAIR}\nendpoint=[2001:db8::1]:6783\n"
        "allowed_ip=10.33.0.0/16\nallowed_ip=fd00::a21:0/112\n\n"
    )


def test_a_peer_that_exists_is_not_made_again_and_keeps_what_is_not_named() -> None:
    change = SetPeer(key(ALICE), exists=True, preshared_key=None, endpoint=None, allowed_ips=(V4,))
    assert encode_peer(change) == f"set=1\npublic_key={ALICE}\nupdate_only=true\nallowed_ip=10.33.0.0/16\n\n"


def test_a_preshared_key_is_cleared_with_zeros() -> None:
    change = SetPeer(key(ALICE), exists=True, preshared_key=NO_PRESHARED_KEY, endpoint=None, allowed_ips=())
    assert encode_peer(change) == f"set=1\npublic_key={ALICE}\nupdate_only=true\npreshared_key={NOTHING}\n\n"


def test_only_what_is_given_of_the_device_is_set() -> None:
    ours = PrivateKey(bytes.fromhex(OURS))
    assert encode_device(private_key=ours, listen_port=6783) == f"set=1\nprivate_key={OURS}\nlisten_port=6783\n\n"
    assert encode_device(private_key=ours, listen_port=None) == f"set=1\nprivate_key={OURS}\n\n"
    assert encode_device(private_key=None, listen_port=0) == "set=1\nlisten_port=0\n\n"


def test_allowed_ips_are_taken_away_through_a_peer_that_is_gone_within_the_same_request() -> None:
    assert encode_discard((V4, V6)) == (
        f"set=1\npublic_key={DISCARD}\nallowed_ip=10.33.0.0/16\nallowed_ip=fd00::a21:0/112\n"
        f"public_key={DISCARD}\nremove=true\n\n"
    )


def test_a_peer_is_removed_by_its_key_alone() -> None:
    assert encode_removal(key(BOB)) == f"set=1\npublic_key={BOB}\nremove=true\n\n"
