"""The manifest with other values is the same manifest but for these."""

from pathlib import Path

import pytest
import yaml

from weavemesh.manifest import render

PLAIN = (Path(__file__).resolve().parents[3] / "deploy" / "kubernetes" / "weavemesh.yaml").read_text()


def variables_of(text: str) -> dict[str, str]:
    """Of the agent's container: those with a value."""
    (agent,) = [
        one for one in yaml.safe_load_all(text) if one["kind"] == "DaemonSet" and one["metadata"]["name"] == "weavemesh"
    ]
    entries = agent["spec"]["template"]["spec"]["containers"][0]["env"]
    assert len({entry["name"] for entry in entries}) == len(entries)
    return {entry["name"]: entry["value"] for entry in entries if "value" in entry}


def test_without_values_it_is_the_plain_one() -> None:
    assert render(PLAIN) == PLAIN


def test_options_become_variables_beside_those_that_are_there() -> None:
    before = variables_of(PLAIN)
    after = variables_of(render(PLAIN, variables={"WEAVEMESH_MTU": "1400", "WEAVEMESH_IPALLOC_RANGE": "10.64.0.0/12"}))
    assert after == before | {"WEAVEMESH_MTU": "1400", "WEAVEMESH_IPALLOC_RANGE": "10.64.0.0/12"}


def test_a_variable_that_is_there_is_replaced() -> None:
    after = variables_of(render(PLAIN, variables={"WEAVEMESH_METRICS_ADDR": "none"}))
    assert after == variables_of(PLAIN) | {"WEAVEMESH_METRICS_ADDR": "none"}


def test_the_namespace_is_changed_in_every_object_and_nowhere_else() -> None:
    plain, other = list(yaml.safe_load_all(PLAIN)), list(yaml.safe_load_all(render(PLAIN, namespace="net")))
    for before, after in zip(plain, other, strict=True):
        if before["kind"] == "Namespace":
            before["metadata"]["name"] = "net"
        if "namespace" in before["metadata"]:
            before["metadata"]["namespace"] = "net"
        for subject in before.get("subjects", ()):
            subject["namespace"] = "net"
        assert after == before


def test_the_image_is_changed_in_all_containers() -> None:
    images = [
        container["image"]
        for one in yaml.safe_load_all(render(PLAIN, image="registry.example:5000/weavemesh@sha256:0123"))
        if one["kind"] == "DaemonSet"
        for container in one["spec"]["template"]["spec"]["containers"]
    ]
    assert images == ["registry.example:5000/weavemesh@sha256:0123"] * 2


@pytest.mark.parametrize("secret", ["wm1-abc", '"quoted" \\ and: {odd} # characters é'])
def test_the_secret_comes_behind_its_namespace_and_is_what_was_given(secret: str) -> None:
    objects = list(yaml.safe_load_all(render(PLAIN, namespace="net", secret=secret)))
    assert [one["kind"] for one in objects[:2]] == ["Namespace", "Secret"]
    assert objects[1]["metadata"]["namespace"] == "net"
    assert objects[1]["stringData"] == {"secret": secret}
    assert len(objects) == len(list(yaml.safe_load_all(PLAIN))) + 1


def test_the_reasons_stay() -> None:
    changed = render(PLAIN, namespace="net", image="x", variables={"WEAVEMESH_MTU": "1400"}, secret="s")
    comments = [line for line in PLAIN.splitlines() if line.strip().startswith("#") and "kubectl" not in line]
    assert [line for line in comments if line not in changed] == []
