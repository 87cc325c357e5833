"""What others see of us: the most often seen first, some of many, news told once."""

from ipaddress import IPv4Address

from gossip import PeerName
from weavemesh.overlay.seen import TOLD_MAX, SeenAs
from weavemesh.overlay.state import Endpoint

A, B, C = PeerName("a"), PeerName("b"), PeerName("c")


def at(port: int) -> Endpoint:
    return Endpoint(IPv4Address("198.51.100.1"), port)


def test_the_most_often_seen_comes_first() -> None:
    seen = SeenAs()
    assert seen.note(A, at(1), at_relay=False)
    assert seen.note(B, at(2), at_relay=False)
    assert not seen.note(C, at(2), at_relay=False)
    assert seen.endpoints() == (at(2), at(1))
    assert seen.by_peer() == {A: at(1), B: at(2), C: at(2)}


def test_what_a_relay_port_sees_is_not_told() -> None:
    seen = SeenAs()
    assert not seen.note(A, at(1), at_relay=True)
    assert seen.endpoints() == ()


def test_few_of_many_are_told() -> None:
    seen = SeenAs()
    for number in range(1, 20):
        seen.note(PeerName(f"p{number}"), at(number), at_relay=False)
    assert len(seen.endpoints()) == TOLD_MAX


def test_elsewhere_nothing_of_it_counts() -> None:
    seen = SeenAs()
    seen.note(A, at(1), at_relay=False)
    seen.forget()
    assert seen.endpoints() == () and seen.by_peer() == {}
    assert seen.note(A, at(1), at_relay=False)
