"""`weavemesh status` and its parts. The exit status is the verdict, whichever part is shown."""

import argparse
import sys

from weavemesh import status_text
from weavemesh.api import SOCKET_NAME, ApiClient
from weavemesh.cli.output import print_json, run_dir
from weavemesh.status import StatusReport

NOT_RIGHT_STATUS = 1


def status(arguments: argparse.Namespace) -> int:
    """Print the status or one part of it; 0 only if all is well."""
    report = ApiClient(run_dir(arguments) / SOCKET_NAME).status()
    if arguments.json:
        print_json(_values(report, arguments.part))
    else:
        sys.stdout.write(_text(report, arguments.part))
    return 0 if report.ok else NOT_RIGHT_STATUS


def _values(report: StatusReport, part: str | None) -> object:
    match part:
        case "peers":
            return report.peers
        case "connections":
            return report.router.connections
        case "targets":
            return report.router.targets
        case "ipam":
            return report.ipam
        case "pods":
            return report.pods
        case _:
            return report


def _text(report: StatusReport, part: str | None) -> str:
    match part:
        case "peers":
            return status_text.peers(report)
        case "connections":
            return status_text.connections(report)
        case "targets":
            return status_text.targets(report)
        case "ipam":
            return status_text.ipam(report)
        case "pods":
            return status_text.pods(report)
        case _:
            return status_text.overview(report)
