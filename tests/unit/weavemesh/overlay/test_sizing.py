"""Sizes to try: between what passes and what does not, and in so few rounds that the answer comes soon."""

import doctest
from ipaddress import IPv4Address
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weavemesh.overlay import sizing as module
from weavemesh.overlay.sizing import FILL_OCTETS, MTU_LEAST, Round, Sizing, below, between


@given(st.integers(MTU_LEAST, 9000), st.integers(1, 4000), st.integers(1280, 9000))
def test_sizes_lie_between_and_fall(low: int, more: int, most: int) -> None:
    sizes = between(low, low + more, most=most)
    assert list(sizes) == sorted(set(sizes), reverse=True)
    assert all(low < size < low + more for size in sizes)
    assert all(size <= most or size % FILL_OCTETS == 0 for size in sizes)


@given(st.integers(MTU_LEAST // FILL_OCTETS, 9216 // FILL_OCTETS))
def test_every_size_is_found_in_a_few_rounds(steps: int) -> None:
    passes = steps * FILL_OCTETS
    low, high, rounds = MTU_LEAST, 9217, 0
    while sizes := between(low, high, most=9216):
        low = max([low, *(size for size in sizes if size <= passes)])
        high = min([high, *(size for size in sizes if size > passes)])
        rounds += 1
    assert (low, high - low) in ((passes, FILL_OCTETS), (9216, 1))
    assert rounds <= 6


def test_smaller_sizes_end_with_what_passes_everywhere() -> None:
    assert below(8921)[-1] == MTU_LEAST
    assert below(MTU_LEAST) == ()


def test_a_round_ends_soon_after_the_answer_to_what_was_sent_last() -> None:
    asked = Round(last=512, largest=1420, sizes=(1420, 1280, 512), began=0.0, ends_at=10.0)
    asked.note(1280, 1.0, rest_s=0.1, last_rest_s=0.03)
    assert (asked.passed, asked.ends_at) == (1280, 1.1)
    asked.note(512, 1.02, rest_s=0.1, last_rest_s=0.03)
    assert (asked.passed, asked.ends_at) == (1280, 1.05)
    asked.note(1420, 1.03, rest_s=0.1, last_rest_s=0.03)
    assert (asked.passed, asked.ends_at) == (1420, 1.03)


def test_what_did_not_come_back_is_counted_until_something_larger_did() -> None:
    sizing = Sizing(IPv4Address("10.32.0.1"), 1232)
    sizing.learn(1232, (1420, 1280))
    assert (sizing.too_large, sizing.tries) == (1280, 1)
    sizing.learn(1232, (1280,))
    assert (sizing.too_large, sizing.tries) == (1280, 2)
    sizing.learn(1232, (1264,))
    assert (sizing.too_large, sizing.tries) == (1264, 1)
    sizing.learn(1264, (1280,))
    assert (sizing.too_large, sizing.tries) == (1280, 1)
    sizing.learn(1280, ())
    assert (sizing.too_large, sizing.tries) == (None, 0)


@pytest.mark.parametrize(("rtt_s", "waits_s"), [(0.001, 0.12), (0.1, 0.3)])
def test_waits_are_as_long_as_round_trips_ask_for(rtt_s: float, waits_s: float) -> None:
    sizing = Sizing(IPv4Address("10.32.0.1"), 1232)
    assert sizing.wait_s(0.12, 3) == 0.12
    sizing.hear(rtt_s)
    assert sizing.wait_s(0.12, 3) == pytest.approx(waits_s)


def test_another_path_is_one_of_which_nothing_is_known() -> None:
    sizing = Sizing(IPv4Address("10.32.0.1"), 1232, is_proven=True, too_large=1248, tries=3, deaf=3, next_at=7.0)
    sizing.forget_path()
    assert (sizing.mtu, sizing.is_proven, sizing.too_large, sizing.deaf) == (1232, False, None, 0)
    assert sizing.is_idle and sizing.due_at() == inf


def test_examples() -> None:
    assert doctest.testmod(module).failed == 0
