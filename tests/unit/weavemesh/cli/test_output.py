"""Folders and the printing of answers."""

import argparse
import json
from pathlib import Path

import pytest

from weavemesh.cli import output
from weavemesh.store import DEFAULT_FOLDER


def test_a_folder_is_taken_from_the_flag_then_the_variable_then_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    given = argparse.Namespace(run_dir="run", state_dir=None)
    monkeypatch.setenv("WEAVEMESH_RUN_DIR", "/elsewhere")
    monkeypatch.setenv("WEAVEMESH_STATE_DIR", "/state")
    assert output.run_dir(given) == Path.cwd() / "run"
    assert output.state_dir(given) == Path("/state")
    monkeypatch.delenv("WEAVEMESH_STATE_DIR")
    assert output.state_dir(given) == DEFAULT_FOLDER


def test_sentences_are_lines_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_sentences(["one", "two"], as_json=False)
    output.print_sentences(("one", "two"), as_json=True)
    text = capsys.readouterr().out
    assert text.startswith("one\ntwo\n{")
    assert json.loads(text.removeprefix("one\ntwo\n")) == {"sentences": ["one", "two"]}


def test_remarks_are_not_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    output.remark("wait")
    assert capsys.readouterr() == ("", "wait\n")
