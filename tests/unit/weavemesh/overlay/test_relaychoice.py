"""Which relay is the best: whom both reach, the quickest sum, and no change for little."""

from ipaddress import IPv4Address

from gossip import PeerName
from weavemesh.overlay.pathevent import DIRECT, PathPeer
from weavemesh.overlay.relaychoice import (
    free_port,
    is_better,
    leads_over_who_is_direct,
    reached_relays,
    relays_between,
)
from weavemesh.overlay.state import Endpoint
from weavemesh.overlay.way import Binding, Way

A, R, S, T = (PeerName(name) for name in "arst")
PORTS = range(26783, 26785)


def at(number: int, port: int = 6783) -> Endpoint:
    return Endpoint(IPv4Address(f"198.51.100.{number}"), port)


def direct(number: int, rtt_s: float, *, ports: range = PORTS) -> Way:
    way = Way(PathPeer((at(number),), ports, in_touch=True), via=DIRECT, endpoint=at(number))
    way.rtt[at(number)] = rtt_s
    return way


def ways() -> dict[PeerName, Way]:
    return {A: Way(PathPeer((), range(0), in_touch=True)), R: direct(1, 0.03), S: direct(2, 0.01), T: direct(3, 0.02)}


def test_the_quickest_sum_comes_first() -> None:
    known = ways()
    assert list(relays_between(known, A, 0.0)) == [S, T, R]
    known[A].told_relays = {R: 0.001, S: 0.5}
    assert list(relays_between(known, A, 0.0)) == [R, S]


def test_who_forwards_nothing_is_not_direct_or_is_avoided_is_none() -> None:
    known = ways()
    known[R] = direct(1, 0.01, ports=range(0))
    known[S].silent_since = 1.0
    known[A].avoid[T] = 10.0
    assert relays_between(known, A, 5.0) == {}
    assert list(relays_between(known, A, 11.0)) == [T]


def test_only_much_better_is_better() -> None:
    known = ways()
    known[A].via = T
    assert is_better(known, A, S, 0.0)
    known[S] = direct(2, 0.018)
    assert not is_better(known, A, S, 0.0)


def test_what_is_told_is_bounded_and_leaves_out_who_is_told() -> None:
    known = {PeerName(f"p{n:02}"): direct(n, n / 1000) for n in range(1, 30)}
    told = reached_relays(known, but=PeerName("p01"))
    assert told[0] == (PeerName("p02"), 0.002) and len(told) == 8


def test_every_binding_has_a_port_of_its_own() -> None:
    known = ways()
    for port in PORTS:
        endpoint = free_port(known, R)
        assert endpoint == at(1, port)
        known[PeerName(f"x{port}")] = other = Way(PathPeer((), range(0), in_touch=True))
        other.bindings[R] = Binding(at(1, port), began=0.0, next_at=0.0)
    assert free_port(known, R) is None
    assert free_port(known, A) is None


def test_no_relay_is_reached_over_a_relay() -> None:
    known = ways()
    assert leads_over_who_is_direct(known, known[A])
    known[A].via = R
    assert leads_over_who_is_direct(known, known[A])
    known[R].via = S
    assert not leads_over_who_is_direct(known, known[A])


def test_a_port_over_which_packets_went_is_kept_for_them_while_they_are_not_answered() -> None:
    known = ways()
    known[A].via, known[A].endpoint, known[A].silent_since = R, at(1, PORTS[0]), 5.0
    assert free_port(known, R) == at(1, PORTS[1])
    known[A].recover(6.0)
    assert known[A].bindings[R].endpoint == at(1, PORTS[0]), "nobody else has bound there meanwhile"
