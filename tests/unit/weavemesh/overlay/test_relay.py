"""The laws of a relay: two who name each other are forwarded, nobody else is; what nobody renews is forgotten."""

from ipaddress import IPv4Address, IPv6Address

from gossip import PeerName
from weavemesh.overlay.relay import (
    LEASE_S,
    PAIRS_MAX,
    PAIRS_OF_ONE_MAX,
    USES_S,
    BindAnswer,
    BindHeard,
    End,
    Forwarding,
    ForwardingsChanged,
    Relay,
)
from weavemesh.overlay.state import Endpoint

A, B, C = PeerName("a"), PeerName("b"), PeerName("c")
LOCAL = Endpoint(IPv4Address("192.0.2.1"), 26783)


def end(number: int, *, port: int = 6783) -> End:
    return End(Endpoint(IPv4Address(f"198.51.100.{number}"), port), LOCAL)


def bind(
    relay: Relay, peer: PeerName, other: PeerName, where: End, *, nonce: int, now: float = 0.0, uses: bool = False
) -> list[BindAnswer | ForwardingsChanged]:
    relay.receive(BindHeard(peer, other, where, nonce, uses), now)
    return relay.outputs()


def test_two_who_name_each_other_are_forwarded() -> None:
    relay = Relay(willing=True)
    assert bind(relay, A, B, end(1), nonce=1) == [BindAnswer(A, B, end(1), 1, False, False, False)]
    assert relay.forwardings() == ()
    assert bind(relay, B, A, end(2), nonce=1) == [ForwardingsChanged(), BindAnswer(B, A, end(2), 1, True, False, False)]
    assert relay.forwardings() == (Forwarding(A, B, end(1), end(2)),)


def test_one_that_names_another_is_not() -> None:
    relay = Relay(willing=True)
    bind(relay, A, B, end(1), nonce=1)
    bind(relay, C, A, end(3), nonce=1)
    assert relay.forwardings() == ()


def test_an_end_is_of_the_pair_that_was_named_last() -> None:
    """A port that is free again is used for somebody else, while what it was used for before is not yet forgotten."""
    relay = Relay(willing=True)
    bind(relay, A, B, end(1), nonce=1)
    bind(relay, B, A, end(2), nonce=1)
    bind(relay, C, A, end(3), nonce=1)
    bind(relay, A, C, end(1), nonce=2)
    assert relay.forwardings() == (Forwarding(A, C, end(1), end(3)),)


def test_each_end_is_told_that_the_other_sends() -> None:
    relay = Relay(willing=True)
    bind(relay, A, B, end(1), nonce=1, uses=True)
    *_, answer = bind(relay, B, A, end(2), nonce=1)
    assert isinstance(answer, BindAnswer) and answer.both_bound and answer.other_uses
    (later,) = bind(relay, B, A, end(2), nonce=2, now=USES_S)
    assert isinstance(later, BindAnswer) and later.both_bound and not later.other_uses, "it may have gone elsewhere"


def test_who_moves_is_followed_and_what_is_played_back_is_not() -> None:
    relay = Relay(willing=True)
    bind(relay, A, B, end(1), nonce=1)
    bind(relay, B, A, end(2), nonce=1)
    bind(relay, A, B, end(1, port=7), nonce=2)
    assert relay.forwardings() == (Forwarding(A, B, end(1, port=7), end(2)),)
    assert bind(relay, A, B, end(9), nonce=2) == []
    assert relay.forwardings() == (Forwarding(A, B, end(1, port=7), end(2)),)


def test_what_nobody_renews_is_forgotten() -> None:
    relay = Relay(willing=True)
    bind(relay, A, B, end(1), nonce=1)
    bind(relay, B, A, end(2), nonce=1, now=10.0)
    assert relay.deadline() == LEASE_S
    relay.tick(LEASE_S)
    assert relay.outputs() == [ForwardingsChanged()]
    assert relay.forwardings() == ()
    relay.tick(LEASE_S + 10.0)
    assert relay.deadline() is None


def test_an_unwilling_one_refuses() -> None:
    relay = Relay(willing=False)
    assert bind(relay, A, B, end(1), nonce=1) == [BindAnswer(A, B, end(1), 1, False, False, True)]
    assert relay.deadline() is None


def test_one_peer_cannot_use_up_all() -> None:
    relay = Relay(willing=True)
    for number in range(PAIRS_OF_ONE_MAX):
        (answer,) = bind(relay, A, PeerName(f"p{number:04}"), end(1, port=10_000 + number), nonce=number + 1)
        assert isinstance(answer, BindAnswer) and not answer.refused
    (answer,) = bind(relay, A, B, end(1), nonce=1000)
    assert isinstance(answer, BindAnswer) and answer.refused
    (answer,) = bind(relay, B, C, end(2), nonce=1)
    assert isinstance(answer, BindAnswer) and not answer.refused


def test_there_is_a_limit_to_all() -> None:
    relay = Relay(willing=True)
    for number in range(PAIRS_MAX):
        bind(relay, PeerName(f"p{number:04}"), PeerName(f"q{number:04}"), end(1, port=10_000 + number), nonce=1)
    (answer,) = bind(relay, B, C, end(2), nonce=1)
    assert isinstance(answer, BindAnswer) and answer.refused
    (answer,) = bind(relay, PeerName("q0000"), PeerName("p0000"), end(2), nonce=1)[-1:]
    assert isinstance(answer, BindAnswer) and not answer.refused


def test_an_end_with_ipv4_and_one_with_ipv6_are_a_pair_of_another_kind() -> None:
    relay = Relay(willing=True)
    bind(relay, A, B, end(1), nonce=1)
    six = End(Endpoint(IPv6Address("2001:db8::2"), 6783), Endpoint(IPv6Address("2001:db8::1"), 26783))
    bind(relay, B, A, six, nonce=1)
    bind(relay, A, C, end(2), nonce=2)
    bind(relay, C, A, end(3), nonce=1)
    assert [(pair.other_name, pair.is_one_family) for pair in relay.forwardings()] == [(B, False), (C, True)]


def test_nobody_is_bound_with_itself() -> None:
    (answer,) = bind(Relay(willing=True), A, A, end(1), nonce=1)
    assert isinstance(answer, BindAnswer) and answer.refused
