import pytest

from weavemesh.transport.meter import COST_BURST, COST_PER_FRAME, COST_PER_S, FLOOD_S, Meter


def test_the_state_of_a_large_mesh_is_not_held_back() -> None:
    meter = Meter(0.0)
    assert sum(meter.take(size=COST_BURST // 40, frames=1, now=0.0) for _ in range(39)) == 0


def test_who_sends_more_is_read_more_slowly_to_the_pace_allowed() -> None:
    meter, now, taken = Meter(0.0), 0.0, 0
    while now < 100:
        now += meter.take(size=256 * 1024, frames=0, now=now)
        taken += 256 * 1024
    assert taken == pytest.approx(COST_BURST + 100 * COST_PER_S, rel=0.01)


def test_many_tiny_frames_cost_more_than_their_bytes() -> None:
    meter, now, frames = Meter(0.0), 0.0, 0
    while now < 60:
        now += meter.take(size=700, frames=100, now=now)
        frames += 100
    assert frames / 60 < 1.1 * (COST_PER_S + COST_BURST / 60) / COST_PER_FRAME


def test_who_never_pauses_floods_and_who_pauses_does_not() -> None:
    meter, now = Meter(0.0), 0.0
    while not meter.floods(now):
        now += meter.take(size=1024 * 1024, frames=0, now=now) or 0.01
        assert now < 3 * FLOOD_S
    assert now >= FLOOD_S
    meter.take(size=0, frames=0, now=now + 1.0)
    assert not meter.floods(now + 1.0)
