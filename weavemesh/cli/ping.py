"""`weavemesh ping PEER`: questions through the tunnel, and with --mtu the largest packet that passes."""

import argparse
import time

from weavemesh.api import SOCKET_NAME, ApiClient
from weavemesh.cli.output import print_json, run_dir
from weavemesh.echo import TRIES, Echo, largest
from weavemesh.error import UserError
from weavemesh.explanation import find_peer
from weavemesh.measure import round_trip
from weavemesh.status import StatusReport

NO_ANSWER_STATUS = 1
TIMEOUT_S = 1.0
SMALL_OCTETS = 64


def ping(arguments: argparse.Namespace) -> int:
    """Ask a peer through its tunnel; 0 if it answered at all."""
    report = ApiClient(run_dir(arguments) / SOCKET_NAME).status()
    peer = find_peer(report, arguments.peer)
    if not peer.addresses:
        raise UserError(f"{arguments.peer} has no address in the mesh yet", remedy="wait until its agent is ready")
    with Echo(peer.addresses[0]) as echo:
        if arguments.mtu:
            return _print_mtu(arguments, _measure(echo, report))
        return _print_times(arguments, peer.addresses[0], echo)


def _measure(echo: Echo, report: StatusReport) -> int | None:
    def passes(octets: int) -> bool:
        return any(echo.ask(octets, timeout_s=TIMEOUT_S) is not None for _ in range(TRIES))

    return largest(passes, at_most=report.agent.mtu or 0)


def _print_mtu(arguments: argparse.Namespace, octets: int | None) -> int:
    if arguments.json:
        print_json({"mtu": octets})
    elif octets is None:
        print(f"{arguments.peer} does not answer")
    else:
        print(f"packets of {octets} octets pass to {arguments.peer}: of larger ones the path or the device takes none")
    return NO_ANSWER_STATUS if octets is None else 0


def _print_times(arguments: argparse.Namespace, address: str, echo: Echo) -> int:
    times: list[float | None] = []
    for number in range(arguments.count):
        if number:
            time.sleep(max(0.0, arguments.interval - (times[-1] or TIMEOUT_S)))
        times.append(echo.ask(SMALL_OCTETS, timeout_s=TIMEOUT_S))
        if not arguments.json:
            last = times[-1]
            print(f"{address}: {'no answer' if last is None else round_trip(last * 1000)}", flush=True)
    if arguments.json:
        print_json({"address": address, "rtt_ms": [None if one is None else one * 1000 for one in times]})
    return 0 if any(one is not None for one in times) else NO_ANSWER_STATUS
