"""`weavemesh why` and `weavemesh netcheck` ask the agent and print sentences."""

import pytest

from weavemesh.cli.main import main
from weavemesh.cli.parser import parser


def test_both_commands_are_there() -> None:
    arguments = parser().parse_args(["why", "n1", "n2", "--json"])
    assert (arguments.one, arguments.other, arguments.json) == ("n1", "n2", True)
    assert parser().parse_args(["why", "n1"]).other is None
    assert parser().parse_args(["netcheck"]).run == "explain:check_network"


@pytest.mark.parametrize("words", [["why", "n1"], ["netcheck"]])
def test_without_an_agent_they_say_so(words: list[str], tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--run-dir", str(tmp_path)]) != 0
    assert "weavemesh:" in capsys.readouterr().err
