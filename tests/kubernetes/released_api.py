"""The API of a release of Kubernetes, as its official client describes it: which objects there are, with which fields.

The client of each release is made from the description of the API that the servers of that release publish. Nothing of
it is run: the tables in its wheel are read.
"""

import ast
import re
import subprocess
import sys
import tempfile
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

from tests.kubernetes.folder import HERE, clients_folder

_PACKAGE = "kubernetes/client/"


def releases() -> dict[str, str]:
    """By release ("1.31"): the line that pins its client, with its hash."""
    lines = [line for line in (HERE / "clients.txt").read_text().splitlines() if not line.startswith("#")]
    found = {}
    for line in lines:
        match = re.match(r"kubernetes==(\d+)\.", line)
        assert match is not None, line
        found[f"1.{match[1]}"] = line
    return found


class ReleasedApi:
    """The API of one release."""

    def __init__(self, release: str) -> None:
        self._wheel = zipfile.ZipFile(_client(releases()[release]))

    def has_path(self, path: str) -> bool:
        """Whether servers of that release have it; parts in braces stand for names, as in `/api/v1/nodes/{name}`."""
        return path in self._paths()

    def unknown_fields(self, document: Any) -> list[str]:
        """Fields of an object, as `spec.template.…`, that this release has not."""
        *_, version = document["apiVersion"].split("/")
        return self._unknown(document, f"{version.capitalize()}{document['kind']}", document["kind"])

    def _unknown(self, value: Any, kind: str, where: str) -> list[str]:
        if listed := re.fullmatch(r"list\[(.+)\]", kind):
            return [one for item in value for one in self._unknown(item, listed[1], where)]
        if not kind.startswith("V"):
            return []  # a text, a number, a dictionary of the user's own
        fields = self._fields(kind)
        if fields is None:
            return [f"{where}: there is no {kind}"]
        found = []
        for name, item in value.items():
            if name not in fields:
                found.append(f"{where}.{name}")
            else:
                found += self._unknown(item, fields[name], f"{where}.{name}")
        return found

    @cache  # noqa: B019 - as long as the tests of one release
    def _fields(self, kind: str) -> dict[str, str] | None:
        """The kinds of the fields of an object, by their names in JSON."""
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", kind).lower()
        try:
            source = self._wheel.read(f"{_PACKAGE}models/{name}.py")
        except KeyError:
            return None
        tables = {
            target.id: ast.literal_eval(node.value)
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
            for target in node.targets
            if isinstance(target, ast.Name) and target.id in ("openapi_types", "attribute_map")
        }
        return {tables["attribute_map"][name]: kind for name, kind in tables["openapi_types"].items()}

    @cache  # noqa: B019 - as long as the tests of one release
    def _paths(self) -> frozenset[str]:
        names = [name for name in self._wheel.namelist() if re.fullmatch(_PACKAGE + r"api/\w+_api\.py", name)]
        texts = [self._wheel.read(name).decode() for name in names]
        return frozenset(path for text in texts for path in re.findall(r"['\"](/apis?/[^'\"]+)['\"]", text))


def _client(pinned: str) -> Path:
    """The wheel of that line; kept for the next time."""
    folder = clients_folder()
    kept = folder / f"{pinned.rpartition(':')[2]}.whl"
    if not kept.exists():
        with tempfile.TemporaryDirectory(dir=folder) as fresh:
            line = Path(fresh) / "line.txt"
            line.write_text(pinned + "\n")
            words = ["download", "-q", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--dest", fresh]
            subprocess.run([sys.executable, "-m", "pip", *words, "-r", str(line)], check=True)
            next(Path(fresh).glob("*.whl")).rename(kept)
    return kept
