"""Finding and ending the agent's process, whatever happened to it."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.unit.weavemesh.program import running
from weavemesh.error import UserError
from weavemesh.process import LOCK_NAME, AgentLock, RunningAgent


def test_where_none_ever_ran_none_is_found(tmp_path: Path) -> None:
    assert RunningAgent.find(tmp_path / "missing") is None
    (tmp_path / LOCK_NAME).write_text("")
    assert RunningAgent.find(tmp_path) is None


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    lock = AgentLock.take(tmp_path / "run")
    with pytest.raises(UserError, match=f"runs already in .* \\(process {os.getpid()}\\)"):
        AgentLock.take(tmp_path / "run")
    lock.release()
    AgentLock.take(tmp_path / "run").release()


def test_the_run_folder_is_private(tmp_path: Path) -> None:
    AgentLock.take(tmp_path / "run").release()
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "run" / LOCK_NAME).stat().st_mode & 0o777 == 0o600


def test_an_agent_ends_when_asked(tmp_path: Path) -> None:
    with running(tmp_path) as agent:
        assert agent.end() == f"the agent (process {agent.pid}) has ended"
        assert RunningAgent.find(tmp_path / "run") is None
        assert agent.end() == f"the agent (process {agent.pid}) has ended"


def test_an_agent_that_hangs_is_killed(tmp_path: Path) -> None:
    with running(tmp_path, "hangs") as agent:
        assert agent.end(patience_s=0.3).endswith("did not end within 0 s and was killed")
        assert RunningAgent.find(tmp_path / "run") is None


def test_a_stopped_process_is_killed_too(tmp_path: Path) -> None:
    with running(tmp_path) as agent:
        os.kill(agent.pid, signal.SIGSTOP)
        assert agent.end(patience_s=0.3).endswith("was killed")


def test_a_killed_agent_leaves_nothing_that_looks_alive(tmp_path: Path) -> None:
    with running(tmp_path) as agent:
        os.kill(agent.pid, signal.SIGKILL)
        os.waitpid(agent.pid, 0)
        assert json.loads((tmp_path / "run" / LOCK_NAME).read_text())["pid"] == agent.pid
        assert RunningAgent.find(tmp_path / "run") is None


@pytest.mark.parametrize("change", [{"pid": 1}, {"started_ticks": 1}, {"boot": "another"}, {"pid": "x"}])
def test_a_process_that_is_not_surely_ours_is_never_signalled(tmp_path: Path, change: dict[str, object]) -> None:
    lock = AgentLock.take(tmp_path)
    path = tmp_path / LOCK_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match="cannot be seen from here"):
        RunningAgent.find(tmp_path)
    lock.release()
