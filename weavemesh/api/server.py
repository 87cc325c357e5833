"""The agent's side of the local API: one request a connection, parsed by h11, answered by an `AgentApi`.

No protocol of the mesh is here: the daemon implements `AgentApi`. Counterpart: `weavemesh.api.client`, or
`curl --unix-socket`.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol, Self, TypeVar
from urllib.parse import parse_qs, urlsplit

import msgspec

from weavemesh.api.message import (
    BODY_BYTES_MAX,
    WAIT_S_MAX,
    Changed,
    ConnectRequest,
    Failure,
    FailureAnswer,
    ForgetRequest,
    Readiness,
    StopRequest,
)
from weavemesh.api.pod import ExposeRequest, HideRequest, PodApi
from weavemesh.api.ring import (
    AllocateRequest,
    ClaimRequest,
    ClearRequest,
    LeaveRequest,
    LookupRequest,
    ReleaseRequest,
    RemoveRequest,
    RingApi,
)
from weavemesh.error import UserError
from weavemesh.localsocket import LocalSocket
from weavemesh.status import StatusReport

HEAD_BYTES_MAX = 16 * 1024
"""Request line and headers; curl sends about 100 octets."""

CONNECTIONS_MAX = 32
"""At once; more than a person, a monitor and a few waiting `up` need. Each costs a few KiB."""

RECEIVE_S = 5.0
"""For the whole request: local callers write it at once."""

ANSWER_S = WAIT_S_MAX + 10.0
"""For the agent to answer; a long-poll may take WAIT_S_MAX of it."""

SEND_S = 10.0
"""For the caller to take the answer."""

_RECEIVE_BYTES = 65536

_log = logging.getLogger("weavemesh.api")

RequestT = TypeVar("RequestT", bound=msgspec.Struct)

Handlers = dict[str, tuple[str, Callable[[], Awaitable[object]]]]
"""Path → method, and what to do."""


class AgentApi(Protocol):
    """What the daemon can be asked; each method may raise UserError, which the caller is told."""

    @property
    def ring(self) -> RingApi:
        """What can be asked of the address ring."""

    @property
    def pods(self) -> PodApi:
        """What can be asked about the exposed host."""

    async def status(self) -> StatusReport: ...

    async def report(self) -> dict[str, object]:
        """Everything for a bug report, JSON-like, without secrets."""

    async def ready(self, *, known: int, wait_s: float) -> Readiness: ...

    async def connect(self, request: ConnectRequest) -> Changed: ...

    async def forget(self, request: ForgetRequest) -> Changed: ...

    async def reload_secrets(self) -> Changed:
        """Go by what is in the files of the secrets now."""

    async def rotate(self) -> Changed:
        """Give this peer a new WireGuard key."""

    async def stop(self, request: StopRequest) -> None:
        """Begin to stop and return; called when the caller has its answer, so that nobody is cut off."""


class _Request(msgspec.Struct, frozen=True):
    """What is asked."""

    method: str
    target: str
    body: bytes


class _Refused(Exception):
    """A request that gets an error answer; never leaves this module."""

    def __init__(self, status: int, sentence: str, remedy: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.body = msgspec.json.encode(FailureAnswer(error=Failure(sentence=sentence, remedy=remedy)))


class ApiServer:
    """Listens on the socket from `open` to `close`; serves while `serve` runs."""

    def __init__(self, listener: LocalSocket) -> None:
        self._listener = listener
        self._open_connections = 0

    @classmethod
    def open(cls, path: Path) -> Self:
        """Listen at `path`; see LocalSocket.open for what can go wrong."""
        return cls(LocalSocket.open(path))

    async def serve(self, agent: AgentApi) -> None:
        """Answer requests until cancelled; those under way are cancelled too."""
        async with asyncio.TaskGroup() as connections:
            while True:
                connection = await self._listener.accept()
                connections.create_task(self._converse(connection, agent))

    def close(self) -> None:
        """Listen no longer and remove the socket; again does nothing."""
        self._listener.close()

    async def _converse(self, connection: socket.socket, agent: AgentApi) -> None:
        self._open_connections += 1
        try:
            with connection, suppress(OSError, TimeoutError):
                if self._open_connections > CONNECTIONS_MAX:
                    busy = _Refused(503, "the agent has too many callers at once", "try again in a moment")
                    await _send(connection, busy.status, busy.body)
                    return
                stops: list[StopRequest] = []
                status, body = await _exchange(connection, agent, stops)
                await _send(connection, status, body)
                for request in stops:
                    await agent.stop(request)
        finally:
            self._open_connections -= 1


async def _exchange(connection: socket.socket, agent: AgentApi, stops: list[StopRequest]) -> tuple[int, bytes]:
    """One request and what to answer; a request to stop is added to `stops`."""
    try:
        async with asyncio.timeout(RECEIVE_S):
            request = await _receive(connection)
        async with asyncio.timeout(ANSWER_S):
            return 200, await _answer(request, _handlers(agent, request, stops))
    except _Refused as refused:
        return refused.status, refused.body
    except TimeoutError:
        late = _Refused(504, "the request took too long", "try again; if it lasts, look into the agent's log")
        return late.status, late.body


async def _receive(connection: socket.socket) -> _Request:
    """One whole request. _Refused if it is no HTTP or too large; OSError if the caller went away."""
    import h11  # only when somebody asks: an agent that starts is in a hurry

    loop = asyncio.get_running_loop()
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)
    method = target = ""
    body = bytearray()
    while True:
        try:
            event = parser.next_event()
        except h11.RemoteProtocolError as error:
            raise _Refused(
                error.error_status_hint, f"this is no HTTP request: {error}", "see the documentation"
            ) from error
        match event:
            case h11.NEED_DATA:
                if parser.they_are_waiting_for_100_continue:
                    raise _Refused(417, "the API takes no Expect header", "send the body at once")
                parser.receive_data(await loop.sock_recv(connection, _RECEIVE_BYTES))
            case h11.Request():
                method, target = event.method.decode(), event.target.decode()
            case h11.Data():
                body += event.data
                if len(body) > BODY_BYTES_MAX:
                    raise _Refused(413, f"the request is larger than {BODY_BYTES_MAX} bytes", "ask for less at once")
            case h11.EndOfMessage() if method:
                return _Request(method, target, bytes(body))
            case _:  # ConnectionClosed: opened and closed without a word
                raise ConnectionResetError


async def _answer(request: _Request, handlers: Handlers) -> bytes:
    path = urlsplit(request.target).path
    if path not in handlers:
        raise _Refused(404, f"there is no {path} in this agent's API", f"it has {', '.join(sorted(handlers))}")
    wanted, handle = handlers[path]
    if request.method != wanted:
        raise _Refused(405, f"{path} is for {wanted}, not {request.method}", f"use {wanted}")
    try:
        return msgspec.json.encode(await handle())
    except UserError as error:
        raise _Refused(409, error.sentence, error.remedy) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _Refused(400, f"the body of {path} is not what it should be: {error}", "correct it") from error
    except _Refused:
        raise
    except Exception as error:  # the guard of a task: a bug in one answer must not end the agent
        _log.exception("api_answer_failed path=%s", path)
        raise _Refused(500, f"the agent failed to answer {path}", "look into its log and report this") from error


def _handlers(agent: AgentApi, request: _Request, stops: list[StopRequest]) -> Handlers:
    """What can be asked: path → method, and what to do. Bodies are decoded when the handler runs, so that a bad
    one is told from a bad path."""
    query, body = urlsplit(request.target).query, request.body

    async def ready() -> Readiness:
        return await agent.ready(known=int(_number(query, "known")), wait_s=_number(query, "wait_s"))

    async def connect() -> Changed:
        return await agent.connect(msgspec.json.decode(body, type=ConnectRequest))

    async def forget() -> Changed:
        return await agent.forget(msgspec.json.decode(body, type=ForgetRequest))

    def asking(ask: Callable[[RequestT], Awaitable[object]], type_: type[RequestT]) -> Callable[[], Awaitable[object]]:
        async def handle() -> object:
            return await ask(msgspec.json.decode(body, type=type_))

        return handle

    async def stop() -> Changed:
        stops.append(msgspec.json.decode(body or b"{}", type=StopRequest))
        return Changed(sentences=("the agent stops; the tunnels stay",))

    return {
        "/v1/status": ("GET", agent.status),
        "/v1/report": ("GET", agent.report),
        "/v1/ready": ("GET", ready),
        "/v1/connect": ("POST", connect),
        "/v1/forget": ("POST", forget),
        "/v1/secrets": ("POST", agent.reload_secrets),
        "/v1/rotate-key": ("POST", agent.rotate),
        "/v1/stop": ("POST", stop),
        "/v1/expose": ("POST", asking(agent.pods.expose, ExposeRequest)),
        "/v1/hide": ("POST", asking(agent.pods.hide, HideRequest)),
        "/v1/ring/remove": ("POST", asking(agent.ring.remove, RemoveRequest)),
        "/v1/ring/leave": ("POST", asking(agent.ring.leave, LeaveRequest)),
        "/v1/ring/lookup": ("POST", asking(agent.ring.lookup, LookupRequest)),
        "/v1/ring/allocate": ("POST", asking(agent.ring.allocate, AllocateRequest)),
        "/v1/ring/claim": ("POST", asking(agent.ring.claim, ClaimRequest)),
        "/v1/ring/release": ("POST", asking(agent.ring.release, ReleaseRequest)),
        "/v1/ring/clear": ("POST", asking(agent.ring.clear, ClearRequest)),
    }


def _number(query: str, name: str) -> float:
    text = parse_qs(query).get(name, ["0"])[-1]
    if not (text.isascii() and text.replace(".", "", 1).isdigit() and len(text) <= 12):
        raise _Refused(400, f"{name}={text!r} is no number", "give a decimal number")
    return float(text)


async def _send(connection: socket.socket, status: int, body: bytes) -> None:
    import h11  # see `_receive`

    writer = h11.Connection(h11.SERVER)
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
        ("Cache-Control", "no-store"),
    ]
    # A fresh h11 state may answer before it has seen a request (RFC 9110, §15.5.9: a server may answer early).
    head = writer.send(h11.Response(status_code=status, headers=headers)) or b""
    async with asyncio.timeout(SEND_S):
        await asyncio.get_running_loop().sock_sendall(connection, head + body)
