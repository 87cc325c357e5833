"""The listener for metrics against callers of all kinds: whoever reaches it can cost little."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

import pytest

from tests.unit.weavemesh.sample import ailing_report
from weavemesh.error import UserError
from weavemesh.metrics import server
from weavemesh.metrics.server import CONNECTIONS_MAX, HEAD_BYTES_MAX, MetricsServer
from weavemesh.overlay.state import Endpoint
from weavemesh.status import StatusReport

LOCAL = ip_address("127.0.0.1")
GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Asked:
    """An agent that counts how often it is asked."""

    def __init__(self) -> None:
        self.times = 0

    async def status(self) -> StatusReport:
        self.times += 1
        return ailing_report()


def served(scenario: Callable[[int, Asked], Awaitable[None]]) -> None:
    """Run the scenario with the port of a listener that serves."""

    async def run() -> None:
        agent, port = Asked(), free_port()
        with MetricsServer.open(Endpoint(LOCAL, port)) as listening:
            assert listening.port == port
            async with asyncio.TaskGroup() as group:
                serving = group.create_task(listening.serve(agent.status))
                await scenario(port, agent)
                serving.cancel()

    asyncio.run(run())


async def ask(port: int, raw: bytes) -> bytes:
    """The whole answer; empty if there was none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(raw)
        await writer.drain()
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def test_metrics_are_served_as_prometheus_expects_them() -> None:
    async def scenario(port: int, _: Asked) -> None:
        head, _blank, body = (await ask(port, GET)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"Content-Type: text/plain; version=" in head
        assert b"\nweave_max_ips 1.048576e+06\n" in body

    served(scenario)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
        (b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
        (b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", b"405"),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + b"x" * (HEAD_BYTES_MAX + 1), b"431"),
    ],
)
def test_all_else_is_refused_and_the_agent_is_not_asked(raw: bytes, code: bytes) -> None:
    async def scenario(port: int, agent: Asked) -> None:
        assert (await ask(port, raw)).split(b" ")[1] == code
        assert agent.times == 0

    served(scenario)


def test_a_flood_of_callers_asks_the_agent_once() -> None:
    async def scenario(port: int, agent: Asked) -> None:
        for _ in range(5):
            answers = await asyncio.gather(*(ask(port, GET) for _ in range(CONNECTIONS_MAX)))
            assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)
        assert agent.times == 1

    served(scenario)


def test_callers_that_say_nothing_keep_nobody_out_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "RECEIVE_S", 0.2)

    async def scenario(port: int, _: Asked) -> None:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS_MAX)]
        assert await ask(port, GET) == b""  # hung up on: there is no room
        for reader, writer in silent:
            assert await reader.read() == b""  # neither are they listened to for ever
            writer.close()
        assert (await ask(port, GET)).startswith(b"HTTP/1.1 200 ")

    served(scenario)


def test_a_caller_that_takes_no_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SEND_S", 0.2)

    async def scenario(port: int, agent: Asked) -> None:
        stuck = socket.socket()
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.connect(("127.0.0.1", port))
        stuck.sendall(GET)
        with stuck:
            answers = await asyncio.gather(*(ask(port, GET) for _ in range(3)))
        assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)
        assert agent.times == 1

    served(scenario)


def test_one_that_goes_away_amid_all_does_no_harm() -> None:
    async def scenario(port: int, _: Asked) -> None:
        for part in (b"", b"GET /met", GET):
            _reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(part)
            writer.close()
        assert (await ask(port, GET)).startswith(b"HTTP/1.1 200 ")

    served(scenario)


def test_a_port_that_is_taken_is_one_sentence() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = int(other.getsockname()[1])
        with pytest.raises(
            UserError, match=rf"metrics cannot be served at 127\.0\.0\.1:{port}: Address already in use"
        ):
            MetricsServer.open(Endpoint(LOCAL, port))


def test_an_address_that_is_not_ours_is_one_sentence() -> None:
    with pytest.raises(
        UserError, match=r"metrics cannot be served at 192\.0\.2\.1:6782: Cannot assign requested address"
    ):
        MetricsServer.open(Endpoint(ip_address("192.0.2.1"), 6782))


def test_without_an_address_nothing_is_served() -> None:
    async def run() -> None:
        with MetricsServer.open(None) as listening:
            assert listening.port is None
            serving = asyncio.ensure_future(listening.serve(Asked().status))  # noqa: TID251 - ended right below
            await asyncio.sleep(0)
            assert not serving.done()
            serving.cancel()

    asyncio.run(run())


def test_an_agent_without_metrics_does_not_load_the_libraries() -> None:
    code = "import sys, weavemesh.daemon; print(sorted({'prometheus_client', 'h11'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_missing_library_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "weavemesh.metrics.exposition", raising=False)
    monkeypatch.delattr("weavemesh.metrics.exposition", raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(UserError, match="needs the Python package prometheus-client, which is not installed"):
        MetricsServer.open(Endpoint(LOCAL, free_port()))
