"""What surrounds a running agent: the lock, the remembered options, and those who wait for it."""

import os
import socket
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from weavemesh.config import AgentConfig, check
from weavemesh.error import UserError
from weavemesh.foreground import NOTIFY_ENV, REPORT_ENV, RunAgent, StartReport, run_in_foreground
from weavemesh.option import OPTIONS_FILE, Options, save_options, saved_options
from weavemesh.process import RunningAgent
from weavemesh.store import StateFolder

OPTIONS = Options(targets=("host1",))


@pytest.fixture(autouse=True)
def mask() -> object:
    """An agent changes the mask of its process for good; a test gives it back."""
    before = os.umask(0o077)
    yield None
    os.umask(before)


async def gets_ready(config: AgentConfig, *, on_ready: Callable[[str], None]) -> None:
    assert saved_options(config.state_dir) == OPTIONS
    with pytest.raises(UserError, match="runs already"):
        run(config.run_dir.parent, gets_ready)
    on_ready("ready: all")


async def fails(config: AgentConfig, *, on_ready: Callable[[str], None]) -> None:
    del config, on_ready
    raise ExceptionGroup("tasks", [ExceptionGroup("more", [UserError("no", remedy="yes")])])


async def breaks(config: AgentConfig, *, on_ready: Callable[[str], None]) -> None:
    del config, on_ready
    raise ExceptionGroup("tasks", [UserError("no", remedy="yes"), KeyError("bug")])


async def fails_later(config: AgentConfig, *, on_ready: Callable[[str], None]) -> None:
    del config
    on_ready("ready")
    raise UserError("no", remedy="yes")


def run(folder: Path, agent: RunAgent, environment: MutableMapping[str, str] | None = None) -> list[str]:
    """Run the agent in this process; what it said."""
    said: list[str] = []
    config = check(OPTIONS, state_dir=folder / "state", run_dir=folder / "run", environment={})
    run_in_foreground(config, OPTIONS, agent, environment={} if environment is None else environment, say=said.append)
    return said


def test_an_agent_holds_the_lock_and_its_options_are_remembered(tmp_path: Path) -> None:
    assert run(tmp_path, gets_ready) == ["ready: all"]
    assert saved_options(tmp_path / "state") == OPTIONS
    assert RunningAgent.find(tmp_path / "run") is None


def test_a_failed_first_start_leaves_no_state(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no; yes"):
        run(tmp_path, fails)
    assert not (tmp_path / "state").exists()
    assert RunningAgent.find(tmp_path / "run") is None


def test_a_failed_start_gives_the_old_options_back(tmp_path: Path) -> None:
    before = Options(targets=("host0",))
    (tmp_path / "state").mkdir(mode=0o700)
    save_options(tmp_path / "state", before)
    with pytest.raises(UserError):
        run(tmp_path, fails)
    assert saved_options(tmp_path / "state") == before


def test_a_failure_after_the_start_forgets_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        run(tmp_path, fails_later)
    assert saved_options(tmp_path / "state") == OPTIONS


def test_options_that_cannot_be_read_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / OPTIONS_FILE).write_text("{")
    run(tmp_path, gets_ready)
    assert saved_options(tmp_path / "state") == OPTIONS


def test_the_options_of_an_agent_with_the_same_state_are_not_touched(tmp_path: Path) -> None:
    before = Options(targets=("host0",))
    with StateFolder.open(tmp_path / "state"):
        save_options(tmp_path / "state", before)
        with pytest.raises(UserError, match="another weavemesh agent uses the state folder"):
            run(tmp_path, gets_ready)
        assert saved_options(tmp_path / "state") == before


def test_a_bug_is_shown_whole_even_beside_a_failure_for_people(tmp_path: Path) -> None:
    with pytest.raises(ExceptionGroup, match="tasks") as caught:
        run(tmp_path, breaks)
    assert len(caught.value.exceptions) == 2


@pytest.mark.parametrize(
    ("agent", "report"),
    [
        (gets_ready, StartReport(sentence="ready: all")),
        (fails, StartReport(sentence="no", remedy="yes", exit_status=1)),
        (fails_later, StartReport(sentence="ready")),
    ],
)
def test_the_starter_hears_one_report(tmp_path: Path, agent: RunAgent, report: StartReport) -> None:
    ours, theirs = os.pipe()
    environment = {REPORT_ENV: str(theirs)}
    with suppress(UserError):
        run(tmp_path, agent, environment)
    with open(ours, "rb") as pipe:
        assert msgspec.json.decode(pipe.read(), type=StartReport) == report
    assert environment == {}


def test_a_starter_that_has_gone_away_stops_nothing(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    assert run(tmp_path, gets_ready, {REPORT_ENV: str(theirs)}) == ["ready: all"]


@pytest.mark.parametrize("abstract", [True, False])
def test_systemd_is_told(tmp_path: Path, *, abstract: bool) -> None:
    name = f"@weavemesh-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"\0{name[1:]}" if abstract else name)
        run(tmp_path, gets_ready, {NOTIFY_ENV: name})
        systemd.setblocking(False)
        heard = [systemd.recv(4096).decode() for _ in range(3)]
    assert heard == ["STATUS=starting", "READY=1\nSTATUS=ready: all", "STOPPING=1"]


def test_no_systemd_where_there_should_be_one_stops_nothing(tmp_path: Path) -> None:
    assert run(tmp_path, gets_ready, {NOTIFY_ENV: str(tmp_path / "nobody")}) == ["ready: all"]
