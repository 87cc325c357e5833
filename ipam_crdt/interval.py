"""A set of integers as sorted, disjoint, half-open intervals: a /8 of free addresses costs two numbers.

Not a ring: it knows neither alignment nor owners.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import pairwise


class IntervalSet:
    """Integers in intervals that neither touch nor overlap. A change costs a bisection and a short move of memory."""

    __slots__ = ("_ends", "_starts", "total")

    def __init__(self, intervals: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self.total = 0
        for start, end in intervals:
            self.add(start, end)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The intervals as (start, end), in order."""
        return iter(zip(self._starts, self._ends, strict=True))

    def __contains__(self, number: int) -> bool:
        index = bisect_right(self._starts, number) - 1
        return index >= 0 and number < self._ends[index]

    def add(self, start: int, end: int) -> None:
        """All of [start, end) is in it afterwards; what was in it already stays."""
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end)
        if first < last:
            start = min(start, self._starts[first])
            end = max(end, self._ends[last - 1])
        self._replace(first, last, [(start, end)])

    def discard(self, start: int, end: int) -> None:
        """Nothing of [start, end) is in it afterwards; what was not in it does not matter."""
        first = bisect_right(self._ends, start)
        last = bisect_left(self._starts, end)
        if first >= last:
            return
        rest = [(self._starts[first], start), (end, self._ends[last - 1])]
        self._replace(first, last, [(low, high) for low, high in rest if low < high])

    def lowest_from(self, number: int) -> int | None:
        """The lowest number in it that is not below this one; None if there is none."""
        index = bisect_right(self._ends, number)
        return max(number, self._starts[index]) if index < len(self._starts) else None

    def minus(self, other: "IntervalSet") -> list[tuple[int, int]]:
        """The intervals of what is here and not there."""
        rest = IntervalSet(self)
        for start, end in other:
            rest.discard(start, end)
        return list(rest)

    def check(self) -> list[str]:
        """What is wrong with it, as sentences: nothing, or there is a bug in this file."""
        bounds = [bound for interval in self for bound in interval]
        violations = []
        if any(low >= high for low, high in pairwise(bounds)):
            violations.append("intervals touch, overlap or are out of order")
        if self.total != sum(end - start for start, end in self):
            violations.append("the total is not the sum of the intervals")
        return violations

    def _replace(self, first: int, last: int, intervals: list[tuple[int, int]]) -> None:
        before = sum(self._ends[first:last]) - sum(self._starts[first:last])
        self._starts[first:last] = [start for start, _ in intervals]
        self._ends[first:last] = [end for _, end in intervals]
        self.total += sum(end - start for start, end in intervals) - before
