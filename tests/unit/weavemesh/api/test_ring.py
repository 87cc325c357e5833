"""What goes over the local API about the ring, and that each question finds its answer."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.unit.weavemesh.sample import SampleAgent
from tests.unit.weavemesh.sample_ring import holder
from weavemesh.api.client import ApiClient
from weavemesh.api.message import SOCKET_NAME, Changed
from weavemesh.api.ring import (
    RING_ANSWER_S,
    AllocateRequest,
    ClaimRequest,
    ClearRequest,
    LookupRequest,
    ReleaseRequest,
    RemoveRequest,
)
from weavemesh.api.server import ANSWER_S, ApiServer
from weavemesh.error import UserError
from weavemesh.ring_operation import ALLOCATION_DEADLINE_S


def asked(tmp_path: Path, question: Callable[[ApiClient], object]) -> object:
    """What a client hears from an agent that is served meanwhile."""
    path = tmp_path / SOCKET_NAME

    async def run() -> object:
        listening = ApiServer.open(path)
        try:
            async with asyncio.TaskGroup() as group:
                serving = group.create_task(listening.serve(SampleAgent()))
                answer = await asyncio.to_thread(question, ApiClient(path))
                serving.cancel()
        finally:
            listening.close()
        return answer

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (lambda agent: agent.remove(RemoveRequest(peer="n3")), Changed(sentences=("n3 is removed",))),
        (lambda agent: agent.leave(), Changed(sentences=("this peer has left the mesh",))),
        (lambda agent: agent.lookup(LookupRequest(subject="10.32.0.9")), holder("10.32.0.9", None)),
        (lambda agent: agent.allocate(AllocateRequest(ident="web")), holder("10.32.0.1", "web")),
        (lambda agent: agent.claim(ClaimRequest(ident="web", address="10.32.0.7")), holder("10.32.0.7", "web")),
        (lambda agent: agent.release(ReleaseRequest(ident="web")), Changed(sentences=("nothing is free again",))),
        (
            lambda agent: agent.clear(ClearRequest(range="10.32.0.0/24")),
            Changed(sentences=("10.32.0.0/24 is handed out again",)),
        ),
    ],
)
def test_every_question_is_answered(tmp_path: Path, question: Callable[[ApiClient], object], answer: object) -> None:
    assert asked(tmp_path, question) == answer


def test_a_refusal_arrives_in_the_agents_words(tmp_path: Path) -> None:
    def question(agent: ApiClient) -> str:
        with pytest.raises(UserError) as caught:
            agent.remove(RemoveRequest(peer="busy"))
        return str(caught.value)

    assert asked(tmp_path, question) == "busy is up; stop it first"


def test_an_address_that_must_be_asked_for_is_waited_for() -> None:
    assert ALLOCATION_DEADLINE_S < RING_ANSWER_S < ANSWER_S


@pytest.mark.parametrize("message", [holder("10.32.0.1", None), RemoveRequest(peer="n3", force=True)])
def test_messages_survive_the_wire(message: msgspec.Struct) -> None:
    assert msgspec.json.decode(msgspec.json.encode(message), type=type(message)) == message
