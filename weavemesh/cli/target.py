"""`weavemesh connect` and `weavemesh forget`: the hosts that the running agent dials."""

import argparse

from weavemesh.api import SOCKET_NAME, ApiClient, ConnectRequest, ForgetRequest
from weavemesh.cli.output import print_sentences, run_dir
from weavemesh.config import parse_target


def connect(arguments: argparse.Namespace) -> int:
    """Tell the agent of these hosts; saying it again changes nothing."""
    client = ApiClient(run_dir(arguments) / SOCKET_NAME)
    targets = written(arguments.targets, client)
    changed = client.connect(ConnectRequest(targets=targets, replace=arguments.replace))
    print_sentences(changed.sentences or (f"already dialling {', '.join(targets)}",), as_json=arguments.json)
    return 0


def forget(arguments: argparse.Namespace) -> int:
    """Take these hosts away; one that was not given is no error."""
    client = ApiClient(run_dir(arguments) / SOCKET_NAME)
    targets = written(arguments.targets, client)
    changed = client.forget(ForgetRequest(targets=targets))
    print_sentences(changed.sentences or (f"{', '.join(targets)}: not dialled anyway",), as_json=arguments.json)
    return 0


def written(targets: list[str], client: ApiClient) -> tuple[str, ...]:
    """The hosts as the agent writes them. Where no port is given, theirs is that of the agent itself."""
    for text in targets:
        parse_target(text, default_port=1)  # a typo is told before anybody is asked
    port = client.status().agent.port
    return tuple(dict.fromkeys(parse_target(text, default_port=port) for text in targets))
