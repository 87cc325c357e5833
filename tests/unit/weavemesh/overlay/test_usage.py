"""A tunnel is in use while it carries more than our own questions and WireGuard's words, and for a while after."""

from gossip import PeerName
from weavemesh.overlay.usage import USED_FOR_S, Usage, counted_octets

A, B = PeerName("a"), PeerName("b")


def test_our_own_questions_are_no_use() -> None:
    usage = Usage()
    usage.look({A: 0, B: 0}, lambda _: 0, 0.0)
    ours = 5 * (counted_octets(1420) + counted_octets(41))
    assert usage.look({A: ours, B: 260}, lambda name: ours if name == A else 0, 1.0) == set()


def test_packets_are_and_for_a_while_after() -> None:
    usage = Usage()
    usage.look({A: 0}, lambda _: 0, 0.0)
    assert usage.look({A: 2000}, lambda _: 0, 1.0) == {A}
    assert usage.look({A: 2000}, lambda _: 0, USED_FOR_S) == {A}
    assert usage.look({A: 2000}, lambda _: 0, 1.0 + USED_FOR_S) == set()


def test_counters_that_begin_anew_and_peers_that_go_are_no_use() -> None:
    usage = Usage()
    usage.look({A: 5000}, lambda _: 0, 0.0)
    assert usage.look({A: 100}, lambda _: 0, 1.0) == set()
    assert usage.look({}, lambda _: 0, 2.0) == set()
    assert usage.look({A: 9000}, lambda _: 0, 3.0) == set()
