"""The agent's side of the local API against callers of all kinds."""

import asyncio
import json
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.weavemesh.sample import SampleAgent
from weavemesh.api import server
from weavemesh.api.message import BODY_BYTES_MAX, SOCKET_NAME
from weavemesh.api.server import ApiServer
from weavemesh.error import UserError
from weavemesh.status import StatusReport


def served(path: Path, scenario: Callable[[SampleAgent], Awaitable[None]], agent: SampleAgent | None = None) -> None:
    """Run the scenario while an agent is served at the path."""

    async def run() -> None:
        asked = agent or SampleAgent()
        listening = ApiServer.open(path)
        try:
            async with asyncio.TaskGroup() as group:
                serving = group.create_task(listening.serve(asked))
                await scenario(asked)
                serving.cancel()
        finally:
            listening.close()

    asyncio.run(run())


async def ask(path: Path, raw: bytes) -> tuple[int, object]:
    """Send the bytes; the status and the JSON body of the answer, (0, None) if there was none."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(raw)
        writer.write_eof()
        answer = await reader.read()
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return (int(head.split()[1]), json.loads(body)) if head else (0, None)


def request(method: str, target: str, body: bytes = b"") -> bytes:
    head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def error_of(answer: object) -> dict[str, str]:
    assert isinstance(answer, dict)
    error = answer["error"]
    assert isinstance(error, dict)
    assert error["sentence"]
    assert error["remedy"]
    return error


def test_the_socket_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / SOCKET_NAME
    listening = ApiServer.open(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == [SOCKET_NAME]
    listening.close()
    listening.close()
    assert list(tmp_path.iterdir()) == []


def test_a_dead_agents_socket_is_replaced_and_a_live_ones_refused(tmp_path: Path) -> None:
    path = tmp_path / SOCKET_NAME
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.fspath(path))
    listening = ApiServer.open(path)
    with pytest.raises(UserError, match="already listens"):
        ApiServer.open(path)
    listening.close()


def test_closing_leaves_another_agents_socket_alone(tmp_path: Path) -> None:
    path = tmp_path / SOCKET_NAME
    first = ApiServer.open(path)
    path.rename(tmp_path / "old")
    second = ApiServer.open(path)
    first.close()
    assert path.exists()
    second.close()


def test_a_path_that_no_socket_can_have_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="too long") as caught:
        ApiServer.open(tmp_path / ("x" * 108) / SOCKET_NAME)
    assert "--run-dir" in caught.value.remedy
    with pytest.raises(UserError, match="cannot listen"):
        ApiServer.open(tmp_path / "missing" / SOCKET_NAME)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (request("GET", "/v1/status"), 200),
        (request("GET", "/v1/report"), 200),
        (request("GET", "/v1/ready"), 200),
        (request("POST", "/v1/connect", b'{"targets": ["a:1"]}'), 200),
        (request("POST", "/v1/stop"), 200),
        (request("GET", "/v1/nothing"), 404),
        (request("POST", "/v1/status"), 405),
        (request("GET", "/v1/stop"), 405),
        (request("GET", "/v1/ready?wait_s=long"), 400),
        (request("GET", "/v1/ready?known=1e9"), 400),
        (request("POST", "/v1/connect"), 400),
        (request("POST", "/v1/connect", b"\xff"), 400),
        (request("POST", "/v1/connect", b'{"targets": "a:1"}'), 400),
        (request("POST", "/v1/connect", b'{"targets": ["refused:6783"]}'), 409),
        (request("POST", "/v1/connect", b" " * (BODY_BYTES_MAX + 1)), 413),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * (2 * server.HEAD_BYTES_MAX), 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /v1/stop HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", 417),
        (b"", 0),
        (b"GET /v1/sta", 400),
    ],
)
def test_every_request_is_answered(tmp_path: Path, raw: bytes, status: int) -> None:
    async def scenario(_: SampleAgent) -> None:
        answered, body = await ask(tmp_path / SOCKET_NAME, raw)
        assert answered == status
        if status not in (0, 200):
            error_of(body)

    served(tmp_path / SOCKET_NAME, scenario)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(
    garbage=st.binary(max_size=200) | st.binary(max_size=50).map(lambda some: b"POST /v1/connect HTTP/1.1\r\n" + some)
)
def test_garbage_harms_nobody(tmp_path: Path, garbage: bytes) -> None:
    async def scenario(_: SampleAgent) -> None:
        answered, _body = await ask(tmp_path / SOCKET_NAME, garbage)
        assert answered in (0, 400, 404, 405, 417, 431, 501)
        assert (await ask(tmp_path / SOCKET_NAME, request("GET", "/v1/status")))[0] == 200

    served(tmp_path / SOCKET_NAME, scenario)


def test_who_asks_the_agent_to_stop_gets_an_answer_first(tmp_path: Path) -> None:
    async def scenario(agent: SampleAgent) -> None:
        status, body = await ask(tmp_path / SOCKET_NAME, request("POST", "/v1/stop", b'{"reason": "update"}'))
        assert status == 200
        assert body == {"sentences": ["the agent stops; the tunnels stay"]}
        await asyncio.wait_for(agent.stopped.wait(), 5.0)

    served(tmp_path / SOCKET_NAME, scenario)


def test_a_bug_in_one_answer_does_not_end_the_agent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(SampleAgent):
        async def status(self) -> StatusReport:
            raise KeyError("bug")

    async def scenario(_: SampleAgent) -> None:
        status, body = await ask(tmp_path / SOCKET_NAME, request("GET", "/v1/status"))
        assert status == 500
        assert "bug" not in error_of(body)["sentence"]
        assert (await ask(tmp_path / SOCKET_NAME, request("GET", "/v1/ready")))[0] == 200

    served(tmp_path / SOCKET_NAME, scenario, Broken())
    assert "KeyError" in caplog.text


def test_too_many_callers_are_told_and_the_next_is_served(tmp_path: Path) -> None:
    path = tmp_path / SOCKET_NAME

    async def scenario(agent: SampleAgent) -> None:
        waiting = [await asyncio.open_unix_connection(path) for _ in range(server.CONNECTIONS_MAX)]
        for _, writer in waiting:
            writer.write(request("GET", "/v1/ready?wait_s=30"))
        status, body = await ask(path, b"")
        assert status == 503
        error_of(body)
        agent.readiness.finish("ready")
        for reader, writer in waiting:
            assert b"200" in await reader.readline()
            await reader.read()
            writer.close()
        assert (await ask(path, request("GET", "/v1/ready")))[0] == 200

    served(path, scenario)


def test_a_caller_that_says_nothing_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "RECEIVE_S", 0.05)

    async def scenario(_: SampleAgent) -> None:
        reader, writer = await asyncio.open_unix_connection(tmp_path / SOCKET_NAME)
        assert b"504" in await reader.readline()
        writer.close()

    served(tmp_path / SOCKET_NAME, scenario)
