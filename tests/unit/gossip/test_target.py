import random

import pytest

from gossip import LocalMisuse, PeerName, Target, TargetPhase
from gossip.backoff import BACKOFF_LONGEST_S
from gossip.target import LOST_DIALS_PER_SECOND, REFERRED_S, TARGETS_MAX, TargetTable
from tests.unit.gossip.transcript import NAMES, FixedRandom

ONE, TWO = Target("one:1"), Target("two:2")
BOB = NAMES["bob"]


def table(*targets: Target) -> TargetTable:
    it = TargetTable(FixedRandom(), may_rest=True)
    it.connect(targets, replace=False, now=0.0)
    return it


def start(it: TargetTable, now: float, *linked: PeerName, room: int = 10) -> list[Target]:
    return it.start_due(linked.__contains__, lambda _: False, room, now)


def phases(it: TargetTable) -> list[TargetPhase]:
    return [view.phase for view in it.views()]


def test_a_target_is_dialled_once_until_its_dial_is_answered() -> None:
    it = table(ONE)
    assert it.deadline() == 0.0
    assert start(it, 0.0) == [ONE]
    assert start(it, 100.0) == []
    assert it.deadline() is None


def test_a_failed_target_waits_and_tells_why() -> None:
    it = table(ONE)
    start(it, 0.0)
    assert it.failed(ONE, "refused", 1.0)
    (view,) = it.views()
    assert (view.phase, view.reason, view.attempts, view.next_dial_at) == (TargetPhase.WAITING, "refused", 1, 1.5)
    assert start(it, 1.4) == []
    assert start(it, 1.5) == [ONE]


def test_connect_cuts_the_wait_short_and_leaves_the_linked_alone() -> None:
    it = table(ONE, TWO)
    start(it, 0.0)
    it.failed(ONE, "refused", 1.0)
    it.found(TWO, BOB, ourselves=False)
    assert not it.connect((ONE, TWO), replace=False, now=1.1), "the list is as before"
    assert start(it, 1.1, BOB) == [ONE]
    assert phases(it) == [TargetPhase.DIALLING, TargetPhase.LINKED]


def test_replace_forgets_what_is_not_named() -> None:
    it = table(ONE, TWO)
    assert it.connect((TWO,), replace=True, now=1.0)
    assert it.names() == (TWO,)


def test_forgotten_targets_are_gone_whatever_still_comes_of_them() -> None:
    it = table(ONE, TWO)
    start(it, 0.0)
    assert it.forget((ONE,))
    assert not it.forget((ONE,))
    assert not it.failed(ONE, "refused", 1.0)
    assert not it.found(ONE, BOB, ourselves=False)
    assert it.names() == (TWO,)


def test_all_targets_of_a_linked_peer_rest_until_its_last_link_ends() -> None:
    it = table(ONE, TWO)
    start(it, 0.0)
    it.found(ONE, BOB, ourselves=False)
    it.found(TWO, BOB, ourselves=False)
    it.unlinked(BOB, "reset", is_spared=False, is_referred=False, is_reachable=False, lived_s=1.0, now=5.0)
    assert phases(it) == [TargetPhase.WAITING] * 2
    it.linked(BOB)
    assert phases(it) == [TargetPhase.LINKED] * 2
    assert it.deadline() is None


def test_a_due_target_whose_peer_is_linked_is_not_dialled() -> None:
    it = table(ONE)
    start(it, 0.0)
    it.found(ONE, BOB, ourselves=False)
    it.unlinked(BOB, "reset", is_spared=False, is_referred=False, is_reachable=False, lived_s=1.0, now=5.0)
    assert start(it, 6.0, BOB) == []
    assert phases(it) == [TargetPhase.LINKED]


def test_who_referred_us_to_others_is_left_alone_while_these_are_dialled() -> None:
    it = table(ONE)
    start(it, 0.0)
    it.found(ONE, BOB, ourselves=False)
    it.unlinked(BOB, "no room", is_spared=True, is_referred=True, is_reachable=False, lived_s=0.0, now=1.0)
    assert phases(it) == [TargetPhase.WAITING], "the others may be dead"
    assert it.deadline() == 1.0 + REFERRED_S


def test_who_referred_us_to_others_is_due_when_these_are_of_no_use() -> None:
    it = table(ONE, TWO)
    start(it, 0.0)
    it.found(ONE, BOB, ourselves=False)
    it.failed(TWO, "refused", 0.5)
    other_due = it.deadline()
    it.unlinked(BOB, "no room", is_spared=True, is_referred=True, is_reachable=False, lived_s=0.0, now=1.0)
    it.hasten(2.0)
    assert it.views()[0].next_dial_at == 2.0 and it.views()[1].next_dial_at == other_due
    assert ONE in start(it, 2.0)


def test_of_many_whose_target_is_lost_each_draws_its_turn() -> None:
    def due_after(seed: int, mesh_size: int) -> float:
        it = TargetTable(random.Random(seed), may_rest=True)
        it.connect((ONE,), replace=True, now=0.0)
        start(it, 0.0)
        it.found(ONE, BOB, ourselves=False)
        it.unlinked(BOB, "enough", is_spared=True, is_referred=False, is_reachable=True, lived_s=1.0, now=1.0)
        assert phases(it) == [TargetPhase.REACHED]
        it.lost((BOB,), 5.0, mesh_size=mesh_size)
        assert phases(it) == [TargetPhase.WAITING]
        due = it.deadline()
        assert due is not None
        return due - 5.0

    of_few, of_many = ([due_after(seed, size) for seed in range(50)] for size in (3, 100))
    assert max(of_few) <= 3 / LOST_DIALS_PER_SECOND
    assert max(of_many) <= 100 / LOST_DIALS_PER_SECOND and len([due for due in of_many if due < 5.0]) in range(15, 36)
    assert max(due_after(seed, 1000) for seed in range(50)) <= BACKOFF_LONGEST_S


def test_ourselves_is_dialled_no_more_until_asked() -> None:
    it = table(ONE)
    start(it, 0.0)
    assert it.found(ONE, NAMES["me"], ourselves=True)
    assert it.deadline() is None
    it.connect((ONE,), replace=False, now=9.0)
    assert start(it, 9.0) == [ONE]


def test_without_room_a_target_waits() -> None:
    it = table(ONE, TWO)
    assert start(it, 0.0, room=1) == [ONE]
    assert it.views()[1].reason == "other targets are tried first"


def test_targets_are_bounded() -> None:
    with pytest.raises(LocalMisuse):
        table(*(Target(f"h:{port}") for port in range(TARGETS_MAX + 1)))
    full = table(*(Target(f"h:{port}") for port in range(TARGETS_MAX)))
    with pytest.raises(LocalMisuse):
        full.connect((ONE,), replace=False, now=1.0)
    assert full.connect((ONE,), replace=True, now=1.0)
