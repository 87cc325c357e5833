"""The manifest of the DaemonSets with other values: namespace, image, options of the agent, the cluster secret. Pure.

It works on the text, so that the comments stay, which justify each right; where the places are is known from the plain
manifest `deploy/kubernetes/weavemesh.yaml`, and a place that is missing is our bug. That the values are good ones is
checked by `weavemesh.cli.manifest`.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Final

NAMESPACE: Final = "weavemesh"
"""In the plain manifest."""

_NAMESPACE_LINE: Final = re.compile(rf"^( *namespace: ){NAMESPACE}$", re.MULTILINE)
_NAMESPACE_OBJECT: Final = re.compile(rf"(kind: Namespace\nmetadata:\n  name: ){NAMESPACE}$", re.MULTILINE)
_COMMAND: Final = f"kubectl -n {NAMESPACE} "
_IMAGE_LINE: Final = re.compile(r"^( *image: ).+$", re.MULTILINE)
_OPTIONS_LINE: Final = re.compile(r"^( *)# Options of `weavemesh up`.*\n", re.MULTILINE)
_SEPARATOR: Final = "---\n"


def render(
    plain: str,
    *,
    namespace: str = NAMESPACE,
    image: str | None = None,
    variables: Mapping[str, str] | None = None,
    secret: str | None = None,
) -> str:
    """The manifest with these values in the place of its own; without any, as it is.

    `variables` are of the agent's container, and replace those of the same name; `secret` is the cluster secret, as a
    Secret object behind the Namespace.
    """
    text = plain
    for name, value in (variables or {}).items():
        text = _with_variable(text, name, value)
    if image is not None:
        text = _replaced(_IMAGE_LINE, text, lambda match: f"{match[1]}{json.dumps(image)}")
    if secret is not None:
        text = _with_secret(text, secret)
    if namespace != NAMESPACE:
        text = _replaced(_NAMESPACE_LINE, text, lambda match: f"{match[1]}{json.dumps(namespace)}")
        text = _replaced(_NAMESPACE_OBJECT, text, lambda match: f"{match[1]}{json.dumps(namespace)}")
        text = text.replace(_COMMAND, f"kubectl -n {namespace} ")
    return text


def _with_variable(text: str, name: str, value: str) -> str:
    present = re.compile(rf"(- name: {re.escape(name)}\n +value: ).+$", re.MULTILINE)
    if present.search(text):
        return _replaced(present, text, lambda match: f"{match[1]}{json.dumps(value)}")
    return _replaced(
        _OPTIONS_LINE,
        text,
        lambda match: f"{match[0]}{match[1]}- name: {name}\n{match[1]}  value: {json.dumps(value)}\n",
    )


def _with_secret(text: str, secret: str) -> str:
    head, namespace, rest = text.split(_SEPARATOR, 2)
    written = (
        f"apiVersion: v1\nkind: Secret\nmetadata:\n  name: weavemesh\n  namespace: {NAMESPACE}\n"
        "  labels:\n    app.kubernetes.io/name: weavemesh\n"
        f"type: Opaque\nstringData:\n  secret: {json.dumps(secret)}\n"
    )
    return _SEPARATOR.join((head, namespace, written, rest))


def _replaced(pattern: re.Pattern[str], text: str, new: Callable[[re.Match[str]], str]) -> str:
    replaced, count = pattern.subn(new, text)
    assert count > 0, f"the plain manifest has no {pattern.pattern!r}"
    return replaced
