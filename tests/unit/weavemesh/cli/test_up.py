"""`weavemesh up`: what it refuses before anything is started, and what it says to an agent that runs.

The start of a real agent is tested in tests/e2e.
"""

import os
from pathlib import Path

import pytest

from tests.unit.weavemesh import program
from weavemesh.cli.main import main
from weavemesh.option import Options, save_options
from weavemesh.secret import ClusterSecret

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="`weavemesh up` needs the capability NET_ADMIN"),
]


@pytest.fixture
def where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The words that keep a command inside the test's folder, with a secret that is in order."""
    for name in [name for name in os.environ if name.startswith("WEAVEMESH_")]:
        monkeypatch.delenv(name)
    ClusterSecret.generate().write(tmp_path / "secret")
    monkeypatch.setenv("WEAVEMESH_SECRET_FILE", str(tmp_path / "secret"))
    return ["--state-dir", str(tmp_path / "state"), "--run-dir", str(tmp_path / "run")]


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["host1:x"], 2, "the host 'host1:x' has the port 'x'"),
        (["--port", "0"], 2, "--port (or WEAVEMESH_PORT)"),
        (["--secret-file", "/nonexistent/secret"], 1, "there is no cluster secret"),
    ],
)
def test_what_can_be_checked_is_checked_first(
    where: list[str], tmp_path: Path, words: list[str], status: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for mode in ([], ["--foreground"]):
        assert main(["up", *words, *mode, *where]) == status
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("weavemesh: ")
        assert sentence in err
        assert len(err.splitlines()) == 1
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["secret"]


def test_a_secret_that_others_can_read_is_refused(
    where: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "secret").chmod(0o644)
    assert main(["up", *where]) == 1
    assert "readable by others" in capsys.readouterr().err
    assert not (tmp_path / "state").exists()


def test_a_weak_secret_is_refused(
    where: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WEAVEMESH_SECRET_FILE")
    monkeypatch.setenv("WEAVEMESH_SECRET", "password")
    assert main(["up", *where]) == 1
    assert "--force-weak-secret" in capsys.readouterr().err
    assert os.environ["WEAVEMESH_SECRET"] == "password", "the agent will need it"


def test_resuming_says_what(where: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    save_options(tmp_path / "state", Options(targets=("host1",), port="0"))
    assert main(["up", *where]) == 2
    err = capsys.readouterr().err
    assert err.startswith("resuming what was given last time: --port=0 host1\nweavemesh: --port ")


def test_what_is_given_now_is_not_mixed_with_what_was_given_then(
    where: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    save_options(tmp_path / "state", Options(port="0"))
    for words in (["--mtu", "1"], ["--no-resume", "--mtu", "1"]):
        assert main(["up", *words, *where]) == 2
        err = capsys.readouterr().err
        assert "resuming" not in err
        assert "--mtu" in err


def test_up_again_is_connect(where: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with program.running(tmp_path) as agent:
        assert main(["up", *where]) == 0
        assert capsys.readouterr().out == (f"the agent runs already (process {agent.pid})\nready: n1 has 10.32.0.1\n")
        assert main(["up", "host2", *where]) == 0
        assert capsys.readouterr().out == "connecting to host2:6783\nready: n1 has 10.32.0.1\n"
        assert main(["up", "host2", "--nickname", "n1", *where]) == 0
        assert f"(process {agent.pid}) dials host2:6783 already\n" in capsys.readouterr().out
        assert main(["up", "--port", "7000", *where]) == 1
        assert "with another --port; end it first" in capsys.readouterr().err


def test_up_on_an_agent_that_waits_says_what_for(
    where: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with program.starting("waits", tmp_path) as agent:
        steps: list[str] = []
        while not steps:
            agent.wait(patience_s=0.5, on_progress=steps.append)
        assert main(["up", "--wait", "0.1", *where]) == 1
        assert "but is not ready after 0 s: waiting for the first peer; it goes on" in capsys.readouterr().err
        assert main(["up", "--wait", "0", *where]) == 0
        assert f"the agent starts (process {agent.pid})" in capsys.readouterr().out


def test_up_on_an_agent_that_was_removed_says_so_at_once(
    where: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with program.starting("removed", tmp_path) as agent:
        agent.wait(patience_s=15.0, on_progress=None)
        assert main(["up", *where]) == 1
        assert capsys.readouterr().err == "weavemesh: this peer was removed; begin as a new peer\n"


def test_an_agent_in_the_foreground_beside_one_that_runs_is_refused(
    where: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = os.umask(0o077)
    try:
        with program.running(tmp_path) as agent:
            assert main(["up", "--foreground", *where]) == 1
            assert f"runs already in {tmp_path / 'run'} (process {agent.pid})" in capsys.readouterr().err
    finally:
        os.umask(before)
