"""The manual page, written from the command line's own words: `python -m weavemesh.cli.manual >weavemesh.8`.

Roff for man(1), see man-pages(7) for its sections. It says what `--help` says, all commands in one page, and needs
nothing but the standard library: it is run where packages are built.
"""

import argparse
import sys
from collections.abc import Iterator

from weavemesh import __version__
from weavemesh.cli.parser import EXIT_STATUSES, FIRST_HOSTS, parser

_FILES = (
    ("/etc/weavemesh/secret", "The cluster secret, readable by root alone."),
    ("/etc/weavemesh/options", 'Options of the service as variables, such as WEAVEMESH_TARGETS="host1 host2".'),
    ("/var/lib/weavemesh", "Identity, addresses, what is known of the mesh."),
    ("/run/weavemesh", "Sockets and, without systemd, the log of the agent."),
)
_ENVIRONMENT = "Every option of `weavemesh up` can be given as a variable: --ipalloc-range as WEAVEMESH_IPALLOC_RANGE."


def page(top: argparse.ArgumentParser) -> str:
    """The whole page; the commands in the order of the parser."""
    lines = [f'.TH WEAVEMESH 8 "" "weavemesh {__version__}" "System administration"']
    lines += _section("Name", [f"weavemesh \\- {_text(_start(str(top.description)))}"])
    lines += _section("Synopsis", [".B weavemesh", "COMMAND [OPTION ...] [ARGUMENT ...]"])
    lines += _section(
        "Description", [_text(str(top.description)), "Commands print sentences, or JSON with \\-\\-json."]
    )
    lines += _section("Commands", [])
    for name, command in _commands(top):
        lines += _command(name, command)
    lines += _section("Environment", [_text(_ENVIRONMENT)])
    lines += _section("Files", [line for path, what in _FILES for line in _item(path, what)])
    statuses = [line for number, what in EXIT_STATUSES.items() for line in _item(str(number), f"{what}.")]
    lines += _section("Exit status", statuses)
    lines += _section("Examples", ["The first two hosts of a mesh:", *_example(FIRST_HOSTS)])
    lines += _section("See also", [".BR wg (8),", ".BR ip\\-link (8),", ".BR systemd.service (5)"])
    return "\n".join(lines) + "\n"


def _commands(top: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Those that do something: of a command that only has others, its own, as "cni install"."""
    for name, command in _choices(top):
        inner = [(f"{name} {action}", one) for action, one in _choices(command)]
        yield from inner or [(name, command)]


def _choices(command: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def _command(name: str, command: argparse.ArgumentParser) -> list[str]:
    usage = " ".join(command.format_usage().split()).removeprefix("usage: ")
    lines = [f".SS {_text(name)}", _text(str(command.description)), ".PP", f".B {_text(usage)}"]
    for action in command._actions:
        if not isinstance(action, argparse._HelpAction):
            lines += _item(_heading(action), action.help or "Any number of them.")
    return [*lines, ".PP", "Example:", *_example(command.get_default("example"))]


def _heading(action: argparse.Action) -> str:
    value = action.metavar if isinstance(action.metavar, str) else None
    if value is None and action.choices is not None:
        value = "|".join(map(str, action.choices))
    if not action.option_strings:
        return value or action.dest
    names = ", ".join(action.option_strings)
    if action.nargs == 0:
        return names
    value = value or action.dest.upper()
    return f"{names} [{value}]" if action.nargs == "?" else f"{names} {value}"


def _section(title: str, lines: list[str]) -> list[str]:
    return [f".SH {title.upper()}", *lines]


def _item(term: str, text: str) -> list[str]:
    return [".TP", f".B {_text(term)}", _text(text)]


def _example(text: str) -> list[str]:
    return [".PP", ".in +4n", ".EX", *map(_text, text.rstrip().splitlines()), ".EE", ".in"]


def _start(sentence: str) -> str:
    """As it stands after a dash."""
    return sentence.removesuffix(".")


def _text(text: str) -> str:
    """Escaped: backslashes, hyphens that are to be copied, and what roff takes for a request at the start of a line."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    sys.stdout.write(page(parser()))
