"""`weavemesh rotate-key`: a new WireGuard key for this host."""

import argparse

from weavemesh.api import SOCKET_NAME, ApiClient
from weavemesh.cli.output import print_sentences, run_dir


def rotate_key(arguments: argparse.Namespace) -> int:
    """Have the agent make one and tell the mesh; each call makes another."""
    changed = ApiClient(run_dir(arguments) / SOCKET_NAME).rotate_key()
    print_sentences(changed.sentences, as_json=arguments.json)
    return 0
