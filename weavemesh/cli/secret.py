"""`weavemesh secret`: makes a cluster secret, shows the fingerprint of one, exchanges it for another (rotate).

It never prints one that exists. What the steps of a rotation do is told in `weavemesh.trust`.
"""

import argparse
import os
from pathlib import Path

from weavemesh import trust
from weavemesh.api import SOCKET_NAME, ApiClient
from weavemesh.api.client import AgentNotRunning
from weavemesh.cli.output import print_json, print_sentences, run_dir
from weavemesh.error import UserError
from weavemesh.secret import DEFAULT_FILE, ClusterSecret


def secret(arguments: argparse.Namespace) -> int:
    """Print a new secret, or keep it in a file, or show a fingerprint, or take a step of a rotation."""
    if arguments.action == "rotate":
        return _rotate(arguments)
    if arguments.finish or arguments.forget:
        raise UserError("--finish and --forget are for 'secret rotate'", remedy="leave them away", exit_status=2)
    if arguments.action == "fingerprint":
        return _fingerprint(arguments)
    if arguments.secret_file is not None:
        raise UserError("--secret-file is for 'secret fingerprint'", remedy="use --write FILE", exit_status=2)
    new = ClusterSecret.generate()
    if arguments.write is None:
        if arguments.json:
            print_json({"secret": new.text()})
        else:
            print(new.text())
        return 0
    path = Path(arguments.write) if arguments.write else DEFAULT_FILE
    new.write(path, force=arguments.force)
    sentence = f"a new cluster secret is in {path} (fingerprint {new.fingerprint()}); copy that file to all hosts"
    print_sentences([sentence], as_json=arguments.json)
    return 0


def _rotate(arguments: argparse.Namespace) -> int:
    if arguments.write is not None or (arguments.finish and arguments.forget):
        raise UserError(
            "'secret rotate' takes --finish or --forget, and no --write",
            remedy="take one step at a time",
            exit_status=2,
        )
    given = arguments.secret_file or os.environ.get("WEAVEMESH_SECRET_FILE")
    path = Path(given) if given else DEFAULT_FILE
    if arguments.finish:
        sentences = [trust.finish_rotation(path)]
    elif arguments.forget:
        sentences = [trust.end_rotation(path)]
    else:
        sentences = [trust.begin_rotation(path)[0]]
    try:
        sentences += ApiClient(run_dir(arguments) / SOCKET_NAME).reload_secrets().sentences
    except AgentNotRunning:
        sentences.append("no agent runs here; the next one will go by this")
    print_sentences(sentences, as_json=arguments.json)
    return 0


def _fingerprint(arguments: argparse.Namespace) -> int:
    if arguments.write is not None:
        raise UserError("'secret fingerprint' writes nothing", remedy="leave --write away", exit_status=2)
    given = arguments.secret_file or os.environ.get("WEAVEMESH_SECRET_FILE")
    environment = dict(os.environ) if arguments.secret_file is None else {}
    path = Path(given) if given else DEFAULT_FILE
    fingerprint = ClusterSecret.load(path, environment=environment, force=True).fingerprint()
    if arguments.json:
        print_json({"fingerprint": fingerprint})
    else:
        print(fingerprint)
    return 0
