"""Where options come from, which of them wins, and how they are kept."""

import stat
from pathlib import Path

import pytest

from weavemesh.error import UserError
from weavemesh.option import (
    OPTIONS_FILE,
    Options,
    environment_options,
    merge,
    save_options,
    save_targets,
    saved_options,
    variable,
)

ALL = Options(
    targets=("host1", "host2:7000"),
    interface="wm1",
    port="7000",
    ipalloc_range="10.0.0.0/16",
    ipalloc_default_subnet="10.0.1.0/24",
    initial_peers="3",
    observer=True,
    nickname="-n",
    advertise=("192.0.2.1", "192.0.2.2:99"),
    datapath="kernel",
    mtu="1400",
    secret_file="/tmp/secret",
    force_weak_secret=True,
    no_discovery=True,
    metrics_addr="0.0.0.0:6782",
    log_level="debug",
)


def test_every_option_has_its_variable() -> None:
    values = {
        variable(name): " ".join(value) if isinstance(value, tuple) else "yes" if value is True else str(value)
        for name, value in ALL.given().items()
    }
    assert environment_options(values) == ALL


def test_an_empty_variable_is_not_given() -> None:
    assert environment_options({"WEAVEMESH_PORT": "", "WEAVEMESH_TARGETS": " ", "PATH": "/bin"}) == Options()


def test_hosts_in_a_variable_are_divided_by_blanks_or_commas() -> None:
    assert environment_options({"WEAVEMESH_TARGETS": "a,b  c"}).targets == ("a", "b", "c")


@pytest.mark.parametrize(("text", "value"), [("1", True), ("No", False), ("off", False)])
def test_a_switch_is_yes_or_no(text: str, *, value: bool) -> None:
    assert environment_options({"WEAVEMESH_NO_DISCOVERY": text}).no_discovery is value


def test_a_switch_that_is_neither_is_wrong_usage() -> None:
    with pytest.raises(UserError, match="neither yes nor no") as caught:
        environment_options({"WEAVEMESH_NO_DISCOVERY": "maybe"})
    assert caught.value.exit_status == 2


def test_the_first_that_gives_an_option_wins() -> None:
    merged = merge(Options(port="1"), Options(port="2", mtu="1400", no_discovery=False), Options(no_discovery=True))
    assert merged == Options(port="1", mtu="1400", no_discovery=False)


def test_options_survive_being_saved(tmp_path: Path) -> None:
    assert saved_options(tmp_path) is None
    save_options(tmp_path, ALL)
    assert saved_options(tmp_path) == ALL
    assert stat.S_IMODE((tmp_path / OPTIONS_FILE).stat().st_mode) == 0o600


def test_forgetting_options_leaves_no_file(tmp_path: Path) -> None:
    save_options(tmp_path, ALL)
    save_options(tmp_path, None)
    save_options(tmp_path, None)
    assert list(tmp_path.iterdir()) == []


def test_targets_are_replaced_without_touching_the_rest(tmp_path: Path) -> None:
    save_options(tmp_path, Options(targets=("a",), port="7"))
    save_targets(tmp_path, ["b:1", "c:2"])
    assert saved_options(tmp_path) == Options(targets=("b:1", "c:2"), port="7")
    save_targets(tmp_path, [])
    assert saved_options(tmp_path) == Options(port="7")


@pytest.mark.parametrize("content", ["", "{", '{"options": {"port": 7}}', "[]", '{"options": {"targets": "a"}}'])
def test_a_damaged_file_is_told_with_a_way_out(tmp_path: Path, content: str) -> None:
    (tmp_path / OPTIONS_FILE).write_text(content)
    (tmp_path / OPTIONS_FILE).chmod(0o600)
    with pytest.raises(UserError, match="cannot be read") as caught:
        saved_options(tmp_path)
    assert "--no-resume" in caught.value.remedy


def test_arguments_are_one_word_an_option() -> None:
    assert Options(nickname="-n", advertise=("a", "b"), no_discovery=False, targets=("h",)).arguments() == [
        "--nickname=-n",
        "--advertise=a",
        "--advertise=b",
        "h",
    ]
