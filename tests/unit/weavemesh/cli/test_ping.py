"""`weavemesh ping`: its words, and what it says without an agent. With one: tests/e2e/test_nat.py."""

from pathlib import Path

import pytest

from weavemesh.cli.main import main
from weavemesh.cli.parser import parser


def test_its_words() -> None:
    arguments = parser().parse_args(["ping", "n2", "-c", "5", "-i", "0.1", "--mtu"])
    assert (arguments.peer, arguments.count, arguments.interval, arguments.mtu) == ("n2", 5, 0.1, True)


def test_without_an_agent_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ping", "n2", "--run-dir", str(tmp_path)]) != 0
    assert "weavemesh:" in capsys.readouterr().err
