"""`weavemesh report`: all that helps, nothing that is secret."""

import json
from pathlib import Path

import pytest

from tests.unit.weavemesh import program
from weavemesh.cli.main import main
from weavemesh.cli.report import LOG_LINES_MAX, blot_out
from weavemesh.identity import Identity
from weavemesh.launch import LOG_NAME
from weavemesh.option import Options, save_options
from weavemesh.secret import ClusterSecret


def words(folder: Path) -> list[str]:
    return ["report", "--run-dir", str(folder / "run"), "--state-dir", str(folder / "state")]


def test_a_dead_agent_is_reported_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOG_NAME).write_text("".join(f"line {number}\n" for number in range(1000)))
    assert main(words(tmp_path)) == 3
    report = json.loads(capsys.readouterr().out)
    assert report["agent"] is None
    assert "no weavemesh agent runs here" in report["agent_failure"]
    assert len(report["log"]) == LOG_LINES_MAX
    assert report["log"][-1] == "line 999"
    assert report["system"]["kernel"].startswith("Linux ")


def test_a_running_agent_tells_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with program.running(tmp_path):
        assert main(words(tmp_path)) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["agent"]["status"]["ok"] is True
    assert report["options"] == {"targets": ["host1"], "nickname": "n1"}


def test_no_secret_of_this_host_is_in_it_even_if_the_log_has_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    state, run = tmp_path / "state", tmp_path / "run"
    state.mkdir(mode=0o700)
    run.mkdir()
    identity = Identity.load_or_create(state)
    secret, other = ClusterSecret.generate(), 'a "quoted" secret of a person'
    secret.write(tmp_path / "secret")
    save_options(state, Options(secret_file=str(tmp_path / "secret")))
    monkeypatch.setenv("WEAVEMESH_SECRET", other)
    keys = [line.split()[1] for path in state.glob("*.key") for line in path.read_text().splitlines()[1:]]
    private, public = keys[::2], keys[1::2]
    (run / LOG_NAME).write_text("\n".join([secret.text(), other, *keys]))
    assert main(words(tmp_path)) == 3
    text = capsys.readouterr().out
    json.loads(text)
    assert len(private) == 2
    for forbidden in (secret.text(), "quoted", *private):
        assert forbidden not in text
    assert all(key in text for key in public), "public keys are for bug reports"
    assert identity.name not in private


def test_short_words_are_no_secrets() -> None:
    assert blot_out("a b c", iter(["", "b"])) == "a b c"
