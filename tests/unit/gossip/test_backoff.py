import random

import pytest

from gossip.backoff import BACKOFF_FIRST_S, BACKOFF_JITTER, BACKOFF_LONGEST_S, LASTING_S, Backoff
from tests.unit.gossip.transcript import FixedRandom


def test_waits_grow_to_the_longest_and_stay_there_for_ever() -> None:
    backoff, waits = Backoff(0.0), []
    for _ in range(2000):
        backoff.fail(0.0, FixedRandom())
        waits.append(backoff.next_at)
    assert waits[:4] == pytest.approx([0.5, 0.8, 1.28, 2.048])
    assert waits[-1] == BACKOFF_LONGEST_S
    assert waits == sorted(waits)


def test_waits_are_never_in_step_yet_near_what_they_should_be() -> None:
    rng, waits = random.Random(1), []
    for _ in range(100):
        backoff = Backoff(0.0)
        backoff.fail(0.0, rng)
        waits.append(backoff.next_at)
    assert len(dict.fromkeys(waits)) == 100
    assert min(waits) >= BACKOFF_FIRST_S * (1 - BACKOFF_JITTER)
    assert max(waits) <= BACKOFF_FIRST_S * (1 + BACKOFF_JITTER)


def test_a_link_that_lasted_counts_as_success_a_brief_one_does_not() -> None:
    backoff = Backoff(0.0)
    for _ in range(5):
        backoff.fail(0.0, FixedRandom())
    backoff.end(100.0, 0.1, FixedRandom())
    assert backoff.attempts == 6
    backoff.end(200.0, LASTING_S, FixedRandom())
    assert (backoff.attempts, backoff.next_at) == (1, 200.0 + BACKOFF_FIRST_S)


def test_a_reset_makes_it_due_now() -> None:
    backoff = Backoff(0.0)
    backoff.fail(0.0, FixedRandom())
    backoff.reset(3.0)
    assert (backoff.attempts, backoff.next_at) == (0, 3.0)
