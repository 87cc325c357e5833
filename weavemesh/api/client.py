"""The command line's side of the local API: blocking, one connection a request, no event loop to start.

Counterpart: `weavemesh.api.server`.
"""

import os
import socket
from pathlib import Path
from typing import TypeVar

import msgspec

from weavemesh.api.message import (
    ANSWER_BYTES_MAX,
    Changed,
    ConnectRequest,
    FailureAnswer,
    ForgetRequest,
    Readiness,
    StopRequest,
)
from weavemesh.api.pod import Exposed, ExposeRequest, HideRequest
from weavemesh.api.ring import (
    RING_ANSWER_S,
    AllocateRequest,
    ClaimRequest,
    ClearRequest,
    Holder,
    LeaveRequest,
    LookupRequest,
    ReleaseRequest,
    RemoveRequest,
)
from weavemesh.error import UserError
from weavemesh.status import StatusReport

TIMEOUT_S = 10.0
"""For each answer of an agent that is not asked to wait."""

NOT_RUNNING_STATUS = 3
"""Exit status of a command that needs an agent where none runs (LSB, "status" action: not running)."""

ROTATION_S = 15.0
"""For a new key: the agent itself gives up after 10 s."""

_RECEIVE_BYTES = 65536

AnswerT = TypeVar("AnswerT")


class AgentNotRunning(UserError):
    """Nobody listens on the socket."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"no weavemesh agent runs here (nobody listens on {path})",
            remedy="start one with `weavemesh up`",
            exit_status=NOT_RUNNING_STATUS,
        )


class ApiClient:
    """Asks the agent behind a socket. Every method raises AgentNotRunning, or UserError with the agent's own words."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def status(self) -> StatusReport:
        """The agent's state."""
        return self._ask("GET", "/v1/status", None, StatusReport)

    def report(self) -> dict[str, object]:
        """Everything for a bug report."""
        return self._ask("GET", "/v1/report", None, dict[str, object])

    def ready(self, *, known: int, wait_s: float) -> Readiness:
        """How far the start is; waits up to `wait_s` for news."""
        target = f"/v1/ready?known={known}&wait_s={wait_s:.3f}"
        return self._ask("GET", target, None, Readiness, timeout_s=wait_s + TIMEOUT_S)

    def connect(self, request: ConnectRequest) -> Changed:
        """Give the agent targets."""
        return self._ask("POST", "/v1/connect", request, Changed)

    def forget(self, request: ForgetRequest) -> Changed:
        """Take targets away."""
        return self._ask("POST", "/v1/forget", request, Changed)

    def reload_secrets(self) -> Changed:
        """Have the agent read the files of the secrets again."""
        return self._ask("POST", "/v1/secrets", None, Changed)

    def rotate_key(self) -> Changed:
        """Give this peer a new WireGuard key."""
        return self._ask("POST", "/v1/rotate-key", None, Changed, timeout_s=ROTATION_S)

    def stop(self, request: StopRequest) -> Changed:
        """End the agent."""
        return self._ask("POST", "/v1/stop", request, Changed)

    def expose(self, request: ExposeRequest) -> Exposed:
        """Give the host an address in the mesh."""
        return self._ask("POST", "/v1/expose", request, Exposed, timeout_s=RING_ANSWER_S)

    def hide(self) -> Changed:
        """Take it back."""
        return self._ask("POST", "/v1/hide", HideRequest(), Changed, timeout_s=RING_ANSWER_S)

    def remove(self, request: RemoveRequest) -> Changed:
        """Remove a peer that is gone for ever."""
        return self._ask("POST", "/v1/ring/remove", request, Changed, timeout_s=RING_ANSWER_S)

    def leave(self) -> Changed:
        """Hand this peer's addresses to others."""
        return self._ask("POST", "/v1/ring/leave", LeaveRequest(), Changed, timeout_s=RING_ANSWER_S)

    def lookup(self, request: LookupRequest) -> Holder:
        """Who has an address."""
        return self._ask("POST", "/v1/ring/lookup", request, Holder)

    def allocate(self, request: AllocateRequest) -> Holder:
        """Any address."""
        return self._ask("POST", "/v1/ring/allocate", request, Holder, timeout_s=RING_ANSWER_S)

    def claim(self, request: ClaimRequest) -> Holder:
        """This very address."""
        return self._ask("POST", "/v1/ring/claim", request, Holder, timeout_s=RING_ANSWER_S)

    def release(self, request: ReleaseRequest) -> Changed:
        """Give an address back."""
        return self._ask("POST", "/v1/ring/release", request, Changed, timeout_s=RING_ANSWER_S)

    def clear(self, request: ClearRequest) -> Changed:
        """Hand out again what was isolated."""
        return self._ask("POST", "/v1/ring/clear", request, Changed, timeout_s=RING_ANSWER_S)

    def _ask(
        self,
        method: str,
        target: str,
        request: msgspec.Struct | None,
        answer: type[AnswerT],
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> AnswerT:
        body = b"" if request is None else msgspec.json.encode(request)
        status, content = self._exchange(method, target, body, timeout_s)
        try:
            if status == 200:
                return msgspec.json.decode(content, type=answer)
            failure = msgspec.json.decode(content, type=FailureAnswer).error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UserError(
                f"the agent's answer cannot be understood: {error}",
                remedy="it may be of another release: restart it with `weavemesh stop` and `weavemesh up`",
            ) from error
        raise UserError(failure.sentence, remedy=failure.remedy)

    def _exchange(self, method: str, target: str, body: bytes, timeout_s: float) -> tuple[int, bytes]:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(timeout_s)
                connection.connect(os.fspath(self._path))
                return _talk(connection, method, target, body)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
            raise AgentNotRunning(self._path) from error
        except PermissionError as error:
            raise UserError(f"no permission to talk to the agent on {self._path}", remedy="run this as root") from error
        except TimeoutError as error:
            raise UserError(
                f"the agent does not answer within {timeout_s:.0f} s",
                remedy="look into its log; `weavemesh stop` ends it and leaves the tunnels running",
            ) from error
        except OSError as error:
            raise UserError(
                f"the agent broke off the conversation ({error})", remedy="see whether it still runs: weavemesh status"
            ) from error


def _talk(connection: socket.socket, method: str, target: str, body: bytes) -> tuple[int, bytes]:
    """Status and content of the answer; OSError if the agent breaks off or speaks no HTTP."""
    import h11  # not with the module: the agent imports this too, and asks nobody

    http = h11.Connection(h11.CLIENT)
    headers = [("Host", "weavemesh"), ("Content-Length", str(len(body))), ("Content-Type", "application/json")]
    head = http.send(h11.Request(method=method, target=target, headers=headers)) or b""
    http.send(h11.Data(data=body))
    http.send(h11.EndOfMessage())
    connection.sendall(head + body)
    status, content = 0, bytearray()
    while True:
        try:
            event = http.next_event()
        except h11.RemoteProtocolError as error:
            raise ConnectionError(str(error)) from error
        match event:
            case h11.NEED_DATA:
                http.receive_data(connection.recv(_RECEIVE_BYTES))
            case h11.Response(status_code=status):
                pass
            case h11.Data(data=data):
                content += data
                if len(content) > ANSWER_BYTES_MAX:
                    raise ConnectionError(f"its answer is larger than {ANSWER_BYTES_MAX} bytes")
            case h11.EndOfMessage():
                return status, bytes(content)
            case _:
                raise ConnectionResetError("it closed the connection")
