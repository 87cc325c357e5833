import msgspec
import pytest

from gossip.unicast import WINDOW_BITS, ReplayWindow, is_authentic_unicast, write_unicast
from gossip.wire import HOPS_MAX
from tests.unit.gossip.fake_signer import fake_verify
from tests.unit.gossip.transcript import NAMES, SIGNERS

UNICAST = write_unicast(SIGNERS["ann"], "words", NAMES["bob"], b"hello", epoch=2, sequence=3)


def test_a_unicast_is_authentic_whatever_way_it_came() -> None:
    assert UNICAST.hops == HOPS_MAX
    assert is_authentic_unicast(msgspec.structs.replace(UNICAST, hops=1), fake_verify)


@pytest.mark.parametrize(
    "change",
    [
        {"channel": "other"},
        {"source": NAMES["cat"]},
        {"destination": NAMES["cat"]},
        {"epoch": 3},
        {"sequence": 4},
        {"payload": b"bye"},
        {"public_key": SIGNERS["cat"].public_key},
        {"signature": b""},
    ],
)
def test_a_unicast_changed_in_any_other_field_is_not(change: dict[str, object]) -> None:
    assert not is_authentic_unicast(msgspec.structs.replace(UNICAST, **change), fake_verify)


def test_each_number_is_taken_once_in_whatever_order() -> None:
    window = ReplayWindow()
    numbers = [5, 1, 9, 9, 3, 5, 1, 10, 3]
    assert [window.take(1, number) for number in numbers] == [True, True, True, False, True, False, False, True, False]


def test_what_is_too_old_to_tell_is_not_taken() -> None:
    window = ReplayWindow()
    assert window.take(1, 1000)
    assert not window.take(1, 1000 - WINDOW_BITS)
    assert window.take(1, 1000 - WINDOW_BITS + 1)
    assert window.take(1, 5000)
    assert not window.take(1, 1000 - WINDOW_BITS + 2)


def test_a_new_life_counts_anew_and_the_old_one_is_over() -> None:
    window = ReplayWindow()
    assert window.take(1, 1000)
    assert window.take(2, 1)
    assert not window.take(2, 1)
    assert not window.take(1, 1001)
