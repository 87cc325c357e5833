"""The release."""

import json
import tomllib

import pytest

from tests.unit.weavemesh.program import PROJECT
from weavemesh import __version__
from weavemesh.cli.main import main


def test_the_release_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out == f"weavemesh {__version__}\n"
    assert main(["version", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == __version__
    assert tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"] == __version__
