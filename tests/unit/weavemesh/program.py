"""Runs `agent_program` as `weavemesh up` runs the agent; ends it whatever a test does."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from weavemesh.launch import Ready, StartingAgent
from weavemesh.process import RunningAgent

PROJECT = Path(__file__).resolve().parents[3]


def command(behaviour: str, folder: Path) -> list[str]:
    words = [behaviour, str(folder / "state"), str(folder / "run")]
    return [sys.executable, "-P", "-m", "tests.unit.weavemesh.agent_program", *words]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(PROJECT)}


@contextmanager
def starting(behaviour: str, folder: Path) -> Iterator[StartingAgent]:
    """A started program; killed at the end."""
    agent = StartingAgent.start(command(behaviour, folder), run_dir=folder / "run", environment=environment())
    try:
        yield agent
    finally:
        with suppress(ProcessLookupError):
            os.kill(agent.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(agent.pid, 0)
        agent.leave()


@contextmanager
def running(folder: Path, behaviour: str = "ready") -> Iterator[RunningAgent]:
    """A program that is ready, as others find it."""
    with starting(behaviour, folder) as agent:
        assert isinstance(agent.wait(patience_s=15.0, on_progress=None), Ready)
        found = RunningAgent.find(folder / "run")
        assert found is not None
        with found:
            yield found
