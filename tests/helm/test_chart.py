"""The Helm chart, rendered by Helm's own code: with its defaults it is the plain manifest. `make test-helm`"""

from pathlib import Path
from typing import Any

import pytest
import yaml

helm = pytest.importorskip("helm_python.chart", reason="Helm's code is not installed: make test-helm installs it")

KUBERNETES = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"
CHART = KUBERNETES / "chart" / "weavemesh"


def rendered(**values: object) -> list[Any]:
    with helm.Chart.load(CHART) as chart:
        texts = chart.render(values=values, name="weavemesh")
    return in_order(one for text in texts.values() for one in yaml.safe_load_all(text) if one)


def in_order(objects: Any) -> list[Any]:
    return sorted(objects, key=lambda one: (one["kind"], one["metadata"]["name"]))


def plain() -> list[Any]:
    return in_order(yaml.safe_load_all((KUBERNETES / "weavemesh.yaml").read_text()))


def agent(objects: list[Any]) -> Any:
    (found,) = [one for one in objects if (one["kind"], one["metadata"]["name"]) == ("DaemonSet", "weavemesh")]
    return found["spec"]["template"]["spec"]["containers"][0]


def test_with_its_defaults_the_chart_is_the_plain_manifest() -> None:
    assert rendered() == plain()


def test_helm_finds_nothing_wrong_with_it() -> None:
    assert [message for message in helm.lint(CHART)["messages"] if message["severity"] > 1] == []


def test_options_become_the_agents_variables() -> None:
    options = {"ipalloc-range": "10.64.0.0/12", "mtu": 1400, "no-relay": True}
    env = {one["name"]: one.get("value") for one in agent(rendered(options=options, metricsAddr="none"))["env"]}
    assert env["WEAVEMESH_IPALLOC_RANGE"] == "10.64.0.0/12"
    assert env["WEAVEMESH_MTU"] == "1400"
    assert env["WEAVEMESH_NO_RELAY"] == "true"
    assert env["WEAVEMESH_METRICS_ADDR"] == "none"


def test_what_is_left_out_is_left_out_and_all_else_stays() -> None:
    left = rendered(createNamespace=False, wireguard={"enabled": False})
    without = [("Namespace", "weavemesh"), ("DaemonSet", "weavemesh-wireguard")]
    assert left == [one for one in plain() if (one["kind"], one["metadata"]["name"]) not in without]


def test_namespace_image_and_resources_are_values() -> None:
    resources = {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}}
    objects = rendered(namespace="net", image="x:1", agent={"resources": resources})
    assert {one["metadata"].get("namespace", "net") for one in objects} == {"net"}
    assert agent(objects)["image"] == "x:1"
    assert agent(objects)["resources"]["limits"] == resources["limits"]
