"""What becomes of the variables of Weave Net's DaemonSet."""

import doctest

import pytest

from weavemesh import weavenet
from weavemesh.option import environment_options
from weavemesh.weavenet import IGNORED, translate

ALL = [
    "IPALLOC_RANGE",
    "WEAVE_PASSWORD",
    "WEAVE_MTU",
    "KUBE_PEERS",
    "IPALLOC_INIT",
    "CONN_LIMIT",
    "NO_MASQ_LOCAL",
    "EXPECT_NPC",
    "HAIRPIN_MODE",
    "WEAVE_EXPOSE_IP",
    "WEAVE_METRICS_ADDR",
    "WEAVE_STATUS_ADDR",
    "WEAVE_HTTP_ADDR",
    "WEAVE_NO_FASTDP",
    "IPTABLES_BACKEND",
    "CHECKPOINT_DISABLE",
    "EXTRA_ARGS",
    "DB_PREFIX",
]


def test_the_examples_hold() -> None:
    assert doctest.testmod(weavenet).failed == 0


@pytest.mark.parametrize("name", ALL)
def test_of_every_variable_one_is_told(name: str) -> None:
    _, sentences = translate({name: "7"})
    assert len(sentences) == 1
    assert sentences[0].startswith(f"{name} (of Weave Net): ")


def test_there_is_nothing_to_say_where_nothing_is_set() -> None:
    assert translate({"PATH": "/bin", "IPALLOC_RANGE": " ", "WEAVEMESH_MTU": "1400"}) == ({}, ())


def test_what_means_the_same_becomes_an_option() -> None:
    variables, _ = translate(
        {
            "IPALLOC_RANGE": "10.64.0.0/12",
            "WEAVE_MTU": "1376",
            "KUBE_PEERS": "host1  host2",
            "IPALLOC_INIT": "observer",
            "WEAVE_METRICS_ADDR": ":6782",
        }
    )
    options = environment_options(variables)
    assert options.given() == {
        "targets": ("host1", "host2"),
        "ipalloc_range": "10.64.0.0/12",
        "observer": True,
        "mtu": "1376",
        "metrics_addr": "0.0.0.0:6782",
    }


def test_ours_wins_and_one_is_told_of_it() -> None:
    variables, sentences = translate({"WEAVE_MTU": "1376", "WEAVEMESH_MTU": "1400"})
    assert variables == {}
    assert sentences == ("WEAVE_MTU (of Weave Net): ignored, because WEAVEMESH_MTU says something else",)
    assert translate({"WEAVE_MTU": "1400", "WEAVEMESH_MTU": "1400"}) == ({}, ())


def test_the_password_is_told_to_nobody() -> None:
    variables, sentences = translate({"WEAVE_PASSWORD": "hunter2"})
    assert "hunter2" not in f"{variables}{sentences}"
    assert "Secret `weavemesh`" in sentences[0]


@pytest.mark.parametrize("name", IGNORED)
def test_what_is_ignored_changes_nothing(name: str) -> None:
    assert translate({name: "7"})[0] == {}
