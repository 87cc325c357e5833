"""The manual page says all that the help says, and man(1) understands it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.weavemesh.cli.test_parser import commands
from weavemesh.cli.manual import page
from weavemesh.cli.parser import EXIT_STATUSES, parser


@pytest.fixture
def shown(tmp_path: Path) -> str:
    """The page as a person sees it, in one line."""
    if shutil.which("man") is None:
        pytest.skip("needs man (Debian: man-db)")
    file = tmp_path / "weavemesh.8"
    file.write_text(page(parser()))
    # No line is broken, or a word of the page could be found in two halves.
    environment = {**os.environ, "MANWIDTH": "4000", "MAN_KEEP_FORMATTING": "", "LC_ALL": "C"}
    command = ["man", "--warnings=all", "--local-file", str(file)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert result.stderr == ""
    return " ".join(result.stdout.split())


def test_every_command_is_there_with_its_options_and_example(shown: str) -> None:
    for name, command in commands().items():
        assert f" {name} {' '.join(str(command.description).split())}" in shown
        assert str(command.get_default("example")) in shown
        for action in command._actions:
            if action.help and action.dest != "help":
                assert " ".join(action.help.split()) in shown


def test_every_exit_status_is_there(shown: str) -> None:
    for number, what in EXIT_STATUSES.items():
        assert f" {number} {what}." in shown


def test_what_roff_would_take_for_a_request_is_text() -> None:
    odd = parser()
    odd.description = ".start with a dot and a back\\slash"
    assert "\n\\&.start with a dot and a back\\eslash\n" in page(odd)
