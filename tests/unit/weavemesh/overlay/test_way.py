"""What is known of a way: candidates in order, bounded memory, what is shown."""

from ipaddress import IPv4Address, IPv6Address

from gossip import PeerName
from weavemesh.overlay.pathevent import DIRECT, PathPeer
from weavemesh.overlay.pathtime import URGENT_S
from weavemesh.overlay.state import Endpoint
from weavemesh.overlay.way import CANDIDATES_MAX, HEARD_MAX, Binding, Way

OWN = (IPv4Address("192.0.2.1"),)


def at(number: int) -> Endpoint:
    return Endpoint(IPv4Address(f"198.51.100.{number}"), 6783)


def way(*numbers: int) -> Way:
    return Way(PathPeer(tuple(at(number) for number in numbers), range(0), in_touch=True))


def test_what_is_in_use_comes_first_and_then_what_was_heard_last() -> None:
    one = way(1, 2)
    assert one.hear(at(3), 0.0) and one.hear(at(4), 1.0)
    assert not one.hear(at(3), 2.0) and not one.hear(at(1), 3.0)
    assert one.candidates() == [at(1), at(3), at(4), at(2)]
    one.via, one.endpoint = DIRECT, at(4)
    assert one.candidates() == [at(4), at(1), at(3), at(2)]


def test_memory_is_bounded() -> None:
    one = way(*range(100, 120))
    for number in range(1, 50):
        one.hear(at(number), float(number))
    assert len(one.heard) == HEARD_MAX
    assert len(one.candidates()) == CANDIDATES_MAX
    assert one.candidates()[0] == at(49)


def test_the_relay_in_use_is_named_before_the_others_and_of_these_the_newest_first() -> None:
    one = way()
    one.bindings = {PeerName(name): Binding(at(1), began=0.0, next_at=0.0) for name in ("used", "older", "newer")}
    assert one.bound_at() == ("newer", "older", "used")
    one.via = PeerName("used")
    assert one.bound_at() == ("used", "newer", "older")


def test_a_direct_way_needs_no_excuse_and_every_other_has_one() -> None:
    one = way()
    assert "not say where" in one.view(OWN).reason
    one = way(1, 2, 3, 4, 5)
    assert "no answer from 198.51.100.1:6783, " in one.view(OWN).reason and "others" in one.view(OWN).reason
    one.via, one.endpoint, one.since = DIRECT, at(1), 5.0
    assert one.view(OWN).reason == "" and one.view(OWN).since == 5.0
    one.silent_since = 6.0
    assert "no longer answers" in one.view(OWN).reason


def test_a_host_without_the_family_is_told_so() -> None:
    one = Way(PathPeer((Endpoint(IPv6Address("2001:db8::1"), 6783),), range(0), in_touch=True))
    assert "IPv6 only, which this host has not" in one.view(OWN).reason
    assert "no answer from [2001:db8::1]:6783" in one.view((*OWN, IPv6Address("2001:db8::2"))).reason
    assert "no answer" in one.view(()).reason


def test_a_relayed_way_that_works_again_stays_bound() -> None:
    one = way(1)
    relay = PeerName("r")
    one.via, one.endpoint, one.silent_since, one.avoid[relay] = relay, at(9), 1.0, 21.0
    one.recover(2.0)
    assert one.view(OWN).reason.startswith("no answer") and relay not in one.avoid
    assert one.is_relayed
    assert one.bindings[relay].endpoint == at(9)


def test_a_path_in_use_is_urgent_for_a_while_after_it_broke() -> None:
    one = way(1)
    assert not one.is_urgent(5.0), "none was in use yet"
    one.via, one.endpoint = DIRECT, at(1)
    assert one.is_urgent(5.0)
    one.silent_since = 5.0
    assert one.is_urgent(5.0 + URGENT_S - 0.1) and not one.is_urgent(5.0 + URGENT_S)
