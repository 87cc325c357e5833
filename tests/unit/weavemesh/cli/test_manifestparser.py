"""The words of `weavemesh manifest`."""

from weavemesh.cli.manifest import OPTIONS
from weavemesh.cli.parser import parser


def test_its_options_are_words_of_the_agents_too() -> None:
    manifest, up = parser().parse_args(["manifest"]), parser().parse_args(["up"])
    for name in OPTIONS:
        assert getattr(manifest, name) is None
        assert getattr(up, name) is None


def test_the_secret_itself_is_never_an_argument() -> None:
    help_ = parser().parse_args(["manifest", "--encryption-secret", "-"])
    assert help_.encryption_secret == "-"
