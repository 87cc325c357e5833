"""`weavemesh version`: the release of this command (that of the agent is in `weavemesh status`)."""

import argparse
import platform

from weavemesh import __version__
from weavemesh.cli.output import print_json


def version(arguments: argparse.Namespace) -> int:
    """Print the release; always 0."""
    if arguments.json:
        print_json({"version": __version__, "python": platform.python_version()})
    else:
        print(f"weavemesh {__version__}")
    return 0
