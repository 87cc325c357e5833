"""`weavemesh why` and `weavemesh netcheck`: sentences about paths, from the agent's status."""

import argparse

from weavemesh.api import SOCKET_NAME, ApiClient
from weavemesh.cli.output import print_json, run_dir
from weavemesh.explanation import netcheck, why
from weavemesh.status import StatusReport


def explain_path(arguments: argparse.Namespace) -> int:
    """Print why packets go between two as they do."""
    report = _report(arguments)
    ours = next(peer.name for peer in report.peers if peer.ourselves)
    return _print(arguments, why(report, arguments.one, arguments.other or ours))


def check_network(arguments: argparse.Namespace) -> int:
    """Print who sees this host as what."""
    return _print(arguments, netcheck(_report(arguments)))


def _report(arguments: argparse.Namespace) -> StatusReport:
    return ApiClient(run_dir(arguments) / SOCKET_NAME).status()


def _print(arguments: argparse.Namespace, sentences: list[str]) -> int:
    if arguments.json:
        print_json(sentences)
    else:
        print("\n".join(sentences))
    return 0
