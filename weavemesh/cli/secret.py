"""`weavemesh secret`: makes a cluster secret or shows the fingerprint of one. It never prints one that exists."""

import argparse
import os
from pathlib import Path

from weavemesh.cli.output import print_json, print_sentences
from weavemesh.error import UserError
from weavemesh.secret import DEFAULT_FILE, ClusterSecret


def secret(arguments: argparse.Namespace) -> int:
    """Print a new secret, or keep it in a file, or show a fingerprint."""
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
