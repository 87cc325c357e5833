"""What is asked of Kubernetes is there in each release that is claimed; a field that is not would be seen."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kubernetes.product import MANIFESTS
from tests.kubernetes.released_api import ReleasedApi, releases

CLAIMED = ["1.20", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36"]
PATHS = [
    # of weavemesh/kube/cluster.py
    "/api/v1/nodes",
    "/api/v1/nodes/{name}",
    "/api/v1/nodes/{name}/status",
    "/api/v1/namespaces/{namespace}/configmaps",
    "/api/v1/namespaces/{namespace}/configmaps/{name}",
    # of the manifests
    "/apis/apps/v1/namespaces/{namespace}/daemonsets",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
]


@pytest.fixture(scope="module", params=CLAIMED)
def api(request: pytest.FixtureRequest) -> ReleasedApi:
    return ReleasedApi(request.param)


def documents() -> list[Any]:
    texts = [(MANIFESTS / name).read_text() for name in ("weavemesh.yaml", "uninstall.yaml")]
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


def test_all_claimed_releases_are_looked_at() -> None:
    assert list(releases()) == CLAIMED


@pytest.mark.timeout(120)
def test_the_manifests_use_no_field_that_the_release_lacks(api: ReleasedApi) -> None:
    assert len(documents()) > 8
    assert [unknown for document in documents() for unknown in api.unknown_fields(document)] == []


@pytest.mark.timeout(120)
def test_the_paths_are_there(api: ReleasedApi) -> None:
    assert [path for path in PATHS if not api.has_path(path)] == []
    assert not api.has_path("/apis/apps/v1/namespaces/{namespace}/daemonset")


def test_a_field_that_is_not_there_is_named(api: ReleasedApi) -> None:
    (agent,) = [
        copy.deepcopy(document)
        for document in documents()
        if document["kind"] == "DaemonSet" and document["metadata"]["name"] == "weavemesh"
    ]
    container = agent["spec"]["template"]["spec"]["containers"][0]
    container["securityContext"]["privilegd"] = True
    container["startupProbe"]["exec"]["comand"] = []
    assert sorted(api.unknown_fields(agent)) == [
        "DaemonSet.spec.template.spec.containers.securityContext.privilegd",
        "DaemonSet.spec.template.spec.containers.startupProbe.exec.comand",
    ]


def test_a_field_of_a_later_release_is_seen() -> None:
    """Native sidecars came after 1.20."""
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "one", "restartPolicy": "Always"}]}}
    assert ReleasedApi("1.20").unknown_fields(pod) == ["Pod.spec.containers.restartPolicy"]
    assert ReleasedApi("1.31").unknown_fields(pod) == []


def test_the_pins_are_names_versions_and_hashes() -> None:
    text = (Path(__file__).parent / "clients.txt").read_text()
    assert "://" not in text
