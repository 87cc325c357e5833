"""Whatever is requested of a device or answered by it reads back as it was; garbage raises UapiViolation or nothing."""

from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network

from hypothesis import given
from hypothesis import strategies as st

from weavemesh.kernel.device import DeviceState
from weavemesh.kernel.uapi import (
    StateReader,
    UapiViolation,
    decode_errno,
    encode_device,
    encode_discard,
    encode_peers,
)
from weavemesh.overlay.diff import SetPeer
from weavemesh.overlay.state import DISCARD_KEY, Endpoint, ObservedPeer, PresharedKey, PrivateKey, PublicKey

WORDS = (
    "private_key",
    "listen_port",
    "public_key",
    "preshared_key",
    "endpoint",
    "allowed_ip",
    "last_handshake_time_sec",
    "last_handshake_time_nsec",
    "rx_bytes",
    "tx_bytes",
    "errno",
    "protocol_version",
)

raw_keys = st.binary(min_size=32, max_size=32)
secret_keys = raw_keys.filter(any)  # all zero means that there is none
ports = st.integers(1, 0xFFFF)
counters = st.integers(0, 2**64 - 1)
endpoints = st.builds(Endpoint, st.ip_addresses(), ports)
networks = st.one_of(
    st.builds(
        lambda address, length: IPv4Network((int(address), length), strict=False),
        st.ip_addresses(v=4),
        st.integers(0, 32),
    ),
    st.builds(
        lambda address, length: IPv6Network((int(address), length), strict=False),
        st.ip_addresses(v=6),
        st.integers(0, 128),
    ),
)
network_lists = st.lists(networks, max_size=5).map(tuple)
peers = st.builds(
    ObservedPeer,
    public_key=raw_keys.map(PublicKey),
    preshared_key=st.none() | secret_keys.map(PresharedKey),
    endpoint=st.none() | endpoints,
    allowed_ips=network_lists,
    # Quarters of a second survive as floating point numbers.
    last_handshake=st.none() | st.integers(4, 2**34).map(lambda quarters: quarters / 4),
    rx_bytes=counters,
    tx_bytes=counters,
)
devices = st.builds(
    DeviceState,
    private_key=st.none() | secret_keys.map(PrivateKey),
    listen_port=st.integers(0, 0xFFFF),
    peers=st.lists(peers, max_size=4).map(tuple),
)
values = st.one_of(
    st.text(st.characters(exclude_characters="\n"), max_size=80),
    raw_keys.map(bytes.hex),
    endpoints.map(Endpoint.text),
    networks.map(str),
    st.integers().map(str),
)
lines = st.builds(
    lambda word, equals, value: word + equals + value, st.sampled_from(WORDS), st.sampled_from("= "), values
)


def answer(device: DeviceState) -> str:
    """As an implementation of the interface answers `get=1`."""
    said = [f"private_key={bytes(device.private_key).hex()}"] if device.private_key else []
    said.append(f"listen_port={device.listen_port}")
    for peer in device.peers:
        handshake = peer.last_handshake or 0.0
        said.append(f"public_key={bytes(peer.public_key).hex()}")
        said.append(f"preshared_key={(bytes(peer.preshared_key) if peer.preshared_key else bytes(32)).hex()}")
        said.append("protocol_version=1")
        if peer.endpoint:
            said.append(f"endpoint={peer.endpoint.text()}")
        said.append(f"last_handshake_time_sec={int(handshake)}")
        said.append(f"last_handshake_time_nsec={int(handshake % 1 * 1_000_000_000)}")
        said += [f"tx_bytes={peer.tx_bytes}", f"rx_bytes={peer.rx_bytes}"]
        said += [f"allowed_ip={network}" for network in peer.allowed_ips]
    return "\n".join([*said, "errno=0", "", ""])


@given(device=devices)
def test_any_device_reads_as_it_is(device: DeviceState) -> None:
    text = answer(device)
    assert StateReader().read(text) == device
    assert decode_errno(text) == 0


@given(
    change=st.builds(
        SetPeer,
        raw_keys.map(PublicKey),
        exists=st.booleans(),
        preshared_key=st.none() | secret_keys.map(PresharedKey),
        endpoint=st.none() | endpoints,
        allowed_ips=network_lists,
    )
)
def test_a_request_for_a_peer_says_all_of_the_change_and_ends_once(change: SetPeer) -> None:
    text = encode_peers([change])
    (peer,) = StateReader().read(text).peers
    said = SetPeer(
        peer.public_key,
        exists="\nupdate_only=true\n" in text,
        preshared_key=peer.preshared_key,
        endpoint=peer.endpoint,
        allowed_ips=peer.allowed_ips,
    )
    assert said == change
    assert text.index("\n\n") == len(text) - 2


@given(private_key=st.none() | secret_keys.map(PrivateKey), listen_port=st.none() | ports)
def test_a_request_for_the_device_says_what_is_given(private_key: PrivateKey | None, listen_port: int | None) -> None:
    text = encode_device(private_key=private_key, listen_port=listen_port)
    assert StateReader().read(text) == DeviceState(private_key, listen_port or 0, ())
    assert text.index("\n\n") == len(text) - 2


@given(allowed_ips=network_lists)
def test_a_request_that_takes_allowed_ips_away_names_nobody_but_the_peer_that_nobody_is(
    allowed_ips: tuple[IPv4Network | IPv6Network, ...],
) -> None:
    taker, gone = StateReader().read(encode_discard(allowed_ips)).peers
    assert taker.public_key == gone.public_key == DISCARD_KEY
    assert (taker.allowed_ips, gone.allowed_ips) == (allowed_ips, ())


@given(text=st.one_of(st.text(), st.lists(lines, max_size=12).map("\n".join)))
def test_garbage_raises_a_violation_or_nothing(text: str) -> None:
    for decode in (StateReader().read, decode_errno):
        try:
            decode(text)
        except UapiViolation as violation:
            assert str(violation) == "an answer that is not of the WireGuard userspace interface"


@given(device=devices, cut=st.integers(min_value=0), line=lines)
def test_an_answer_cut_short_or_with_a_strange_line_raises_a_violation_or_nothing(
    device: DeviceState, cut: int, line: str
) -> None:
    text = answer(device)
    at = cut % (len(text) + 1)
    for broken in (text[:at], f"{text[:at]}\n{line}\n{text[at:]}"):
        with suppress(UapiViolation):
            StateReader().read(broken)
