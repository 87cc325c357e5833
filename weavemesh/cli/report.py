"""`weavemesh report`: everything that a bug report needs, as JSON, without secrets; also of an agent that is dead.

Nothing in it is secret by construction; and because one slip would be one too many, every secret of this host that
can be read is searched for in the text and blotted out.
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from weavemesh import __version__
from weavemesh.api import SOCKET_NAME, ApiClient
from weavemesh.api.client import AgentNotRunning
from weavemesh.cli.output import json_text, run_dir, state_dir
from weavemesh.error import UserError
from weavemesh.option import OPTIONS_FILE, environment_options, saved_options
from weavemesh.secret import DEFAULT_FILE, ENVIRONMENT

LOG_NAMES = ("agent.log", "agent.log.1")
LOG_LINES_MAX = 300
"""The end of the log is what a bug report is about."""

_LOG_BYTES_MAX = 256 * 1024
_SECRET_CHARACTERS_MIN = 8
"""Shorter words are not searched for: they would blot out ordinary text."""

_BLOT = "[blotted out]"


def report(arguments: argparse.Namespace) -> int:
    """Print the report; 3 if no agent runs, 1 if it did not answer."""
    run, state = run_dir(arguments), state_dir(arguments)
    status, agent, failure = 0, None, None
    try:
        agent = ApiClient(run / SOCKET_NAME).report()
    except UserError as error:
        status = error.exit_status if isinstance(error, AgentNotRunning) else 1
        failure = str(error)
    text = json_text(
        {
            "weavemesh": __version__,
            "generated_at": time.time(),
            "system": _system(),
            "options": _options(state),
            "agent": agent,
            "agent_failure": failure,
            "log": [line for name in reversed(LOG_NAMES) for line in _tail(run / name)][-LOG_LINES_MAX:],
        }
    )
    sys.stdout.write(blot_out(text, _secrets(state)))
    return status


def blot_out(text: str, secrets: Iterator[str]) -> str:
    """The text without the secrets, as they are and as JSON writes them."""
    for secret in secrets:
        if len(secret) >= _SECRET_CHARACTERS_MIN:
            for form in (secret, msgspec.json.encode(secret).decode()[1:-1]):
                text = text.replace(form, _BLOT)
    return text


def _secrets(state: Path) -> Iterator[str]:
    """The cluster secret and the private keys of this host, as far as they can be read."""
    saved = None
    with suppress(UserError):
        saved = saved_options(state)
    yield os.environ.get(ENVIRONMENT, "").strip()
    named = (environment_options(os.environ).secret_file, saved.secret_file if saved else None, str(DEFAULT_FILE))
    for name in filter(None, named):
        yield _content(Path(name)).strip()
    if state.is_dir():
        for path in sorted(state.glob("*.key")):
            yield from (line.split()[1] for line in _content(path).splitlines() if line.startswith("private "))


def _content(path: Path) -> str:
    try:
        with path.open(errors="replace") as file:
            return file.read(65536)
    except OSError:
        return ""


def _system() -> dict[str, object]:
    uname = os.uname()
    return {
        "kernel": f"{uname.sysname} {uname.release} {uname.machine}",
        "python": platform.python_version(),
        "system": _release(),
        "libraries": _libraries(),
        "user": os.geteuid(),
    }


def _release() -> str:
    with suppress(OSError):
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    return ""


def _libraries() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str] = {}
    for name in ("pyroute2", "cryptography", "asyncio-dgram", "msgspec", "h11", "tabulate"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _options(state: Path) -> object:
    try:
        return saved_options(state)
    except UserError as error:
        return {"unreadable": f"{OPTIONS_FILE}: {error.sentence}"}


def _tail(path: Path) -> list[str]:
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - _LOG_BYTES_MAX))
            return log.read().decode(errors="replace").splitlines()
    except OSError:
        return []
