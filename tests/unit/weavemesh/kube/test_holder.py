"""The holder becomes wireguard-go without our environment, or a process that only waits for its end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

_PROGRAM = "import sys; from weavemesh.kube import holder; {}"


def start(call: str, environment: dict[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM.format(call)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_it_becomes_the_program_in_the_foreground_and_hands_no_secret_on(tmp_path: Path) -> None:
    program = tmp_path / "wireguard-go"
    program.write_text('#!/bin/sh\necho "$0 $@"\nenv\n')
    program.chmod(0o755)
    process = start("holder.become_wireguard('wm0')", {"PATH": f"{tmp_path}:/usr/bin:/bin", "WEAVEMESH_SECRET": "x"})
    output, _ = process.communicate(timeout=20)
    assert output.splitlines()[0].endswith("--foreground wm0")
    assert "WEAVEMESH_SECRET" not in output


def test_a_missing_program_is_said(tmp_path: Path) -> None:
    process = start("holder.become_wireguard('wm0')", {"PATH": str(tmp_path)})
    _, errors = process.communicate(timeout=20)
    assert process.returncode != 0
    assert "wireguard-go is not in PATH" in errors


def test_the_idle_one_waits_until_it_is_told_to_end() -> None:
    process = start("holder.become_idle()", {"WEAVEMESH_SECRET": "x"})
    command = Path(f"/proc/{process.pid}/cmdline")
    deadline = time.monotonic() + 15
    while b"pthread_sigmask" not in command.read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.3)
    assert process.poll() is None
    assert b"WEAVEMESH_SECRET" not in Path(f"/proc/{process.pid}/environ").read_bytes()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == 0
