"""`weavemesh rmpeer` and `weavemesh ipam`: orders and questions to the address ring, through the running agent."""

import argparse
from ipaddress import IPv4Address, IPv4Network

from weavemesh.api import SOCKET_NAME, ApiClient
from weavemesh.api.message import Changed
from weavemesh.api.ring import (
    AllocateRequest,
    ClaimRequest,
    ClearRequest,
    Holder,
    LookupRequest,
    ReleaseRequest,
    RemoveRequest,
)
from weavemesh.cli.output import print_json, print_sentences, run_dir
from weavemesh.error import UserError


def rmpeer(arguments: argparse.Namespace) -> int:
    """Remove a peer for ever, and tell what becomes of its addresses."""
    client = ApiClient(run_dir(arguments) / SOCKET_NAME)
    changed = client.remove(RemoveRequest(peer=arguments.peer, force=arguments.force))
    print_sentences(changed.sentences, as_json=arguments.json)
    return 0


def ipam(arguments: argparse.Namespace) -> int:
    """One of the actions; an address that was given or found is printed alone on its line, for scripts."""
    _check(arguments)
    answer = _answer(ApiClient(run_dir(arguments) / SOCKET_NAME), arguments)
    if isinstance(answer, Changed):
        print_sentences(answer.sentences, as_json=arguments.json)
    elif arguments.json:
        print_json(answer)
    elif arguments.action == "lookup" and answer.address == arguments.subject:
        print(answer.sentence)
    else:
        print(answer.address)
    return 0


def _answer(client: ApiClient, arguments: argparse.Namespace) -> Holder | Changed:
    subject: str = arguments.subject
    match arguments.action:
        case "lookup":
            return client.lookup(LookupRequest(subject=subject))
        case "allocate":
            return client.allocate(AllocateRequest(ident=subject))
        case "claim":
            return client.claim(ClaimRequest(ident=subject, address=arguments.address))
        case "release":
            return client.release(ReleaseRequest(ident=subject))
        case _:
            return client.clear(ClearRequest(range=subject))


def _check(arguments: argparse.Namespace) -> None:
    """What is wrong whatever the agent knows."""
    if (arguments.action == "claim") != (arguments.address is not None):
        wanted = "an ident and an address" if arguments.action == "claim" else "one word"
        raise UserError(
            f"`weavemesh ipam {arguments.action}` takes {wanted}", remedy="see `weavemesh ipam --help`", exit_status=2
        )
    try:
        if arguments.action == "claim":
            IPv4Address(arguments.address)
        elif arguments.action == "clear":
            IPv4Network(arguments.subject)
    except ValueError as error:
        raise UserError(
            str(error), remedy="write an address like 10.32.0.7, a range like 10.32.0.0/24", exit_status=2
        ) from error
