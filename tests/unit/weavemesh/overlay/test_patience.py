"""Others are given longer while this host is late, or answers take long; and for some seconds after that."""

from weavemesh.overlay.patience import HALF_LIFE_S, MOST_S, Patience


def test_a_healthy_host_waits_as_long_as_it_is_told() -> None:
    patience = Patience()
    assert patience.timer(None, 5.0) == 0.0
    assert patience.timer(5.0, 5.001) == 0.0
    assert patience.stretch(0.3, 5.0) == 0.3


def test_a_late_timer_is_told_and_stretches_every_wait_until_it_is_forgotten() -> None:
    patience = Patience()
    assert patience.timer(1.0, 2.0) == 1.0
    at_once, later, in_the_end = (patience.stretch(0.3, 2.0 + after) for after in (0.0, HALF_LIFE_S, 20 * HALF_LIFE_S))
    assert at_once > later > 1.0
    assert round(in_the_end, 3) == 0.3


def test_the_greatest_lateness_counts() -> None:
    patience = Patience()
    patience.timer(0.0, 1.0)
    before = patience.stretch(0.0, 1.0)
    patience.timer(0.9, 1.0)
    assert patience.stretch(0.0, 1.0) == before


def test_slow_answers_stretch_it_and_quick_ones_take_that_back() -> None:
    patience = Patience()
    for _ in range(50):
        patience.answered(0.5)
    assert 0.7 < patience.stretch(0.1, 0.0) < 0.9
    for _ in range(50):
        patience.answered(0.0)
    assert patience.stretch(0.1, 0.0) < 0.11


def test_it_ends() -> None:
    patience = Patience()
    patience.timer(0.0, 1000.0)
    assert patience.stretch(1.0, 1000.0) == 1.0 + MOST_S
