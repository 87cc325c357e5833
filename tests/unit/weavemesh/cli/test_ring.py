"""`weavemesh rmpeer` and `weavemesh ipam` with a program that answers as an agent."""

import json
from pathlib import Path

import pytest

from tests.unit.weavemesh import program
from weavemesh.cli.main import main


def test_a_peer_is_removed_or_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--run-dir", str(tmp_path / "run")]
    with program.running(tmp_path):
        assert main(["rmpeer", "n3", *where]) == 0
        assert capsys.readouterr().out == "n3 is removed\n"
        assert main(["rmpeer", "busy", *where]) == 1
        assert capsys.readouterr().err == "weavemesh: busy is up; stop it first\n"
        assert main(["rmpeer", "busy", "--force", "--json", *where]) == 0
        assert json.loads(capsys.readouterr().out) == {"sentences": ["busy is removed"]}
    assert main(["rmpeer", "n3", *where]) == 3


def test_addresses_are_printed_alone_and_found_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--run-dir", str(tmp_path / "run")]

    def said(*words: str, status: int = 0) -> str:
        assert main(["ipam", *words, *where]) == status
        return "".join(capsys.readouterr())

    with program.running(tmp_path):
        assert said("allocate", "web") == "10.32.0.1\n"
        assert said("claim", "db", "10.32.0.9") == "10.32.0.9\n"
        assert said("lookup", "db") == "10.32.0.9\n"
        assert said("lookup", "10.32.0.9") == "10.32.0.9 is db's\n"
        assert json.loads(said("lookup", "db", "--json"))["nickname"] == "n1"
        assert said("claim", "other", "10.32.0.9", status=1) == "weavemesh: 10.32.0.9 is in use; claim another\n"
        assert said("release", "db") == "10.32.0.9 is free again\n"
        assert said("clear", "10.32.0.0/24") == "10.32.0.0/24 is handed out again\n"


@pytest.mark.parametrize(
    "words",
    [
        ("claim", "db"),
        ("claim", "db", "ten"),
        ("lookup", "db", "10.32.0.1"),
        ("clear", "10.32.0.1/24"),
        ("clear", "everything"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(
    tmp_path: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ipam", *words, "--run-dir", str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
