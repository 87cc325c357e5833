import msgspec

from gossip import Counters, TargetPhase
from tests.unit.gossip.transcript import NAMES, Conversation


def test_views_do_not_change_when_the_mesh_does() -> None:
    talk = Conversation()
    talk.meet(1, "bob")
    before = talk.mesh.links()
    copy = tuple(msgspec.structs.replace(view) for view in before)
    talk.close(1)
    assert before == copy
    assert talk.mesh.links() == ()


def test_a_linked_peer_is_shown_before_its_record_is_known() -> None:
    talk = Conversation()
    talk.meet(1, "bob")
    view = talk.mesh.peer(NAMES["bob"])
    assert view is not None
    assert (view.summary, view.epoch, view.reachable, view.linked) == (None, 0, False, talk.mesh.links()[0])
    assert view.last_heard == talk.now


def test_counters_begin_at_zero() -> None:
    assert set(msgspec.structs.astuple(Counters())) == {0}


def test_phases_are_words_for_people() -> None:
    assert [str(phase) for phase in TargetPhase] == ["waiting", "dialling", "linked", "reached", "ourselves"]
