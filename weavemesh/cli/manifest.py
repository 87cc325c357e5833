"""`weavemesh manifest`: prints the manifest of the DaemonSets for `kubectl apply -f -`, with the options given.

The options are those of `weavemesh up` and are checked as there; the text is `weavemesh.manifest`'s. The cluster secret
comes from a file or from standard input, never as an argument, which every user of the machine could read.
"""

import argparse
import re
import sys
from pathlib import Path
from typing import Final

from msgspec.structs import replace

import weavemesh
from weavemesh.config import check
from weavemesh.error import UserError
from weavemesh.manifest import render
from weavemesh.option import Options, variable
from weavemesh.secret import ClusterSecret

PACKAGE: Final = Path(weavemesh.__file__).parent
MANIFESTS: Final = (
    PACKAGE / "share" / "weavemesh.yaml",
    PACKAGE.parent / "deploy" / "kubernetes" / "weavemesh.yaml",
)
"""In an installed wheel; in a source folder."""

OPTIONS: Final = (
    "ipalloc_range",
    "ipalloc_default_subnet",
    "port",
    "mtu",
    "rotate_key_every",
    "metrics_addr",
    "log_level",
    "no_masquerade",
    "no_relay",
)
"""Those of `weavemesh up` that are the same on all nodes and that the manifest's other parts do not depend on."""

_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""RFC 1123, §2.1, as Kubernetes has names of namespaces."""
_IMAGE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,511}")
_STDIN_CHARACTERS_MAX: Final = 8192


def manifest(arguments: argparse.Namespace) -> int:
    """Print it."""
    given = Options(**{name: getattr(arguments, name) for name in OPTIONS})
    # Nodes have names of their own; that of this machine is not to be checked.
    node = replace(given, nickname="node")
    check(node, state_dir=Path("/var/lib/weavemesh"), run_dir=Path("/run/weavemesh"), environment={})
    variables = {variable(name): value if isinstance(value, str) else "yes" for name, value in given.given().items()}
    secret = None
    if arguments.encryption_secret is not None:
        secret = _secret(arguments.encryption_secret, force=arguments.force_weak_secret).text()
        if arguments.force_weak_secret:
            variables[variable("force_weak_secret")] = "yes"
    text = render(
        _plain(),
        namespace=_checked(arguments.namespace, _LABEL, "--namespace", "a name of a namespace"),
        image=None if arguments.image is None else _checked(arguments.image, _IMAGE, "--image", "a name of an image"),
        variables=variables,
        secret=secret,
    )
    sys.stdout.write(text)
    return 0


def _secret(place: str, *, force: bool) -> ClusterSecret:
    if place == "-":
        return ClusterSecret.parse(sys.stdin.read(_STDIN_CHARACTERS_MAX), force=force)
    return ClusterSecret.load(Path(place), environment={}, force=force)


def _checked(given: str, form: re.Pattern[str], option: str, what: str) -> str:
    if not form.fullmatch(given):
        raise UserError(f"{option}: {given!r} is not {what}", remedy="choose another one", exit_status=2)
    return given


def _plain() -> str:
    for path in MANIFESTS:
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise UserError("this installation holds no manifest", remedy="install weavemesh anew from its wheel")
