"""What goes over the local API besides `weavemesh.status`, and its limits."""

import msgspec

SOCKET_NAME = "agent.sock"
"""In the run folder."""

BODY_BYTES_MAX = 512 * 1024
"""Of a request: a thousand targets of 253 characters, and some."""

ANSWER_BYTES_MAX = 64 * 1024 * 1024
"""Of an answer: a report of a mesh of a thousand peers is about 2 MiB."""

WAIT_S_MAX = 30.0
"""Longest long-poll."""


class ConnectRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Dial these too, for ever; with `replace`, instead of all others that were given."""

    targets: tuple[str, ...]
    replace: bool = False


class ForgetRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Dial these no longer; links that stand are left alone."""

    targets: tuple[str, ...]


class StopRequest(msgspec.Struct, frozen=True, kw_only=True):
    """End the agent; the data path stays."""

    reason: str = ""


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """What a request changed, a sentence each; empty if all was so already."""

    sentences: tuple[str, ...] = ()


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """An error for people, as `UserError` has it."""

    sentence: str
    remedy: str


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """How far the agent's start is."""

    ready: bool
    steps: tuple[str, ...]
    """The sentences after the `known` ones of the question."""
    known: int
    """What to ask with next."""
    refusal: Failure | None = None
    """Why it will never be ready, or is so no longer."""


class FailureAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every answer that is no success."""

    error: Failure
