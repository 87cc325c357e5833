"""Targets go through their phases; none is dialled twice at once, nor while its peer is linked."""

import pytest

from gossip import LocalMisuse, PeerName, Target, TargetPhase
from gossip.backoff import BACKOFF_FIRST_S, LASTING_S
from gossip.target import TARGETS_MAX, TargetTable
from tests.unit.gossip.transcript import NAMES, FixedRandom

H1, H2 = Target("h:1"), Target("h:2")
ANN = NAMES["ann"]


def nobody(_: PeerName) -> bool:
    """Nobody is linked."""
    return False


def everybody(_: PeerName) -> bool:
    """Everybody is linked."""
    return True


def make(*targets: Target) -> TargetTable:
    """Return a table whose targets are due at 0."""
    table = TargetTable(FixedRandom())
    table.connect(targets, replace=False, now=0.0)
    return table


def phases(table: TargetTable) -> list[TargetPhase]:
    """Return the phases, in order."""
    return [view.phase for view in table.views()]


def test_a_new_target_is_dialled_at_once_and_once() -> None:
    table = make(H1)
    assert table.deadline() == 0.0
    assert table.start_due(nobody, 9, 0.0) == [H1]
    assert table.start_due(nobody, 9, 100.0) == []
    assert (phases(table), table.deadline()) == ([TargetPhase.DIALLING], None)


def test_a_failed_dial_is_tried_again_later() -> None:
    table = make(H1)
    table.start_due(nobody, 9, 0.0)
    assert table.failed(H1, "refused", 1.0)
    (view,) = table.views()
    assert (view.phase, view.reason, view.attempts) == (TargetPhase.WAITING, "refused", 1)
    assert view.next_dial_at == table.deadline() == 1.0 + BACKOFF_FIRST_S
    assert table.start_due(nobody, 9, 1.0) == []
    assert table.start_due(nobody, 9, 1.0 + BACKOFF_FIRST_S) == [H1]


def test_a_dial_that_is_not_ours_is_left_to_others() -> None:
    table = make(H1)
    assert not table.failed(H1, "refused", 0.0)
    assert not table.found(H1, ANN, ourselves=False)
    assert not table.failed(H2, "refused", 0.0)
    assert phases(table) == [TargetPhase.WAITING]


def test_a_link_that_lasted_begins_the_back_off_anew_and_a_short_one_does_not() -> None:
    for lived_s, attempts in ((0.0, 3), (LASTING_S, 1)):
        table = make(H1)
        now = 0.0
        for _ in range(2):
            table.start_due(nobody, 9, now)
            table.failed(H1, "refused", now)
            now = table.deadline() or 0.0
        table.start_due(nobody, 9, now)
        assert table.found(H1, ANN, ourselves=False)
        table.unlinked(ANN, "reset", lived_s=lived_s, now=now)
        (view,) = table.views()
        assert (view.phase, view.reason, view.peer, view.attempts) == (TargetPhase.WAITING, "reset", ANN, attempts)


def test_a_target_whose_peer_is_linked_otherwise_is_not_dialled() -> None:
    table = make(H1, H2)
    table.start_due(nobody, 9, 0.0)
    table.found(H1, ANN, ourselves=False)
    table.found(H2, ANN, ourselves=False)
    table.unlinked(ANN, "reset", lived_s=0.0, now=0.0)
    assert table.start_due(everybody, 9, 50.0) == []
    assert phases(table) == [TargetPhase.LINKED] * 2
    table.unlinked(ANN, "reset", lived_s=0.0, now=50.0)
    table.linked(ANN)
    assert (phases(table), table.deadline()) == ([TargetPhase.LINKED] * 2, None)


def test_ourselves_are_not_dialled_again_until_asked() -> None:
    table = make(H1)
    table.start_due(nobody, 9, 0.0)
    table.found(H1, NAMES["me"], ourselves=True)
    table.unlinked(NAMES["me"], "closed", lived_s=0.0, now=0.0)
    assert (phases(table), table.start_due(nobody, 9, 1e6)) == ([TargetPhase.OURSELVES], [])
    table.connect((H1,), replace=False, now=5.0)
    assert table.start_due(nobody, 9, 5.0) == [H1]


def test_asking_again_makes_a_waiting_target_due_and_leaves_a_dial_under_way() -> None:
    table = make(H1, H2)
    table.start_due(nobody, 9, 0.0)
    table.failed(H1, "refused", 0.0)
    assert not table.connect((H1, H2), replace=False, now=0.1)
    assert table.start_due(nobody, 9, 0.1) == [H1]


def test_without_room_a_target_waits() -> None:
    table = make(H1, H2)
    assert table.start_due(nobody, 1, 0.0) == [H1]
    second = table.views()[1]
    assert (second.phase, second.reason) == (TargetPhase.WAITING, "no room for another link")
    assert second.next_dial_at == BACKOFF_FIRST_S


def test_replacing_drops_the_rest_and_keeps_the_phase_of_what_stays() -> None:
    table = make(H1, H2)
    table.start_due(nobody, 9, 0.0)
    assert table.connect((H2,), replace=True, now=1.0)
    assert (table.names(), phases(table)) == ((H2,), [TargetPhase.DIALLING])
    assert H1 not in table


def test_what_is_forgotten_is_gone_and_its_late_answer_ignored() -> None:
    table = make(H1)
    table.start_due(nobody, 9, 0.0)
    assert table.forget((H1, H2))
    assert not table.forget((H1,))
    assert not table.failed(H1, "refused", 1.0)
    assert (table.names(), table.deadline()) == ((), None)


def test_too_many_targets_are_refused_and_nothing_changes() -> None:
    table = make(H1)
    many = tuple(Target(f"h:{number}") for number in range(2, TARGETS_MAX + 2))
    with pytest.raises(LocalMisuse):
        table.connect(many, replace=False, now=0.0)
    assert table.names() == (H1,)
    assert table.connect(many, replace=True, now=0.0)
    assert len(table.names()) == TARGETS_MAX
