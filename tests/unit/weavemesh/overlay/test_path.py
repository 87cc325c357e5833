"""The path machine, by transcripts; what it does in a network, `tests/simulation/test_path.py` tries."""

from ipaddress import IPv4Address
from typing import TypeGuard

from gossip import PeerName
from weavemesh.overlay.path import Paths
from weavemesh.overlay.pathevent import (
    DIRECT,
    AddressesChanged,
    Call,
    CallHeard,
    DeviceSeen,
    Knock,
    KnockAnswered,
    KnockHeard,
    PathOutput,
    PathPeer,
    PathPeers,
    PathsChanged,
    SeenAsChanged,
    SendCall,
    SetEndpoint,
    TunnelAnswered,
    TunnelSilent,
)
from weavemesh.overlay.pathtime import (
    ASSERT_AFTER_S,
    CALL_AFTER_S,
    REFRESH_INTERVAL_S,
    REFRESH_UNTRANSLATED_S,
    RELAY_AFTER_S,
)
from weavemesh.overlay.state import Endpoint

US, PEER, LATER = PeerName("a"), PeerName("b"), PeerName("c")
FIRST, SECOND, ELSEWHERE = (Endpoint(IPv4Address(f"198.51.100.{number}"), 6783) for number in (1, 2, 3))
OURS = Endpoint(IPv4Address("203.0.113.1"), 20000)


def machine(*endpoints: Endpoint) -> Paths:
    paths = Paths(name=US, nonce=100)
    paths.receive(PathPeers({PEER: PathPeer(endpoints, range(0), in_touch=True)}), 0.0)
    return paths


def knocks_at(output: PathOutput, endpoint: Endpoint) -> TypeGuard[Knock]:
    return isinstance(output, Knock) and output.endpoint == endpoint


def run(paths: Paths, *, until: float) -> list[PathOutput]:
    outputs = []
    while (now := paths.deadline()) is not None and now <= until:
        paths.tick(now)
        outputs += paths.outputs()
    return outputs


def test_all_endpoints_are_knocked_at_together_and_a_peer_that_does_not_answer_at_once_is_called() -> None:
    paths = machine(FIRST, SECOND)
    assert run(paths, until=CALL_AFTER_S / 2) == [Knock(PEER, FIRST, 101), Knock(PEER, SECOND, 102)]
    assert SendCall(PEER, Call((), (), (), lost=True, reply=True)) in run(paths, until=CALL_AFTER_S)


def test_a_peer_that_answers_at_once_is_not_called() -> None:
    paths = machine(FIRST)
    run(paths, until=0.0)
    paths.receive(KnockAnswered(PEER, 101, OURS), CALL_AFTER_S / 2)
    assert not [output for output in run(paths, until=10.0) if isinstance(output, SendCall)]


def test_where_this_host_is_late_to_its_own_timers_others_are_called_later() -> None:
    paths = machine(FIRST)
    paths.tick(1.0)  # was due at 0
    paths.outputs()
    paths.receive(PathPeers({LATER: PathPeer((SECOND,), range(0), in_touch=True)}), 1.0)
    soon = run(paths, until=1.0 + 5 * CALL_AFTER_S)
    assert Knock(LATER, SECOND, 102) in soon
    assert not [output for output in soon if isinstance(output, SendCall)]
    assert [output for output in run(paths, until=10.0) if isinstance(output, SendCall)]


def test_the_first_answer_is_taken_and_told_to_the_device() -> None:
    paths = machine(FIRST, SECOND)
    run(paths, until=0.0)
    paths.receive(KnockAnswered(PEER, 102, OURS), 0.02)
    assert paths.outputs()[-3:] == [SeenAsChanged(), SetEndpoint(PEER, SECOND, greet=True), PathsChanged()]
    paths.receive(KnockAnswered(PEER, 101, OURS), 0.03)
    assert paths.outputs() == []
    view = paths.view(PEER)
    assert view is not None and (view.via, view.endpoint, view.reason) == (DIRECT, SECOND, "")
    assert paths.via(PEER) == DIRECT
    assert paths.seen.endpoints() == (OURS,)


def test_a_first_path_is_set_again_once_and_then_only_refreshed() -> None:
    paths = machine(FIRST)
    run(paths, until=0.0)
    paths.receive(KnockAnswered(PEER, 101, OURS), 0.02)
    paths.outputs()
    outputs = run(paths, until=REFRESH_INTERVAL_S + 1)
    assert outputs == [SetEndpoint(PEER, FIRST, greet=False), Knock(PEER, FIRST, 102)]


def test_a_path_that_replaces_another_is_set_again_a_few_times() -> None:
    paths = machine(FIRST)
    run(paths, until=0.0)
    paths.receive(KnockAnswered(PEER, 101, OURS), 0.02)
    run(paths, until=3.0)
    paths.receive(TunnelSilent(PEER), 4.0)
    paths.receive(KnockHeard(PEER, ELSEWHERE), 4.0)
    nonce = next(output.nonce for output in run(paths, until=4.0) if knocks_at(output, ELSEWHERE))
    paths.receive(KnockAnswered(PEER, nonce, OURS), 4.1)
    paths.outputs()
    again = [output for output in run(paths, until=8.0) if isinstance(output, SetEndpoint)]
    assert again == [SetEndpoint(PEER, ELSEWHERE, greet=False)] * len(ASSERT_AFTER_S)


def test_where_nobody_translates_a_path_is_refreshed_seldom() -> None:
    paths = Paths(name=US, nonce=100)
    paths.receive(AddressesChanged((OURS.address,)), 0.0)
    paths.receive(PathPeers({PEER: PathPeer((FIRST,), range(0), in_touch=True, own=(FIRST,))}), 0.0)
    run(paths, until=0.0)
    paths.receive(KnockAnswered(PEER, 101, OURS), 0.02)
    paths.outputs()
    knocks = [output for output in run(paths, until=4 * REFRESH_INTERVAL_S) if isinstance(output, Knock)]
    assert knocks == []
    assert Knock(PEER, FIRST, 102) in run(paths, until=REFRESH_UNTRANSLATED_S + 1)


def test_who_knocks_from_an_unknown_place_is_knocked_at_there() -> None:
    paths = machine(FIRST)
    paths.outputs()
    paths.receive(KnockHeard(PEER, ELSEWHERE), 0.01)
    assert paths.outputs() == [Knock(PEER, ELSEWHERE, 101)]


def test_of_knocks_that_come_close_together_one_is_returned_and_on_a_starved_host_that_is_longer() -> None:
    paths = machine(FIRST)
    paths.outputs()
    for moment_s in (0.01, 0.02, 0.03, 0.07):
        paths.receive(KnockHeard(PEER, FIRST), moment_s)
    assert paths.outputs() == [Knock(PEER, FIRST, 101), Knock(PEER, FIRST, 102)]
    paths.tick(1.0)  # a second late
    paths.outputs()
    for moment_s in (1.0, 1.5, 2.0):
        paths.receive(KnockHeard(PEER, FIRST), moment_s)
    assert [output for output in paths.outputs() if isinstance(output, Knock)] == [Knock(PEER, FIRST, 104)]


def test_an_answer_to_no_knock_of_ours_or_of_another_proves_nothing() -> None:
    paths = machine(FIRST)
    run(paths, until=0.0)
    paths.receive(KnockAnswered(PEER, 999, OURS), 0.01)
    paths.receive(KnockAnswered(LATER, 101, OURS), 0.01)
    assert paths.outputs() == [] and paths.via(PEER) is None


def test_what_the_device_has_and_the_tunnel_proves_is_left_as_it_is() -> None:
    paths = machine(FIRST)
    paths.outputs()
    paths.receive(TunnelAnswered(PEER, 0.01), 0.1)
    paths.receive(DeviceSeen({PEER: ELSEWHERE}), 0.2)
    assert paths.via(PEER) == DIRECT
    assert not [output for output in paths.outputs() if isinstance(output, SetEndpoint)]


def test_where_the_device_was_led_astray_the_path_is_tried_and_set_again() -> None:
    paths = machine(FIRST)
    run(paths, until=0.0)
    paths.receive(KnockAnswered(PEER, 101, OURS), 0.02)
    run(paths, until=4.0)
    paths.receive(DeviceSeen({PEER: ELSEWHERE}), 5.0)
    (knock,) = (output for output in paths.outputs() if isinstance(output, Knock))
    assert knock == Knock(PEER, ELSEWHERE, 102)
    paths.receive(KnockAnswered(PEER, 102, OURS), 5.1)
    assert SetEndpoint(PEER, ELSEWHERE, greet=True) in paths.outputs()


def test_a_call_names_new_endpoints_which_are_tried() -> None:
    paths = machine()
    run(paths, until=0.0)
    paths.receive(CallHeard(PEER, Call((ELSEWHERE,), (), (), lost=True, reply=False)), 3.0)
    assert Knock(PEER, ELSEWHERE, 101) in run(paths, until=3.0)


def test_where_the_other_is_bound_at_a_relay_only_an_answer_to_a_knock_keeps_the_direct_path() -> None:
    """The tunnel's answers may come over the relay."""
    for is_answered in (True, False):
        paths = machine(FIRST)
        run(paths, until=0.0)
        paths.receive(KnockAnswered(PEER, 101, OURS), 0.02)
        paths.receive(CallHeard(PEER, Call((), (), (LATER,), lost=False, reply=False)), 5.0)
        assert [output for output in paths.outputs() if isinstance(output, Knock)] == [Knock(PEER, FIRST, 102)]
        paths.receive(TunnelAnswered(PEER, 0.01), 5.1)
        if is_answered:
            paths.receive(KnockAnswered(PEER, 102, OURS), 5.2)
        run(paths, until=5.0 + RELAY_AFTER_S)
        assert paths.via(PEER) == (DIRECT if is_answered else None)


def test_a_silent_direct_path_is_believed_in_again_when_it_answers_a_knock() -> None:
    paths = machine(FIRST)
    run(paths, until=0.0)
    paths.receive(KnockAnswered(PEER, 101, OURS), 0.02)
    paths.receive(TunnelSilent(PEER), 5.0)
    paths.receive(TunnelAnswered(PEER, 0.01), 5.1)
    assert paths.via(PEER) is None
    (knock,) = (output for output in run(paths, until=5.0) if knocks_at(output, FIRST))
    paths.receive(KnockAnswered(PEER, knock.nonce, OURS), 5.2)
    assert paths.via(PEER) == DIRECT


def test_a_peer_that_has_gone_is_forgotten() -> None:
    paths = machine(FIRST)
    paths.receive(PathPeers({}), 1.0)
    assert paths.view(PEER) is None and paths.via(PEER) is None
    assert paths.deadline() is None
