"""The words of `weavemesh kubernetes`."""

import pytest

from weavemesh.cli.parser import parser


@pytest.mark.parametrize("part", ["agent", "wireguard", "alive", "ready", "uninstall"])
def test_each_part_has_its_function_and_its_help(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert parser().parse_args(["kubernetes", part]).run == f"kubernetes:{part}"
    with pytest.raises(SystemExit):
        parser().parse_args(["kubernetes", part, "--help"])
    assert part in capsys.readouterr().out


@pytest.mark.parametrize("words", [["kubernetes"], ["kubernetes", "nothing"], ["kubernetes", "ready", "x"]])
def test_what_is_none_of_them_is_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        parser().parse_args(words)
    assert refusal.value.code == 2
