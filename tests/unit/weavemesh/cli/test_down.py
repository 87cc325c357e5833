"""`weavemesh stop` and what `weavemesh reset` refuses. `down` and `reset` with a kernel are tested in tests/e2e."""

import os
import signal
from pathlib import Path

import pytest

from tests.unit.weavemesh import program
from weavemesh.cli.down import KEY_HEAD, SEALED_HEAD
from weavemesh.cli.main import main
from weavemesh.identity import IDENTITY_FILE, Identity
from weavemesh.option import Options, save_options
from weavemesh.process import RunningAgent
from weavemesh.store import StateFolder, seal


def test_stop_ends_the_agent_and_again_is_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--run-dir", str(tmp_path / "run")]
    with program.running(tmp_path) as agent:
        assert main(["stop", *where]) == 0
        assert capsys.readouterr().out == f"the agent (process {agent.pid}) has ended\n"
        assert RunningAgent.find(tmp_path / "run") is None
    assert main(["stop", *where]) == 0
    assert capsys.readouterr().out == "no agent was running\n"


def test_stop_after_a_kill_is_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with program.running(tmp_path) as agent:
        os.kill(agent.pid, signal.SIGKILL)
        os.waitpid(agent.pid, 0)
        assert main(["stop", "--run-dir", str(tmp_path / "run"), "--json"]) == 0
    assert "no agent was running" in capsys.readouterr().out


@pytest.mark.parametrize("foreign", ["holiday.jpg", "folder/", "link"])
def test_reset_touches_nothing_where_others_keep_things(
    tmp_path: Path, foreign: str, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    with StateFolder.open(state) as folder:
        folder.write("ring", b"content")
    Identity.load_or_create(state)
    save_options(state, Options(port="7"))
    if foreign.endswith("/"):
        (state / foreign).mkdir()
    elif foreign == "link":
        (state / foreign).symlink_to(tmp_path)
    else:
        (state / foreign).write_bytes(b"\xff\xd8")
    before = sorted(entry.name for entry in state.iterdir())
    assert main(["reset", "--state-dir", str(state), "--run-dir", str(tmp_path / "run")]) == 1
    err = capsys.readouterr().err
    assert f"holds what weavemesh never wrote: {foreign.rstrip('/')};" in err
    assert "nothing was removed" in err
    assert sorted(entry.name for entry in state.iterdir()) == before


def test_who_cannot_leave_keeps_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--run-dir", str(tmp_path / "run"), "--state-dir", str(tmp_path / "state")]
    assert main(["down", "--leave", *where]) == 3
    with program.starting("removed", tmp_path) as agent:
        agent.wait(patience_s=15.0, on_progress=None)
        before = sorted(entry.name for entry in (tmp_path / "state").iterdir())
        capsys.readouterr()
        assert main(["down", "--leave", *where]) == 1
        assert capsys.readouterr().err == "weavemesh: nobody can be reached; try `weavemesh down`\n"
        assert sorted(entry.name for entry in (tmp_path / "state").iterdir()) == before
        found = RunningAgent.find(tmp_path / "run")
        assert found is not None
        with found:
            assert found.pid == agent.pid


def test_our_files_are_recognised_by_how_they_begin(tmp_path: Path) -> None:
    assert seal(b"").startswith(SEALED_HEAD)
    Identity.load_or_create(tmp_path)
    assert (tmp_path / IDENTITY_FILE).read_bytes().startswith(KEY_HEAD)
