from typing import get_args

import msgspec
import pytest

from gossip.event import ForgetTargets, Input, Output


@pytest.mark.parametrize("kind", [*get_args(Input), *get_args(Output)], ids=lambda kind: kind.__name__)
def test_inputs_and_outputs_are_frozen(kind: type) -> None:
    assert issubclass(kind, msgspec.Struct)
    assert kind.__struct_config__.frozen


def test_equal_inputs_are_equal() -> None:
    assert ForgetTargets(()) == ForgetTargets(())
