"""What the path machine says: each knock has a number of its own, is answered once, by whom it was for, in time."""

from ipaddress import IPv4Address

from gossip import PeerName
from weavemesh.overlay.pathevent import Call, Knock, PathPeer, SendCall
from weavemesh.overlay.pathtime import ANSWER_TIMEOUT_S, CALL_INTERVAL_S
from weavemesh.overlay.pathvoice import PathVoice
from weavemesh.overlay.patience import Patience
from weavemesh.overlay.state import Endpoint
from weavemesh.overlay.way import Binding, Way

A, B, C = PeerName("a"), PeerName("b"), PeerName("c")
AT = Endpoint(IPv4Address("198.51.100.1"), 6783)


def test_a_knock_is_answered_once_and_by_whom_it_was_for() -> None:
    voice = PathVoice(lambda: (), Patience(), nonce=41)
    voice.knock(A, AT, 0.0)
    voice.knock(A, None, 0.0)
    assert voice.outputs() == [Knock(A, AT, 42)]
    assert voice.answered(B, 42, 0.1) is None
    assert voice.answered(A, 43, 0.1) is None
    assert voice.answered(A, 42, 0.5) == (AT, None, 0.5)
    assert voice.answered(A, 42, 0.5) is None


def test_a_late_answer_counts_no_more() -> None:
    voice = PathVoice(lambda: (), Patience(), nonce=0)
    voice.knock(A, AT, 0.0, bind_for=B)
    assert voice.answered(A, 1, ANSWER_TIMEOUT_S + 0.1) is None
    assert voice.answered(A, 1, 0.0) is None


def test_on_a_starved_host_answers_count_for_longer() -> None:
    patience = Patience()
    voice = PathVoice(lambda: (), patience, nonce=0)
    voice.knock(A, AT, 0.0)
    patience.timer(0.0, 1.0)
    assert voice.answered(A, 1, ANSWER_TIMEOUT_S + 1.0) == (AT, None, ANSWER_TIMEOUT_S + 1.0)


def test_a_peer_is_not_called_twice_in_a_moment_nor_when_it_cannot_be() -> None:
    voice = PathVoice(lambda: (AT,), Patience(), nonce=0)
    ways = {A: Way(PathPeer((), range(0), in_touch=True)), B: Way(PathPeer((), range(0), in_touch=False))}
    voice.call(ways, A, 0.0, reply=True)
    voice.call(ways, A, CALL_INTERVAL_S / 2, reply=True)
    voice.call(ways, B, 0.0, reply=True)
    assert voice.outputs() == [SendCall(A, Call((AT,), (), (), lost=True, reply=True))]
    voice.call(ways, A, CALL_INTERVAL_S / 2, reply=False, at_once=True)
    assert voice.outputs() == [SendCall(A, Call((AT,), (), (), lost=True, reply=False))]


def test_every_call_names_the_relays_at_which_we_are_bound() -> None:
    voice = PathVoice(lambda: (), Patience(), nonce=0)
    way = Way(PathPeer((), range(0), in_touch=True), via=B)
    way.bindings = {relay: Binding(AT, began=0.0, next_at=0.0) for relay in (C, B)}
    voice.call({A: way}, A, 0.0, reply=True)
    assert voice.outputs() == [SendCall(A, Call((), (), (B, C), lost=False, reply=True))]
