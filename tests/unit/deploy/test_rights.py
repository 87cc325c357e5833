"""The rights of the agents in the API server: each is used, and what they use is granted."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import yaml

from weavemesh.kube.charter import Charter
from weavemesh.kube.cluster import Cluster

PLAIN = Path(__file__).resolve().parents[3] / "deploy" / "kubernetes" / "weavemesh.yaml"
METHODS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}

Right = tuple[str, str, str, str]
"""Namespace ("" for the cluster), resource, name ("" for any), verb."""


def granted() -> set[Right]:
    """By the roles; all of them are bound to the agents' account."""
    return {
        (one["metadata"].get("namespace", ""), resource, name, verb)
        for one in yaml.safe_load_all(PLAIN.read_text())
        if one["kind"] in ("Role", "ClusterRole")
        for rule in one["rules"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
        for verb in rule["verbs"]
        if rule["apiGroups"] == [""]
    }


class Recorder:
    """The client of the official library, as far as it is used; notes which right each call needs."""

    def __init__(self) -> None:
        self.used: list[Right] = []

    def param_serialize(self, method: str, path: str, **_: object) -> tuple[str, str]:
        return method, path

    def call_api(self, method: str, path: str, **_: object) -> Any:
        place, _mark, query = path.partition("?")
        _root, _api, _v1, *parts = place.split("/")
        namespace = parts[1] if parts[0] == "namespaces" else ""
        resource, *rest = parts[2:] if namespace else parts
        verb = METHODS.get(method) or ("watch" if "watch=1" in query else "get" if rest else "list")
        self.used.append((namespace, "/".join([resource, *rest[1:]]), rest[0] if rest and namespace else "", verb))
        return SimpleNamespace(status=200, read=lambda: msgspec.json.encode(ANSWER), response=NoStream())


class NoStream:
    """A watch in which nothing happens."""

    def stream(self, **_: object) -> Iterator[bytes]:
        return iter(())

    def close(self) -> None:
        """Nothing is open."""


ANSWER = {
    "metadata": {"name": "weavemesh", "uid": "u", "resourceVersion": "1"},
    "items": [],
    "data": {"founder": "f", "node": "n"},
}


def used() -> set[Right]:
    """By every method of the only module that speaks with the API server."""
    recorder = Recorder()
    cluster = Cluster(cast("Any", recorder))
    charter = Charter(founder="f", node="n", cluster="u", version="1")
    calls: dict[str, Callable[[], object]] = {
        "nodes": lambda: cluster.nodes(),
        "watch": lambda: list(cluster.watch("1")),
        "charter": lambda: cluster.charter("weavemesh"),
        "found": lambda: cluster.found(founder="f", node="n", namespace="weavemesh"),
        "found_anew": lambda: cluster.found_anew(charter, founder="f", node="n", namespace="weavemesh"),
        "annotate": lambda: cluster.annotate("n", {"weavemesh.io/peer": "p"}),
        "network_is_available": lambda: cluster.network_is_available("n"),
    }
    public = {name for name in vars(Cluster) if not name.startswith("_")}
    assert public - {"of_this_pod", "close"} == set(calls), "a method is missing here"
    for call in calls.values():
        call()
    return set(recorder.used)


def test_the_agents_have_the_rights_that_they_use_and_no_others() -> None:
    assert granted() == used()


def test_nobody_else_has_them() -> None:
    for one in yaml.safe_load_all(PLAIN.read_text()):
        if one["kind"] in ("RoleBinding", "ClusterRoleBinding"):
            assert one["subjects"] == [{"kind": "ServiceAccount", "name": "weavemesh", "namespace": "weavemesh"}]
            assert one["roleRef"]["name"] == "weavemesh"
