import dataclasses
from typing import get_args

import pytest

from gossip.event import ForgetTargets, Input, Output


@pytest.mark.parametrize("kind", [*get_args(Input), *get_args(Output)], ids=lambda kind: kind.__name__)
def test_inputs_and_outputs_are_frozen_and_slotted(kind: type) -> None:
    assert dataclasses.is_dataclass(kind)
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]  # what the dataclass decorator leaves
    assert not hasattr(kind(*([None] * len(dataclasses.fields(kind)))), "__dict__")


def test_equal_inputs_are_equal() -> None:
    assert ForgetTargets(()) == ForgetTargets(())
