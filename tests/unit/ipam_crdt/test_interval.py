from hypothesis import given
from hypothesis import strategies as st

from ipam_crdt.interval import IntervalSet

CHANGES = st.lists(st.tuples(st.booleans(), st.integers(0, 30), st.integers(1, 8)), max_size=20)


def applied(changes: list[tuple[bool, int, int]]) -> tuple[IntervalSet, set[int]]:
    intervals = IntervalSet()
    model: set[int] = set()
    for is_added, start, size in changes:
        if is_added:
            intervals.add(start, start + size)
            model |= set(range(start, start + size))
        else:
            intervals.discard(start, start + size)
            model -= set(range(start, start + size))
        assert not intervals.check()
    return intervals, model


@given(CHANGES)
def test_it_holds_what_a_set_holds(changes: list[tuple[bool, int, int]]) -> None:
    intervals, model = applied(changes)
    assert {number for start, end in intervals for number in range(start, end)} == model
    assert [number for number in range(40) if number in intervals] == sorted(model)
    assert intervals.total == len(model)


@given(CHANGES, CHANGES)
def test_minus_is_the_difference(ours: list[tuple[bool, int, int]], theirs: list[tuple[bool, int, int]]) -> None:
    one, one_model = applied(ours)
    other, other_model = applied(theirs)
    rest = {number for start, end in one.minus(other) for number in range(start, end)}
    assert rest == one_model - other_model


@given(CHANGES)
def test_the_lowest_from_anywhere_is_the_lowest_that_is_not_below(changes: list[tuple[bool, int, int]]) -> None:
    intervals, model = applied(changes)
    for number in range(40):
        assert intervals.lowest_from(number) == min((one for one in model if one >= number), default=None)


def test_check_names_what_is_wrong() -> None:
    intervals = IntervalSet([(1, 3)])
    intervals.total = 5
    assert intervals.check() == ["the total is not the sum of the intervals"]
