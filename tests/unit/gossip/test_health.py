from gossip.health import LATE_S, RECOVERY_S, SCORE_MAX, SCORE_PER_FACTOR, LocalHealth


def test_who_is_called_in_time_is_healthy() -> None:
    health = LocalHealth(0.0)
    for second in range(100):
        health.called(late_s=LATE_S if second % 2 else -1.0, now=float(second))
    assert health.factor == 1


def test_each_late_call_stretches_patience_up_to_a_limit() -> None:
    health = LocalHealth(0.0)
    health.called(late_s=1.0, now=1.0)
    assert health.factor == 1 + 1 / SCORE_PER_FACTOR
    for second in range(100):
        health.called(late_s=1.0, now=float(second))
    assert health.factor == 1 + SCORE_MAX / SCORE_PER_FACTOR


def test_health_comes_back_with_time_however_seldom_we_are_called() -> None:
    health = LocalHealth(0.0)
    for _ in range(3):
        health.called(late_s=1.0, now=1.0)
    health.called(late_s=0.0, now=1.0 + RECOVERY_S)
    assert health.factor == 1 + 2 / SCORE_PER_FACTOR
    health.called(late_s=0.0, now=1.0 + 10 * RECOVERY_S)
    assert health.factor == 1
