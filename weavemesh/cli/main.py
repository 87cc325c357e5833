"""The command `weavemesh`: reads its words, runs the command, turns failures into one line and an exit status."""

import gc
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import cast

from weavemesh.cli.parser import parser
from weavemesh.error import UserError

INTERRUPTED_STATUS = 130
"""128 + SIGINT, as shells have it."""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command of these words (None: of this process); its exit status. Wrong words raise SystemExit(2)."""
    gc.disable()  # a command is over before there is garbage worth looking for; an agent that runs switches it on
    arguments = parser().parse_args(words)
    try:
        status = _command(arguments.run)(arguments)
        sys.stdout.flush()
    except UserError as error:
        print(f"weavemesh: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("weavemesh: interrupted", file=sys.stderr)
        return INTERRUPTED_STATUS
    except BrokenPipeError:
        # The reader of our output has enough (`weavemesh status | head`); at exit Python would flush and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _command(run: str) -> Callable[[object], int]:
    """The function that `module:function` names, in this package."""
    module, _, function = run.partition(":")
    return cast("Callable[[object], int]", getattr(importlib.import_module(f"weavemesh.cli.{module}"), function))
