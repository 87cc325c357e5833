"""Logs: one line per state change, `key=value` fields, an event name from the list below.

Never in a log: keys, secrets, bytes of any kind. What the agent does between changes of state belongs in metrics.
"""

import logging
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Final

from weavemesh.error import UserError

LEVELS: Final = ("debug", "info", "warning", "error")
VALUE_CHARACTERS_MAX: Final = 2000
"""A value from outside must not fill the disk with one line."""

logger: Final = logging.getLogger("weavemesh")


class Event(StrEnum):
    """What may be logged. Added to freely; never renamed, since people search for these words."""

    AGENT_STARTED = "agent-started"
    AGENT_STOPPED = "agent-stopped"
    AGENT_READY = "agent-ready"
    AGENT_FAILED = "agent-failed"
    AGENT_REMOVED = "agent-removed"
    STATE_WRITTEN = "state-written"
    STATE_WRITE_FAILED = "state-write-failed"
    LISTENING = "listening"
    DIAL_FAILED = "dial-failed"
    LINK_OPENED = "link-opened"
    LINK_CLOSED = "link-closed"
    LINK_REFUSED = "link-refused"
    PEER_FOUND = "peer-found"
    PEER_REACHABLE = "peer-reachable"
    PEER_UNREACHABLE = "peer-unreachable"
    PEER_CHANGED = "peer-changed"
    PEER_INVALID = "peer-invalid"
    PEER_REMOVED = "peer-removed"
    TARGET_ADDED = "target-added"
    TARGET_FORGOTTEN = "target-forgotten"
    RING_FOUNDED = "ring-founded"
    RING_JOINED = "ring-joined"
    RING_FINDING = "ring-finding"
    RANGE_CHANGED = "range-changed"
    ADDRESS_ALLOCATED = "address-allocated"
    ADDRESS_RELEASED = "address-released"
    ADDRESS_REFUSED = "address-refused"
    CONTAINER_ATTACHED = "container-attached"
    CONTAINER_DETACHED = "container-detached"
    CONTAINER_FAILED = "container-failed"
    KEY_ROTATED = "key-rotated"
    KEY_NOT_ROTATED = "key-not-rotated"
    KERNEL_CHANGED = "kernel-changed"
    KERNEL_FAILED = "kernel-failed"
    DATAPATH_CHOSEN = "datapath-chosen"
    PATH_CHANGED = "path-changed"
    API_FAILED = "api-failed"
    NODE_PUBLISHED = "node-published"
    NODE_GONE = "node-gone"
    CLUSTER_FAILED = "cluster-failed"


def log(level: int, event: Event, **fields: object) -> None:
    """One event; `level` as in `logging`. Fields whose value is None are left out."""
    if logger.isEnabledFor(level):
        # Not by logger.log, which looks through the stack for the caller's line, and nobody is shown it.
        record = logging.LogRecord(logger.name, level, "", 0, event, None, None)
        record.fields = {name: value for name, value in fields.items() if value is not None}
        logger.handle(record)


def configure(*, level: str = "info", file: Path | None = None) -> None:
    """Send the log to stderr, or to a file (opened anew when it is rotated away). Again: replaces what was set up.

    UserError for an unknown level (exit status 2) or a file that cannot be opened.
    """
    if level.lower() not in LEVELS:
        raise UserError(f"unknown log level {level!r}", remedy=f"use one of {', '.join(LEVELS)}", exit_status=2)
    try:
        handler = logging.StreamHandler(sys.stderr) if file is None else _file_handler(file)
    except OSError as error:
        raise UserError(
            f"cannot write the log to {file}: {error.strerror or error}", remedy="name another with --log-file"
        ) from error
    handler.setFormatter(LineFormatter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)  # for libraries
    logger.setLevel(level.upper())


def _file_handler(file: Path) -> logging.Handler:
    from logging.handlers import WatchedFileHandler  # it brings 10 modules along, and few write to a file

    return WatchedFileHandler(file, encoding="utf-8")


class LineFormatter(logging.Formatter):
    """`time=… level=… event=… key=value …` on one line, whatever the values are."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields: dict[str, object] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
        }
        if record.name == logger.name:
            fields["event"] = record.getMessage()
        else:
            fields |= {"logger": record.name, "message": record.getMessage()}
        fields |= getattr(record, "fields", {})
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return " ".join(f"{name}={_render(value)}" for name, value in fields.items())


def _render(value: object) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"  # may be a key
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    if len(text) > VALUE_CHARACTERS_MAX:
        text = text[:VALUE_CHARACTERS_MAX] + "…"
    if text and text.isprintable() and not set(text) & set(' "=\\'):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in escaped) + '"'
