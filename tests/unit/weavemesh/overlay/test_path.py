"""The path machine, by transcripts; what it does in a network, `tests/simulation/test_path.py` tries."""

from ipaddress import IPv4Address

from gossip import PeerName
from weavemesh.overlay.path import Paths
from weavemesh.overlay.pathevent import (
    DIRECT,
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
)
from weavemesh.overlay.pathtime import ASSERT_AFTER_S, REFRESH_INTERVAL_S
from weavemesh.overlay.state import Endpoint

US, PEER = PeerName("a"), PeerName("b")
FIRST, SECOND, ELSEWHERE = (Endpoint(IPv4Address(f"198.51.100.{number}"), 6783) for number in (1, 2, 3))
OURS = Endpoint(IPv4Address("203.0.113.1"), 20000)


def machine(*endpoints: Endpoint) -> Paths:
    paths = Paths(name=US, nonce=100)
    paths.receive(PathPeers({PEER: PathPeer(endpoints, range(0), in_touch=True)}), 0.0)
    return paths


def run(paths: Paths, *, until: float) -> list[PathOutput]:
    outputs = []
    while (now := paths.deadline()) is not None and now <= until:
        paths.tick(now)
        outputs += paths.outputs()
    return outputs


def test_all_endpoints_are_knocked_at_together_and_the_peer_is_called() -> None:
    paths = machine(FIRST, SECOND)
    assert paths.outputs() == [SendCall(PEER, Call((), (), (), lost=True, reply=True))]
    assert run(paths, until=0.0) == [Knock(PEER, FIRST, 101), Knock(PEER, SECOND, 102)]


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


def test_a_found_path_is_set_again_a_few_times_and_then_only_refreshed() -> None:
    paths = machine(FIRST)
    run(paths, until=0.0)
    paths.receive(KnockAnswered(PEER, 101, OURS), 0.02)
    paths.outputs()
    outputs = run(paths, until=REFRESH_INTERVAL_S + 1)
    assert outputs == [*([SetEndpoint(PEER, FIRST, greet=False)] * len(ASSERT_AFTER_S)), Knock(PEER, FIRST, 102)]


def test_who_knocks_from_an_unknown_place_is_knocked_at_there() -> None:
    paths = machine(FIRST)
    paths.outputs()
    paths.receive(KnockHeard(PEER, ELSEWHERE), 0.01)
    assert paths.outputs() == [Knock(PEER, ELSEWHERE, 101)]


def test_an_answer_to_no_knock_of_ours_or_of_another_proves_nothing() -> None:
    paths = machine(FIRST)
    run(paths, until=0.0)
    paths.receive(KnockAnswered(PEER, 999, OURS), 0.01)
    paths.receive(KnockAnswered(PeerName("c"), 101, OURS), 0.01)
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
    (knock,) = paths.outputs()
    assert knock == Knock(PEER, ELSEWHERE, 102)
    paths.receive(KnockAnswered(PEER, 102, OURS), 5.1)
    assert SetEndpoint(PEER, ELSEWHERE, greet=True) in paths.outputs()


def test_a_call_names_new_endpoints_which_are_tried() -> None:
    paths = machine()
    run(paths, until=0.0)
    paths.receive(CallHeard(PEER, Call((ELSEWHERE,), (), (), lost=True, reply=False)), 3.0)
    assert Knock(PEER, ELSEWHERE, 101) in run(paths, until=3.0)


def test_a_peer_that_has_gone_is_forgotten() -> None:
    paths = machine(FIRST)
    paths.receive(PathPeers({}), 1.0)
    assert paths.view(PEER) is None and paths.via(PEER) is None
    assert paths.deadline() is None
