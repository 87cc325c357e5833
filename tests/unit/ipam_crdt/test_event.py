from ipaddress import IPv4Address
from typing import get_args

import msgspec
import pytest

from ipam_crdt import Allocated, Input, Output


@pytest.mark.parametrize("event", [*get_args(Input), *get_args(Output)], ids=lambda event: event.__name__)
def test_inputs_and_outputs_are_frozen(event: type) -> None:
    assert issubclass(event, msgspec.Struct)
    assert event.__struct_config__.frozen


def test_an_output_cannot_be_changed() -> None:
    output = Allocated("pod", IPv4Address("10.0.0.1"))
    with pytest.raises(AttributeError):
        output.ident = "other"  # type: ignore[misc]  # that it is not allowed is what is tested
