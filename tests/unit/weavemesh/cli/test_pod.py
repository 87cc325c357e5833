"""`weavemesh attach` finds what it is given, and says in one sentence what it cannot find; the rest is in tests/e2e."""

import os
from pathlib import Path

import pytest

from weavemesh.cli import pod
from weavemesh.cli.main import main


def engine(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr(pod, "ENGINES", {"docker": pod.ENGINES["docker"], "nerdctl": pod.ENGINES["nerdctl"]})
    return tmp_path


def attach(tmp_path: Path, word: str) -> int:
    return main(["attach", word, "--run-dir", str(tmp_path)])


def test_a_container_is_found_through_the_engine_that_knows_it(programs: Path) -> None:
    engine(programs, "docker", "echo no such container >&2; exit 1")
    engine(programs, "nerdctl", f'[ "$4" = web ] && echo {os.getpid()}')
    assert attach(programs, "web") == 3, "it was found, and there is no agent"


@pytest.mark.parametrize("script", ["exit 1", "echo 0", "echo '<nil>'", "echo 1; echo 2"])
def test_a_container_that_nobody_knows_is_told(programs: Path, script: str, capsys: pytest.CaptureFixture[str]) -> None:
    engine(programs, "docker", script)
    assert attach(programs, "web") == 1
    assert "docker" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["4194304", "/proc/self/nothing", "no-such-thing"])
def test_what_is_not_there_is_one_sentence(programs: Path, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert attach(programs, word) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_process_is_found_and_without_an_agent_told_so(programs: Path) -> None:
    for word in (str(os.getpid()), "/proc/self/ns/net"):
        assert attach(programs, word) == 3
    for command in (["expose"], ["hide"], ["ps"]):
        assert main([*command, "--run-dir", str(programs)]) == 3
