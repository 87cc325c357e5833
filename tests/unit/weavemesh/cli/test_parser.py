"""The words of the command line."""

import argparse
import importlib
import re

import pytest

from weavemesh.cli.output import DEFAULT_RUN_DIR, DEFAULT_STATE_DIR
from weavemesh.cli.parser import parser
from weavemesh.config import DEFAULT_INTERFACE, DEFAULT_IPALLOC_RANGE, DEFAULT_PORT
from weavemesh.option import Options
from weavemesh.secret import DEFAULT_FILE


def commands() -> dict[str, argparse.ArgumentParser]:
    """Those that do something: of `cni`, its actions."""
    found = _choices(parser())
    return {**{name: one for name, one in found.items() if not _choices(one)}, **_choices(found["cni"])}


def _choices(command: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found = [action for action in command._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(found[0].choices) if found else {}


@pytest.mark.parametrize("name", commands())
def test_every_command_has_help_with_an_example_that_is_right(name: str) -> None:
    *_, example, statuses = commands()[name].format_help().splitlines()
    found = re.fullmatch(r"example: weavemesh ([^>&]*).*", example)
    assert found
    parser().parse_args(found.group(1).split())
    assert statuses.startswith("exit status: 0 all is well, 1 ")


@pytest.mark.parametrize("name", commands())
def test_every_command_is_there(name: str) -> None:
    module, function = commands()[name].get_default("run").split(":")
    assert callable(getattr(importlib.import_module(f"weavemesh.cli.{module}"), function))


@pytest.mark.parametrize("name", sorted(set(commands()) - {"report", "manifest"}))
def test_everything_that_prints_can_print_json(name: str) -> None:
    assert "--json" in commands()[name].format_help()


def test_every_option_of_the_agent_has_its_flag() -> None:
    text = commands()["up"].format_help()
    for name in Options.__struct_fields__:
        assert name == "targets" or f"--{name.replace('_', '-')} " in text


def test_what_help_calls_the_default_is_the_default() -> None:
    text = commands()["up"].format_help()
    defaults = (
        DEFAULT_IPALLOC_RANGE,
        DEFAULT_PORT,
        DEFAULT_INTERFACE,
        DEFAULT_RUN_DIR,
        DEFAULT_STATE_DIR,
        DEFAULT_FILE,
    )
    for default in defaults:
        assert (
            f"({default})" in " ".join(text.split())
            or f"({default};" in text
            or f"({default})" in text.replace("\n", "")
        )


@pytest.mark.parametrize(
    "words", [[], ["sing"], ["status", "weather"], ["connect"], ["up", "--wait", "-1"], ["up", "--por", "7"]]
)
def test_wrong_words_are_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parser().parse_args(words)
    assert caught.value.code == 2
    assert "usage: weavemesh" in capsys.readouterr().err
