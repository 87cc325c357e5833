import pytest

from gossip.pace import TAKE_BURST, TAKE_INTERVAL_S, WRITE_BURST, WRITE_INTERVAL_S, Pace


def test_a_burst_is_allowed_then_one_in_each_interval() -> None:
    pace = Pace(0.0, burst=3, interval_s=2.0)
    assert [pace.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert pace.next_at(0.5) == pytest.approx(2.0)
    assert not pace.take(1.9)
    assert pace.take(2.0)
    assert not pace.take(2.1)


def test_what_is_saved_up_is_bounded() -> None:
    pace = Pace(0.0, burst=3, interval_s=2.0)
    assert [pace.take(1000.0) for _ in range(4)] == [True, True, True, False]


def test_a_clock_that_goes_back_gives_nothing() -> None:
    pace = Pace(10.0, burst=1, interval_s=1.0)
    assert pace.take(10.0)
    assert not pace.take(5.0)
    assert not pace.take(10.5)


def test_what_is_restored_from_disk_is_free() -> None:
    pace = Pace(None)
    assert all(pace.take(None) for _ in range(10 * TAKE_BURST))


def test_whoever_keeps_the_writers_pace_is_never_refused() -> None:
    writer, taker = Pace(0.0, burst=WRITE_BURST, interval_s=WRITE_INTERVAL_S), Pace(0.0)
    now, written = 0.0, 0
    while now < 300:
        now = writer.next_at(now)
        assert writer.take(now)
        written += 1
        assert taker.take(now)
    assert written > 300
    assert TAKE_BURST > WRITE_BURST and TAKE_INTERVAL_S < WRITE_INTERVAL_S
