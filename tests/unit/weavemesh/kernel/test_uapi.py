"""The text of the userspace interface: what is written can be read, and garbage is nothing but a violation."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.weavemesh.overlay.overlay_sample import endpoint, public_key, secret
from weavemesh.kernel.device import DeviceState
from weavemesh.kernel.uapi import (
    GET,
    StateReader,
    UapiViolation,
    decode_errno,
    encode_device,
    encode_discard,
    encode_peers,
    encode_removal,
)
from weavemesh.overlay.diff import NO_PRESHARED_KEY, SetPeer
from weavemesh.overlay.state import DISCARD_KEY, Endpoint, ObservedPeer, PresharedKey, PrivateKey, PublicKey

KEY = public_key(2)
ANSWER = """\
private_key=e84b5a6d2717c1003a13b431570353dbaca9146cf150c5f8575680feba52027a
listen_port=12912
fwmark=1
a_word_of_tomorrow=1
public_key=b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33
preshared_key=188515093e952f5f22e865cef3012e72f8b5f0b598ac0309d5dacce3b70fcf52
protocol_version=1
endpoint=[abcd:23::33%2]:51820
last_handshake_time_sec=1700000000
last_handshake_time_nsec=500000000
tx_bytes=38333
rx_bytes=2224
persistent_keepalive_interval=111
allowed_ip=192.168.4.4/32
public_key=58402e695ba1772b1cc9309755f043251ea77fdcf10fbe63989ceb7e19321376
preshared_key=0000000000000000000000000000000000000000000000000000000000000000
endpoint=182.122.22.19:3233
allowed_ip=192.168.4.6/32
allowed_ip=fd00::/64
last_handshake_time_sec=0
last_handshake_time_nsec=0
tx_bytes=1212111
rx_bytes=1929999999
errno=0

"""

keys = st.binary(min_size=32, max_size=32)
addresses = st.ip_addresses()
endpoints = st.builds(Endpoint, addresses, st.integers(0, 65535))
networks = st.builds(lambda address: ip_network(address), addresses)
peers = st.builds(
    ObservedPeer,
    public_key=keys.map(PublicKey),
    preshared_key=st.none() | keys.filter(any).map(PresharedKey),
    endpoint=st.none() | endpoints,
    allowed_ips=st.lists(networks, max_size=4).map(tuple),
    last_handshake=st.none() | st.integers(1, 2**33).map(float),
    rx_bytes=st.integers(0, 2**64 - 1),
    tx_bytes=st.integers(0, 2**64 - 1),
)
states = st.builds(
    DeviceState,
    private_key=st.none() | keys.map(PrivateKey),
    listen_port=st.integers(0, 65535),
    peers=st.lists(peers, max_size=4).map(tuple),
)


def answer(state: DeviceState) -> str:
    """What an implementation would say of a device."""
    lines = [f"private_key={bytes(state.private_key).hex()}"] if state.private_key else []
    lines.append(f"listen_port={state.listen_port}")
    for peer in state.peers:
        lines += [f"public_key={bytes(peer.public_key).hex()}"]
        lines += [f"preshared_key={bytes(peer.preshared_key or NO_PRESHARED_KEY).hex()}", "protocol_version=1"]
        lines += [f"endpoint={peer.endpoint.text()}"] if peer.endpoint else []
        lines += [f"last_handshake_time_sec={int(peer.last_handshake or 0)}", "last_handshake_time_nsec=0"]
        lines += [f"tx_bytes={peer.tx_bytes}", f"rx_bytes={peer.rx_bytes}"]
        lines += [f"allowed_ip={network}" for network in peer.allowed_ips]
    return "\n".join([*lines, "errno=0", "", ""])


def test_the_answer_of_the_specification_is_understood() -> None:
    state = StateReader().read(ANSWER)
    first, second = state.peers
    assert state.listen_port == 12912
    assert state.private_key is not None and bytes(state.private_key).hex().startswith("e84b5a6d")
    assert first.endpoint == Endpoint(ip_address("abcd:23::33%2"), 51820)
    assert first.last_handshake == 1_700_000_000.5
    assert (first.rx_bytes, first.tx_bytes, first.allowed_ips) == (2224, 38333, (ip_network("192.168.4.4/32"),))
    assert (second.preshared_key, second.last_handshake) == (None, None)
    assert [str(network) for network in second.allowed_ips] == ["192.168.4.6/32", "fd00::/64"]


@given(states)
def test_what_is_said_of_a_device_is_what_it_is(state: DeviceState) -> None:
    assert StateReader().read(answer(state)) == state


def test_a_peer_of_which_the_same_is_said_again_is_not_read_again() -> None:
    reader = StateReader()
    first, second = reader.read(ANSWER).peers
    same, changed = reader.read(ANSWER.replace("rx_bytes=1929999999", "rx_bytes=1")).peers
    assert same is first
    assert (changed.public_key, changed.rx_bytes, second.rx_bytes) == (second.public_key, 1, 1929999999)
    assert reader.read("errno=0\n\n").peers == ()


_WORDS = ["public_key", "private_key", "preshared_key", "endpoint", "allowed_ip", "listen_port", "rx_bytes", "errno"]
_lines = st.builds("{}={}".format, st.sampled_from([*_WORDS, "last_handshake_time_sec"]), st.text())


@given(st.one_of(st.text(), st.lists(st.one_of(_lines, st.just("public_key=" + "0" * 64))).map("\n".join)))
def test_garbage_is_a_violation_and_nothing_else(text: str) -> None:
    for decode in (StateReader().read, decode_errno):
        try:
            decode(text)
        except UapiViolation:
            continue


def test_a_violation_tells_no_key() -> None:
    with pytest.raises(UapiViolation) as raised:
        StateReader().read("private_key=SECRET")
    assert "SECRET" not in f"{raised.value}{raised.value.line}"


def test_an_answer_has_an_errno() -> None:
    assert decode_errno("errno=0\n\n") == 0
    assert decode_errno(ANSWER) == 0
    assert decode_errno("errno=98\n\n") == 98
    with pytest.raises(UapiViolation, match="not of the WireGuard userspace interface"):
        decode_errno("listen_port=1\n\n")


def test_requests_say_what_is_to_change_and_no_more() -> None:
    hexadecimal = bytes(KEY).hex()
    private = PrivateKey(bytes([64] * 32))
    assert GET == "get=1\n\n"
    assert encode_device(private_key=None, listen_port=1) == "set=1\nlisten_port=1\n\n"
    assert encode_device(private_key=private, listen_port=None) == f"set=1\nprivate_key={'40' * 32}\n\n"
    assert encode_removal(KEY) == f"set=1\npublic_key={hexadecimal}\nremove=true\n\n"
    assert encode_peers([SetPeer(KEY, False, secret(2), endpoint(2), (ip_network("10.33.0.0/16"),))]) == (
        f"set=1\npublic_key={hexadecimal}\npreshared_key={'02' * 32}\n"
        "endpoint=192.0.2.2:6783\nallowed_ip=10.33.0.0/16\n\n"
    )
    assert (
        encode_peers([SetPeer(KEY, True, None, None, ())]) == f"set=1\npublic_key={hexadecimal}\nupdate_only=true\n\n"
    )
    greeting = "".join(
        f"public_key={hexadecimal}\nupdate_only=true\npersistent_keepalive_interval={seconds}\n" for seconds in (1, 0)
    )
    assert encode_peers([SetPeer(KEY, True, None, None, (), greet=True)]) == (
        f"set=1\npublic_key={hexadecimal}\nupdate_only=true\n{greeting}\n"
    )
    assert encode_peers([SetPeer(KEY, True, None, endpoint(2), ()), SetPeer(KEY, True, None, endpoint(3), ())]) == (
        f"set=1\npublic_key={hexadecimal}\nupdate_only=true\nendpoint=192.0.2.2:6783\n"
        f"public_key={hexadecimal}\nupdate_only=true\nendpoint=192.0.2.3:6783\n\n"
    )
    nobody = bytes(DISCARD_KEY).hex()
    assert encode_discard((ip_network("10.33.0.0/16"),)) == (
        f"set=1\npublic_key={nobody}\nallowed_ip=10.33.0.0/16\npublic_key={nobody}\nremove=true\n\n"
    )


@given(st.booleans(), st.none() | keys.map(PresharedKey), st.none() | endpoints, st.lists(networks).map(tuple))
def test_requests_cannot_be_broken_by_values(
    exists: bool,  # noqa: FBT001  # hypothesis gives arguments by position
    preshared: PresharedKey | None,
    where: Endpoint | None,
    allowed: tuple[object, ...],
) -> None:
    text = encode_peers([SetPeer(KEY, exists, preshared, where, allowed)])  # type: ignore[arg-type]  # networks
    assert text.endswith("\n\n")
    assert text.count("\n\n") == 1
    assert text.isascii()
