import pytest

from gossip import SUMMARY_BYTES_MAX, LocalMisuse
from gossip.author import (
    CALM_INTERVAL_S,
    CALM_WAIT_S,
    JOINING_INTERVAL_S,
    JOINING_WAIT_S,
    LOSS_INTERVAL_S,
    OVERTAKEN_INTERVAL_S,
    SUMMARY_INTERVAL_S,
    Author,
)
from gossip.record import COUNT_MAX, open_body
from tests.unit.gossip.transcript import NAMES, SIGNERS, record


def author(epoch: int = 1) -> Author:
    it = Author(SIGNERS["me"], epoch)
    assert it.write(0.0) is not None
    return it


def test_the_first_record_is_written_at_once_and_says_nothing() -> None:
    first = Author(SIGNERS["me"], 5).write(0.0)
    assert first is not None
    assert (first.epoch, first.version) == (5, 1)
    assert (open_body(first).summary, open_body(first).links) == (b"", ())


def test_without_a_change_nothing_is_written() -> None:
    it = author()
    it.describe(b"")
    it.link((), matters=True, now=0.0)
    assert it.deadline() is None
    assert it.write(100.0) is None


def test_what_we_are_is_said_at_once_before_a_link_can_carry_that_we_are_nobody() -> None:
    it = author()
    it.describe(b"one")
    second = it.write(0.0)
    assert second is not None and open_body(second).summary == b"one"


def test_a_burst_of_changes_becomes_one_record() -> None:
    it = author()
    it.describe(b"nought")
    assert it.write(0.0) is not None
    it.describe(b"one")
    it.link((NAMES["ann"],), matters=False, now=0.0)
    it.describe(b"two")
    assert it.deadline() == SUMMARY_INTERVAL_S
    assert it.write(SUMMARY_INTERVAL_S / 2) is None
    second = it.write(SUMMARY_INTERVAL_S)
    assert second is not None
    assert (second.version, open_body(second).summary, open_body(second).links) == (3, b"two", (NAMES["ann"],))


def test_the_more_hangs_on_a_change_the_sooner_it_is_said() -> None:
    it, names = author(), tuple(NAMES[nickname] for nickname in ("eve", "ann", "cat"))
    it.link(names[:1], matters=True, now=0.1)
    assert it.deadline() == 0.1 + JOINING_WAIT_S, "the first link"
    assert it.write(1.0) is not None
    it.link(names, matters=False, now=1.1)
    assert it.deadline() == 1.0 + max(CALM_INTERVAL_S, 0.1 + CALM_WAIT_S), "a link more or less"
    it.link(names[:2], matters=True, now=1.1)
    assert it.deadline() == 1.0 + LOSS_INTERVAL_S, "a lost one"
    assert it.write(2.0) is not None
    it.link(names, matters=True, now=2.1)
    assert it.deadline() == 2.0 + JOINING_INTERVAL_S, "one that somebody is reached by"


def test_an_epoch_above_that_of_a_record_not_ours_is_begun_but_seldom() -> None:
    it = author(epoch=3)
    it.overtaken(record("me", 2, 9), 1.0)
    assert it.deadline() is None, "it does not outrank us"
    it.overtaken(record("me", 7, 9), 1.0)
    first = it.write(1.0)
    it.overtaken(record("me", 9, 1), 1.1)
    assert it.deadline() == pytest.approx(1.0 + OVERTAKEN_INTERVAL_S)
    second = it.write(1.0 + OVERTAKEN_INTERVAL_S)
    assert first is not None
    assert second is not None
    assert [(first.epoch, first.version), (second.epoch, second.version)] == [(8, 1), (10, 1)]


def test_an_epoch_that_cannot_be_outranked_is_left_alone() -> None:
    it = author()
    it.overtaken(record("me", COUNT_MAX, 1), 1.0)
    assert it.deadline() is None


def test_what_cannot_be_published_is_refused() -> None:
    with pytest.raises(LocalMisuse):
        author().describe(bytes(SUMMARY_BYTES_MAX + 1))
    for epoch in (-1, COUNT_MAX):
        with pytest.raises(LocalMisuse):
            Author(SIGNERS["me"], epoch)


def test_what_changed_back_before_it_was_said_is_not_said() -> None:
    it = author()
    it.link((NAMES["ann"],), matters=True, now=1.0)
    it.link((), matters=True, now=1.0)
    assert it.write(10.0) is None
    assert it.deadline() is None
