"""`weavemesh secret`."""

import json
import stat
from pathlib import Path

import pytest

from weavemesh.cli.main import main
from weavemesh.secret import ClusterSecret


def test_every_new_secret_is_another_and_strong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["secret"]) == 0
    first = capsys.readouterr().out
    assert main(["secret", "--json"]) == 0
    second = json.loads(capsys.readouterr().out)["secret"]
    assert ClusterSecret.parse(first) != ClusterSecret.parse(second)


def test_a_written_secret_is_private_and_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "etc" / "secret"
    assert main(["secret", "--write", str(path)]) == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text().strip()
    told = capsys.readouterr().out
    assert text not in told
    assert main(["secret", "--write", str(path)]) == 1
    assert "already" in capsys.readouterr().err
    assert path.read_text().strip() == text
    assert main(["secret", "--write", str(path), "--force"]) == 0
    assert path.read_text().strip() != text


def test_the_fingerprint_tells_which_secret_and_not_what(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret"
    assert main(["secret", "--write", str(path)]) == 0
    written = capsys.readouterr().out
    assert main(["secret", "fingerprint", "--secret-file", str(path)]) == 0
    fingerprint = capsys.readouterr().out.strip()
    assert f"(fingerprint {fingerprint})" in written
    monkeypatch.setenv("WEAVEMESH_SECRET", path.read_text())
    assert main(["secret", "fingerprint", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"fingerprint": fingerprint}


@pytest.mark.parametrize("words", [["fingerprint", "--write"], ["--secret-file", "/x"]])
def test_words_that_do_not_fit_are_wrong_usage(words: list[str]) -> None:
    assert main(["secret", *words]) == 2


def test_a_secret_that_others_can_read_has_no_fingerprint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "secret"
    ClusterSecret.generate().write(path)
    path.chmod(0o644)
    assert main(["secret", "fingerprint", "--secret-file", str(path)]) == 1
    assert "readable by others" in capsys.readouterr().err


def test_a_rotation_takes_three_steps_and_shows_no_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, run = tmp_path / "secret", ["--run-dir", str(tmp_path)]
    assert main(["secret", "--write", str(path)]) == 0
    old = path.read_text().strip()
    for step in ([], ["--finish"], ["--forget"]):
        assert main(["secret", "rotate", "--secret-file", str(path), *run, *step]) == 0
    new = path.read_text().strip()
    assert new != old
    said = capsys.readouterr().out
    assert "no agent runs here" in said
    assert old not in said and new not in said
    assert main(["secret", "rotate", "--secret-file", str(path), *run, "--finish"]) == 1
    assert main(["secret", "--finish"]) == 2
    assert main(["secret", "rotate", "--finish", "--forget"]) == 2
