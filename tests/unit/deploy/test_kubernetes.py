"""What Kubernetes is given: made from one source, no right without a reason, each field known to the newest release."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

KUBERNETES = Path(__file__).resolve().parents[3] / "deploy" / "kubernetes"
PLAIN = KUBERNETES / "weavemesh.yaml"
UNINSTALL = KUBERNETES / "uninstall.yaml"


def objects(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text()))


def pods() -> Iterator[tuple[str, Any]]:
    """Name and pod specification of every DaemonSet."""
    for path in (PLAIN, UNINSTALL):
        for one in objects(path):
            if one["kind"] == "DaemonSet":
                yield one["metadata"]["name"], one["spec"]["template"]["spec"]


def containers() -> Iterator[tuple[str, Any]]:
    for name, pod in pods():
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            yield f"{name}/{container['name']}", container


PODS, CONTAINERS = dict(pods()), dict(containers())


def builder() -> ModuleType:
    specification = importlib.util.spec_from_file_location("build", KUBERNETES / "build.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_all_is_made_from_the_base() -> None:
    for path, content in builder().made().items():
        assert path.read_text() == content, f"{path.name}: run deploy/kubernetes/build.py"


def test_every_part_of_the_base_is_in_all_of_them() -> None:
    parts = builder().PARTS
    for folder in set(parts.values()):
        resources = yaml.safe_load((KUBERNETES / "base" / folder / "kustomization.yaml").read_text())["resources"]
        assert resources == [f"{part}.yaml" for part, home in parts.items() if home == folder]
    templates = KUBERNETES / "chart" / "weavemesh" / "templates"
    assert sorted(path.stem for path in templates.iterdir()) == sorted(parts)


def kubectl() -> str:
    """The program, as it is installed or as the tests on Kubernetes have built it."""
    built = Path(os.environ.get("WEAVEMESH_KUBE_BIN", Path.home() / ".cache" / "wm-kube" / "bin")) / "kubectl"
    program = shutil.which("kubectl") or (str(built) if built.exists() else None)
    if program is None:
        pytest.skip("there is no kubectl on this machine")
    return program


def kustomized(name: str) -> list[Any]:
    words = [kubectl(), "kustomize", str(KUBERNETES / name)]
    told = subprocess.run(words, capture_output=True, text=True, check=True, timeout=20)
    return in_order(yaml.safe_load_all(told.stdout))


def in_order(found: Any) -> list[Any]:
    return sorted(found, key=lambda one: (one["kind"], one["metadata"]["name"]))


def test_the_kustomize_base_is_the_plain_manifest() -> None:
    assert kustomized("base") == in_order(objects(PLAIN))


def test_without_the_holder_all_else_is_the_same_on_the_kernels_data_path() -> None:
    found = kustomized("overlays/kernel-wireguard-only")
    agents_env = CONTAINERS["weavemesh/agent"]["env"]
    assert [one["metadata"]["name"] for one in found if one["kind"] == "DaemonSet"] == ["weavemesh"]
    for one in found:
        if one["kind"] == "DaemonSet":
            env = one["spec"]["template"]["spec"]["containers"][0]["env"]
            (datapath,) = [entry for entry in env if entry["name"] == "WEAVEMESH_DATAPATH"]
            assert datapath["value"] == "kernel"
            datapath["value"] = "held"
            env.sort(key=lambda entry: [variable["name"] for variable in agents_env].index(entry["name"]))
    assert [one for one in in_order(objects(PLAIN)) if one["metadata"]["name"] != "weavemesh-wireguard"] == found


def test_an_overlay_adds_options_and_replaces_those_that_are_there() -> None:
    (agent,) = [
        one
        for one in kustomized("overlays/own-range")
        if one["kind"] == "DaemonSet" and one["metadata"]["name"] == "weavemesh"
    ]
    env = {entry["name"]: entry.get("value") for entry in agent["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert env["WEAVEMESH_IPALLOC_RANGE"] == "10.64.0.0/12"
    assert env["WEAVEMESH_METRICS_ADDR"] == "127.0.0.1:6782"
    assert env["WEAVEMESH_PROC_SYS"] == "/host/proc/sys"


@pytest.mark.parametrize("name", CONTAINERS)
def test_no_container_has_more_rights_than_these(name: str) -> None:
    rights = CONTAINERS[name]["securityContext"]
    assert rights["privileged"] is False
    assert rights["allowPrivilegeEscalation"] is False
    assert rights["readOnlyRootFilesystem"] is True
    assert rights["capabilities"]["drop"] == ["ALL"]
    agents = ["NET_ADMIN", "NET_RAW", "SYS_ADMIN"]
    assert rights["capabilities"]["add"] == (agents if name == "weavemesh/agent" else ["NET_ADMIN"])


@pytest.mark.parametrize("name", PODS)
def test_a_pod_runs_on_every_node_and_before_all_others(name: str) -> None:
    pod = PODS[name]
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert pod["priorityClassName"] == "system-node-critical"
    assert pod["hostNetwork"] is True
    assert not {"hostPID", "hostIPC"} & set(pod)


@pytest.mark.parametrize("name", PODS)
def test_every_mount_has_its_volume_and_every_volume_its_mount(name: str) -> None:
    pod = PODS[name]
    mounted = {
        mount["name"]
        for container in (*pod.get("initContainers", ()), *pod["containers"])
        for mount in container["volumeMounts"]
    }
    assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_every_right_and_every_mount_of_the_daemonsets_has_its_reason_before_it() -> None:
    for part in ("agent", "wireguard"):
        text = (KUBERNETES / "base" / part / f"{part}.yaml").read_text()
        found = re.findall(r"(.*)\n +- (name: .+\n +mountPath: .+|[A-Z_]+)\n", text)
        assert len(found) > 2
        for before, right in found:
            assert before.strip().startswith("#"), f"{part}: {right}"


def test_the_secret_is_needed_and_for_its_owner_alone() -> None:
    (secret,) = [volume["secret"] for volume in PODS["weavemesh"]["volumes"] if "secret" in volume]
    assert secret["secretName"] == "weavemesh"
    assert secret["defaultMode"] == 0o400
    assert "optional" not in secret


def test_the_agents_are_replaced_one_by_one_and_the_holders_when_one_says_so() -> None:
    strategies = {one["metadata"]["name"]: one["spec"]["updateStrategy"] for one in objects(PLAIN) if "spec" in one}
    assert strategies == {
        "weavemesh": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
        "weavemesh-wireguard": {"type": "OnDelete"},
    }


def test_the_pod_security_levels_admit_them() -> None:
    (namespace,) = [one for one in objects(PLAIN) if one["kind"] == "Namespace"]
    levels = {name: value for name, value in namespace["metadata"]["labels"].items() if "pod-security" in name}
    assert levels == {f"pod-security.kubernetes.io/{mode}": "privileged" for mode in ("enforce", "audit", "warn")}


def test_every_selector_selects_its_own_pods_and_no_others() -> None:
    sets = [one for path in (PLAIN, UNINSTALL) for one in objects(path) if one["kind"] == "DaemonSet"]
    selectors = [one["spec"]["selector"]["matchLabels"] for one in sets]
    assert len({tuple(selector.items()) for selector in selectors}) == len(sets)
    for one, selector in zip(sets, selectors, strict=True):
        assert one["spec"]["template"]["metadata"]["labels"] == selector


@pytest.mark.parametrize("path", [PLAIN, UNINSTALL], ids=lambda path: path.name)
def test_the_newest_release_knows_every_field(path: Path) -> None:
    """By the models of the official client. For 1.20, the tests on Kubernetes apply it."""
    for one in objects(path):
        assert known(one) == one


def test_a_field_that_it_does_not_know_is_noticed() -> None:
    one = objects(PLAIN)[0]
    one["metadata"]["lables"] = {}
    assert known(one) != one


def known(one: Any) -> Any:
    """What the client's model of its kind keeps of an object."""
    from kubernetes import client

    model = getattr(client, f"V1{one['kind']}")
    serializer: Any = client.ApiClient()
    return serializer.sanitize_for_serialization(model.from_dict(one))
