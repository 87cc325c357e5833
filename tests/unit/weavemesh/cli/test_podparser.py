import pytest

from weavemesh.cli.parser import parser


def test_words_are_told_apart() -> None:
    parsed = parser().parse_args(["attach", "web", "--address", "10.32.0.7", "--default-route"])
    assert (parsed.run, parsed.netns, parsed.address, parsed.default_route) == ("pod:attach", "web", "10.32.0.7", True)
    assert parser().parse_args(["detach", "1234"]).ifname == "mesh0"
    assert parser().parse_args(["cni", "uninstall", "--bin-dir", "/x"]).run == "cni:uninstall"
    assert parser().parse_args(["ps", "a", "b"]).words == ["a", "b"]
    assert parser().parse_args(["expose"]).address is None


@pytest.mark.parametrize("words", [["cni"], ["cni", "remove"], ["attach"], ["expose", "a", "b"], ["hide", "x"]])
def test_what_is_no_command_is_told(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(words)
