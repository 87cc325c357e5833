"""The laws of the purse."""

from weavemesh.overlay.purse import KNOCKS_MAX, KNOCKS_PER_SECOND, Purse


def test_it_is_full_at_first_and_fills_slowly() -> None:
    purse = Purse()
    assert sum(purse.take(0.0, count=1) for _ in range(1000)) == KNOCKS_MAX
    assert not purse.take(0.0, count=1)
    assert sum(purse.take(3.0, count=1) for _ in range(1000)) == 3 * KNOCKS_PER_SECOND


def test_it_never_holds_more_than_at_first() -> None:
    purse = Purse()
    assert purse.take(0.0, count=1)
    assert sum(purse.take(1e6, count=1) for _ in range(1000)) == KNOCKS_MAX


def test_what_is_owed_is_filled_up_first() -> None:
    purse = Purse(most=10, per_second=2)
    purse.spend(0.0, count=14)
    assert purse.holds_at(0.0, count=6) == 5.0
    assert not purse.take(4.9, count=6)
    assert purse.holds_at(5.0, count=6) == 5.0
    assert purse.take(5.0, count=6)
    purse.spend(5.0, count=1000)
    assert purse.holds_at(5.0, count=0) == 10.0, "no more is owed than it holds at most"


def test_a_round_is_paid_whole_or_not_at_all() -> None:
    purse = Purse()
    assert not purse.take(0.0, count=int(KNOCKS_MAX) + 1)
    assert purse.take(0.0, count=int(KNOCKS_MAX))
