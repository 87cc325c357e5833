"""The command line's side of the local API."""

import asyncio
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.weavemesh.sample import SampleAgent, sound_report
from weavemesh.api import client
from weavemesh.api.client import NOT_RUNNING_STATUS, AgentNotRunning, ApiClient
from weavemesh.api.message import SOCKET_NAME, Changed, ConnectRequest, ForgetRequest, Readiness, StopRequest
from weavemesh.api.server import ApiServer
from weavemesh.error import UserError


def asked(tmp_path: Path, question: Callable[[ApiClient], object]) -> object:
    """What a client hears from an agent that is served meanwhile."""
    path = tmp_path / SOCKET_NAME

    async def run() -> object:
        listening = ApiServer.open(path)
        agent = SampleAgent()
        agent.readiness.finish("ready")
        try:
            async with asyncio.TaskGroup() as group:
                serving = group.create_task(listening.serve(agent))
                answer = await asyncio.to_thread(question, ApiClient(path))
                serving.cancel()
        finally:
            listening.close()
        return answer

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (lambda agent: agent.status(), sound_report()),
        (lambda agent: agent.report()["status"]["ok"], True),
        (lambda agent: agent.ready(known=0, wait_s=1.0), Readiness(ready=True, steps=("ready",), known=1)),
        (lambda agent: agent.connect(ConnectRequest(targets=("a:1",))), Changed(sentences=("connecting to a:1",))),
        (lambda agent: agent.forget(ForgetRequest(targets=("a:1",))), Changed()),
        (lambda agent: agent.stop(StopRequest()).sentences[0], "the agent stops; the tunnels stay"),
    ],
)
def test_every_question_is_answered(tmp_path: Path, question: Callable[[ApiClient], object], answer: object) -> None:
    assert asked(tmp_path, question) == answer


def test_the_agents_own_words_arrive(tmp_path: Path) -> None:
    def question(agent: ApiClient) -> str:
        with pytest.raises(UserError) as caught:
            agent.connect(ConnectRequest(targets=("refused:6783",)))
        return str(caught.value)

    assert asked(tmp_path, question) == "refused:6783 is refused; name another"


def test_no_agent_is_its_own_exit_status(tmp_path: Path) -> None:
    path = tmp_path / SOCKET_NAME
    for _ in range(2):
        with pytest.raises(AgentNotRunning) as caught:
            ApiClient(path).status()
        assert caught.value.exit_status == NOT_RUNNING_STATUS
        with socket.socket(socket.AF_UNIX) as dead:  # the second time there is a socket that nobody listens on
            dead.bind(os.fspath(path)) if not path.exists() else None


def answering(path: Path, answer: bytes | None) -> threading.Thread:
    """Somebody who takes one caller and says this; nothing at all until the caller leaves if None."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.fspath(path))
    listener.listen()

    def serve() -> None:
        with listener, listener.accept()[0] as caller:
            caller.recv(65536)
            if answer is None:
                caller.recv(65536)
            else:
                caller.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"", "broke off"),
        (b"\x00\xff garbage\r\n\r\n", "broke off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "cannot be understood"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\noops", "cannot be understood"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}", "broke off"),
    ],
)
def test_an_answer_that_is_none_is_told(tmp_path: Path, answer: bytes, sentence: str) -> None:
    path = tmp_path / SOCKET_NAME
    thread = answering(path, answer)
    with pytest.raises(UserError, match=sentence):
        ApiClient(path).status()
    thread.join()


def test_a_hung_agent_is_told_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "TIMEOUT_S", 0.05)
    path = tmp_path / SOCKET_NAME
    thread = answering(path, None)
    with pytest.raises(UserError, match="does not answer") as caught:
        ApiClient(path).ready(known=0, wait_s=0.0)
    assert "weavemesh stop" in caught.value.remedy
    thread.join()
