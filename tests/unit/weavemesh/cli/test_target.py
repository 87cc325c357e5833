"""`weavemesh connect` and `weavemesh forget` with a program that answers as an agent."""

from pathlib import Path

import pytest

from tests.unit.weavemesh import program
from weavemesh.cli.main import main


def test_hosts_come_and_go(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--run-dir", str(tmp_path / "run")]
    with program.running(tmp_path):
        assert main(["connect", "Host3", "host4:7", *where]) == 0
        assert capsys.readouterr().out == "connecting to host3:6783\nconnecting to host4:7\n"
        assert main(["connect", "host3", *where]) == 0
        assert capsys.readouterr().out == "already dialling host3:6783\n"
        assert main(["forget", "host3", *where]) == 0
        assert capsys.readouterr().out == "host3:6783 is forgotten\n"
        assert main(["forget", "host3", *where]) == 0
        assert capsys.readouterr().out == "host3:6783: not dialled anyway\n"
        assert main(["connect", "--replace", "host5", "--json", *where]) == 0
        assert capsys.readouterr().out == '{\n  "sentences": [\n    "connecting to host5:6783"\n  ]\n}\n'
        assert main(["connect", "refused", *where]) == 1
        assert capsys.readouterr().err == "weavemesh: refused:6783 is refused; name another\n"


def test_a_typo_is_told_before_anybody_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["connect", "host3:x", "--run-dir", str(tmp_path)]) == 2
    assert main(["forget", "host3", "--run-dir", str(tmp_path)]) == 3
    assert len(capsys.readouterr().err.splitlines()) == 2
