"""Failures as one line, exit statuses, and what a fast start must not import."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.weavemesh.program import PROJECT
from weavemesh.cli.main import main

SLOW = ("asyncio", "cryptography", "pyroute2", "hashlib", "ssl", "subprocess", "tempfile", "logging")
"""Modules that `weavemesh status` has no use for; each costs milliseconds."""


def weavemesh(*words: str, check: bool = False) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-P", "-m", "weavemesh", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=check)


def test_a_failure_is_one_line_with_its_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--run-dir", str(tmp_path)]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f"weavemesh: no weavemesh agent runs here (nobody listens on {tmp_path}/agent.sock); "
        "start one with `weavemesh up`\n"
    )


def test_the_module_is_the_command(tmp_path: Path) -> None:
    done = weavemesh("status", "--run-dir", str(tmp_path))
    assert done.returncode == 3
    assert done.stderr.startswith("weavemesh: no weavemesh agent runs here")


def test_status_starts_without_what_it_does_not_need(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from weavemesh.cli.main import main\n"
        f"assert main(['status', '--run-dir', {str(tmp_path)!r}]) == 3\n"
        f"print([name for name in {SLOW!r} if name in sys.modules])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-P", "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_reader_that_has_enough_is_no_failure_to_talk_about() -> None:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    ours, theirs = os.pipe()
    os.close(ours)
    command = [sys.executable, "-P", "-m", "weavemesh", "version"]
    done = subprocess.run(command, env=environment, stdout=theirs, stderr=subprocess.PIPE, text=True, check=False)
    os.close(theirs)
    assert done.stderr == ""
    assert done.returncode == 1
