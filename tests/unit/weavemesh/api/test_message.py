"""What goes over the local API."""

import msgspec
import pytest

from weavemesh.api.message import BODY_BYTES_MAX, Changed, ConnectRequest, Failure, FailureAnswer, Readiness
from weavemesh.config import TARGETS_MAX


@pytest.mark.parametrize(
    "message",
    [
        ConnectRequest(targets=("a:1",), replace=True),
        Changed(sentences=("one",)),
        Readiness(ready=False, steps=("a", "b"), known=7),
        FailureAnswer(error=Failure(sentence="no", remedy="yes")),
    ],
)
def test_messages_survive_the_wire(message: msgspec.Struct) -> None:
    assert msgspec.json.decode(msgspec.json.encode(message), type=type(message)) == message


def test_as_many_targets_as_may_be_given_fit_into_a_request() -> None:
    longest = f"{'.'.join(['x' * 62] * 4)}:65535"
    assert len(msgspec.json.encode(ConnectRequest(targets=(longest,) * TARGETS_MAX))) < BODY_BYTES_MAX
