"""`weavemesh rotate-key` with a program that answers as an agent."""

from pathlib import Path

import pytest

from tests.unit.weavemesh import program
from weavemesh.cli.main import main


def test_the_agents_sentence_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with program.running(tmp_path):
        assert main(["rotate-key", "--run-dir", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out == "the key is another one\n"


def test_without_an_agent_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rotate-key", "--run-dir", str(tmp_path)]) == 3
    assert "no weavemesh agent runs here" in capsys.readouterr().err
