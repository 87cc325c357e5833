"""The charter is read from a ConfigMap and written as one; one that says nothing is none."""

import json

import msgspec
import pytest

from weavemesh.kube.charter import Charter, ConfigMap, written


def test_what_is_written_is_read_again() -> None:
    content = written(founder="abc", node="n1", namespace="weavemesh", version="7")
    assert content["metadata"] == {"name": "weavemesh", "namespace": "weavemesh", "resourceVersion": "7"}
    content["metadata"] = {**content["metadata"], "uid": "u1"}
    read = msgspec.json.decode(json.dumps(content), type=ConfigMap).charter()
    assert read == Charter(founder="abc", node="n1", cluster="u1", version="7")


def test_a_new_one_names_no_version() -> None:
    assert written(founder="abc", node="n1", namespace="x")["metadata"] == {"name": "weavemesh", "namespace": "x"}


@pytest.mark.parametrize("data", ["null", "{}", '{"founder": "a"}', '{"node": "n1"}', '{"founder": "", "node": "n1"}'])
def test_one_that_says_nothing_is_none(data: str) -> None:
    content = f'{{"metadata": {{"uid": "u", "resourceVersion": "1"}}, "data": {data}}}'
    assert msgspec.json.decode(content, type=ConfigMap).charter() is None
