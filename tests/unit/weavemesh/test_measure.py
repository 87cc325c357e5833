"""Figures and words as people read them."""

import doctest

import pytest

from weavemesh import measure


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(measure).failed == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3.0, "0 s"),
        (0.9, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3600, "1 h"),
        (86399, "23 h 59 min"),
        (1e7, "115 d 17 h"),
    ],
)
def test_a_duration_has_at_most_two_units(seconds: float, text: str) -> None:
    assert measure.duration(seconds) == text


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1023 * 1024, "1.0 MiB"),
        (150 * 1024, "150 KiB"),
        (2**50, "1024 TiB"),
    ],
)
def test_a_size_has_a_fitting_unit(octets: int, text: str) -> None:
    assert measure.size(octets) == text


@pytest.mark.parametrize("text", ["\x07", "\x9b31m", "\u202edlrow", "\u2028", "\ud800"])
def test_nothing_that_a_terminal_obeys_is_printable(text: str) -> None:
    assert measure.printable(text).isascii()
    assert measure.printable(text).isprintable()


def test_letters_of_all_languages_stay() -> None:
    assert measure.printable("Köln-東京") == "Köln-東京"
