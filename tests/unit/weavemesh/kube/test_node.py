"""Node objects are read as the API server sends them, whatever else is in them."""

import msgspec
import pytest

from tests.unit.weavemesh.kube.cluster_twin import node
from weavemesh.kube.node import ENDPOINT, PEER, NodeEvent, NodeList

LIST = b"""{"kind": "NodeList", "apiVersion": "v1", "metadata": {"resourceVersion": "364", "remainingItemCount": 3},
"items": [{"metadata": {"name": "n1", "uid": "u1", "labels": {"a": "b"}, "annotations": {"weavemesh.io/peer": "abc"}},
"spec": {"taints": []}, "status": {"capacity": {"cpu": "2"}, "addresses": [
{"type": "Hostname", "address": "n1"}, {"type": "ExternalIP", "address": "198.51.100.7"},
{"type": "InternalIP", "address": "10.0.0.7"}, {"type": "InternalIP", "address": "fd00::7"}]}},
{"metadata": {"name": "n2"}}]}"""


def test_a_list_is_read_with_the_fields_that_matter() -> None:
    nodes = msgspec.json.decode(LIST, type=NodeList)
    assert nodes.metadata.resource_version == "364"
    first, second = nodes.items
    assert (first.name, first.annotation(PEER)) == ("n1", "abc")
    assert first.endpoints() == ("10.0.0.7", "fd00::7", "198.51.100.7")
    assert first.advertised() == ("198.51.100.7",)
    assert (second.endpoints(), second.advertised(), second.annotation(PEER)) == ((), (), None)


@pytest.mark.parametrize("written", ["203.0.113.1:7000, [2001:db8::1]:7000", "203.0.113.1:7000 [2001:db8::1]:7000"])
def test_what_people_wrote_takes_the_place_of_all_addresses(written: str) -> None:
    one = node("n1", "10.0.0.7", external=("198.51.100.7",), annotations={ENDPOINT: written})
    assert one.endpoints() == one.advertised() == ("203.0.113.1:7000", "[2001:db8::1]:7000")


def test_an_empty_annotation_says_nothing() -> None:
    assert node("n1", "10.0.0.7", annotations={ENDPOINT: "", PEER: ""}).endpoints() == ("10.0.0.7",)


def test_an_event_that_is_an_error_has_no_node() -> None:
    event = msgspec.json.decode(b'{"type": "ERROR", "object": {"kind": "Status", "code": 410}}', type=NodeEvent)
    assert event.type == "ERROR"
    with pytest.raises(msgspec.ValidationError):
        event.node()
