"""What every command shares: where the folders are, and how answers are printed."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

DEFAULT_RUN_DIR = "/run/weavemesh"
DEFAULT_STATE_DIR = "/var/lib/weavemesh"


def run_dir(arguments: argparse.Namespace) -> Path:
    """The run folder: --run-dir, WEAVEMESH_RUN_DIR, or the default; absolute."""
    return _folder(arguments.run_dir, "WEAVEMESH_RUN_DIR", DEFAULT_RUN_DIR)


def state_dir(arguments: argparse.Namespace) -> Path:
    """The state folder: --state-dir, WEAVEMESH_STATE_DIR, or the default; absolute."""
    return _folder(arguments.state_dir, "WEAVEMESH_STATE_DIR", DEFAULT_STATE_DIR)


def _folder(flag: str | None, variable: str, default: str) -> Path:
    return Path(os.path.abspath(flag or os.environ.get(variable) or default))


def print_json(value: object) -> None:
    """The value as indented JSON on standard output."""
    sys.stdout.write(json_text(value))


def json_text(value: object) -> str:
    """The value as indented JSON with a line end."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def print_sentences(sentences: Sequence[str], *, as_json: bool) -> None:
    """What a command did: a line each, or `{"sentences": […]}`."""
    if as_json:
        print_json({"sentences": list(sentences)})
        return
    for sentence in sentences:
        print(sentence, flush=True)


def remark(sentence: str) -> None:
    """A line for the person who waits, not for the program that reads: to standard error."""
    print(sentence, file=sys.stderr, flush=True)
