"""Starting an agent in the background, with programs that behave as agents may."""

import os
import signal
import site
import stat
import sys
from pathlib import Path

import pytest

from tests.unit.weavemesh import program
from weavemesh import launch
from weavemesh.error import UserError
from weavemesh.launch import LOG_NAME, NotYet, Ready, Refused, StartingAgent, agent_command, agent_environment
from weavemesh.process import RunningAgent


def test_a_ready_agent_says_so(tmp_path: Path) -> None:
    with program.starting("ready", tmp_path) as agent:
        assert agent.wait(patience_s=15.0, on_progress=None) == Ready("ready: n1 has 10.32.0.1")


def test_an_agent_is_on_its_own(tmp_path: Path) -> None:
    with program.running(tmp_path) as agent:
        assert os.getsid(agent.pid) == os.getpgid(agent.pid) == agent.pid
        assert os.readlink(f"/proc/{agent.pid}/fd/0") == os.devnull
        assert os.readlink(f"/proc/{agent.pid}/cwd") == "/"
        assert Path(f"/proc/{agent.pid}/comm").read_text() == "weavemesh\n"
        log = tmp_path / "run" / LOG_NAME
        assert os.readlink(f"/proc/{agent.pid}/fd/2") == str(log)
        assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_an_agent_that_waits_goes_on_without_us(tmp_path: Path) -> None:
    with program.starting("waits", tmp_path) as agent:
        steps: list[str] = []
        while not steps:  # the program needs a moment to listen
            outcome = agent.wait(patience_s=0.5, on_progress=steps.append)
        assert outcome == NotYet("waiting for the first peer")
        assert steps == ["waiting for the first peer"]
        found = RunningAgent.find(tmp_path / "run")
        assert found is not None
        with found:
            assert found.pid == agent.pid


def test_an_agent_that_will_never_be_ready_says_so_at_once_and_runs_on(tmp_path: Path) -> None:
    with program.starting("removed", tmp_path) as agent:
        outcome = agent.wait(patience_s=15.0, on_progress=None)
        assert outcome == Refused("this peer was removed", "begin as a new peer")
        found = RunningAgent.find(tmp_path / "run")
        assert found is not None
        with found:
            assert found.pid == agent.pid


def test_a_failed_start_is_told_in_the_agents_words(tmp_path: Path) -> None:
    with program.starting("fails", tmp_path) as agent, pytest.raises(UserError) as caught:
        agent.wait(patience_s=15.0, on_progress=None)
    assert str(caught.value) == "port 6783 is taken; choose another with --port"
    assert not (tmp_path / "state").exists()


def test_a_sudden_death_is_told_with_the_last_words(tmp_path: Path) -> None:
    with program.starting("dies", tmp_path) as agent, pytest.raises(UserError) as caught:
        agent.wait(patience_s=15.0, on_progress=None)
    assert caught.value.sentence == "the agent ended unexpectedly (exit status 7): last words"
    assert LOG_NAME in caught.value.remedy


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (signal.SIGTERM, "the agent was told to stop before it was ready"),
        (signal.SIGKILL, "the agent ended unexpectedly (Killed): its log is empty"),
    ],
)
def test_an_agent_ended_by_another_is_told(tmp_path: Path, number: signal.Signals, sentence: str) -> None:
    with program.starting("waits", tmp_path) as agent:
        steps: list[str] = []
        while not steps:
            agent.wait(patience_s=0.5, on_progress=steps.append)
        os.kill(agent.pid, number)
        with pytest.raises(UserError) as caught:
            agent.wait(patience_s=15.0, on_progress=None)
    assert caught.value.sentence == sentence


def test_who_gives_up_ends_what_was_started(tmp_path: Path) -> None:
    with program.starting("waits", tmp_path) as agent:
        agent.give_up()
        assert RunningAgent.find(tmp_path / "run") is None


def test_a_second_agent_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    with program.running(tmp_path) as first, program.starting("ready", tmp_path) as second:
        with pytest.raises(UserError, match=f"runs already .* \\(process {first.pid}\\)"):
            second.wait(patience_s=15.0, on_progress=None)
        found = RunningAgent.find(tmp_path / "run")
        assert found is not None
        with found:
            assert found.pid == first.pid


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot start"):
        StartingAgent.start([str(tmp_path / "missing")], run_dir=tmp_path / "run", environment={})


def test_a_long_log_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "LOG_BYTES_MAX", 10)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOG_NAME).write_text("x" * 11)
    with program.running(tmp_path):
        assert (tmp_path / "run" / f"{LOG_NAME}.1").read_text() == "x" * 11
        assert "x" not in (tmp_path / "run" / LOG_NAME).read_text()


def test_the_command_line_can_be_read(tmp_path: Path) -> None:
    words = agent_command(["--run-dir", str(tmp_path), "host1"])
    assert words[0] == sys.executable
    assert " ".join(words).endswith(f"weavemesh up --foreground --run-dir {tmp_path} host1")


def test_an_agent_finds_this_package_wherever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    home = str(program.PROJECT)
    monkeypatch.setattr(site, "getsitepackages", lambda: ["/elsewhere"])
    assert agent_environment({"PYTHONPATH": "/x"})["PYTHONPATH"] == f"{home}{os.pathsep}/x"
    assert agent_environment({})["PYTHONPATH"] == home
    monkeypatch.setattr(site, "getsitepackages", lambda: [home])
    assert agent_environment({"A": "b"}) == {"A": "b"}
