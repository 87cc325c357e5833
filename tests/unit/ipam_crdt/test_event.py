from dataclasses import FrozenInstanceError, fields, is_dataclass
from ipaddress import IPv4Address
from typing import get_args

import pytest

from ipam_crdt import Allocated, Input, Output


@pytest.mark.parametrize("event", [*get_args(Input), *get_args(Output)], ids=lambda event: event.__name__)
def test_inputs_and_outputs_are_frozen_and_slotted(event: type) -> None:
    assert is_dataclass(event)
    assert set(event.__slots__) == {item.name for item in fields(event)}  # type: ignore[attr-defined]  # slots=True


def test_an_output_cannot_be_changed() -> None:
    output = Allocated("pod", IPv4Address("10.0.0.1"))
    with pytest.raises(FrozenInstanceError):
        output.ident = "other"  # type: ignore[misc]  # that it is not allowed is what is tested
