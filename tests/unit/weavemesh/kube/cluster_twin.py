"""The twin of the API server in memory: nodes with versions, one charter, watches, and failures at will."""

import queue
import threading
from collections.abc import Iterator, Mapping

import msgspec

from weavemesh.kube.charter import Charter
from weavemesh.kube.cluster import Cluster, ClusterError, Conflict
from weavemesh.kube.node import Meta, Node, NodeAddress, NodeEvent, NodeList, NodeStatus


def node(
    name: str, *addresses: str, external: tuple[str, ...] = (), annotations: Mapping[str, str] | None = None
) -> Node:
    """A node with these internal and external addresses."""
    entries = [NodeAddress("InternalIP", address) for address in addresses]
    entries += [NodeAddress("ExternalIP", address) for address in external]
    return Node(Meta(name=name, uid=f"uid-{name}", annotations=annotations), NodeStatus(tuple(entries)))


class ClusterTwin(Cluster):
    """One cluster for any number of agents and threads."""

    def __init__(self, *nodes: Node) -> None:
        self.objects = {one.name: one for one in nodes}
        self.written: Charter | None = None
        self.is_down = False
        self.available: set[str] = set()
        self._version = 1
        self._lock = threading.Lock()
        self._history: list[tuple[int, NodeEvent]] = []
        self._watches: list[queue.SimpleQueue[NodeEvent | None]] = []

    def put(self, one: Node) -> None:
        """Create or change a node."""
        kind = "MODIFIED" if one.name in self.objects else "ADDED"
        self.objects[one.name] = one
        self._tell(kind, one)

    def delete(self, name: str) -> None:
        """Delete a node."""
        self._tell("DELETED", self.objects.pop(name))

    def break_watches(self) -> None:
        """End all watches, as the server does now and then."""
        for watch in self._watches:
            watch.put(None)
        self._watches.clear()

    def nodes(self) -> NodeList:
        self._refuse_if_down()
        return NodeList(Meta(resource_version=str(self._version)), tuple(self.objects.values()))

    def watch(self, version: str) -> Iterator[NodeEvent]:
        self._refuse_if_down()
        events: queue.SimpleQueue[NodeEvent | None] = queue.SimpleQueue()
        self._watches.append(events)
        yield from (event for number, event in list(self._history) if number > int(version))
        while (event := events.get()) is not None:
            yield event

    def charter(self, namespace: str) -> Charter | None:
        assert namespace == "weavemesh"
        self._refuse_if_down()
        return self.written

    def found(self, *, founder: str, node: str, namespace: str) -> Charter:
        assert namespace == "weavemesh"
        return self._swap(None, founder, node)

    def found_anew(self, before: Charter, *, founder: str, node: str, namespace: str) -> Charter:
        assert namespace == "weavemesh"
        return self._swap(before.version, founder, node)

    def annotate(self, node: str, annotations: Mapping[str, str | None]) -> None:
        self._refuse_if_down()
        before = self.objects[node]
        merged = {**(before.metadata.annotations or {}), **annotations}
        meta = msgspec.structs.replace(before.metadata, annotations={k: v for k, v in merged.items() if v is not None})
        self.put(msgspec.structs.replace(before, metadata=meta))

    def network_is_available(self, node: str) -> None:
        self._refuse_if_down()
        self.available.add(node)

    def close(self) -> None:
        """Nothing is open."""

    def _swap(self, version: str | None, founder: str, node: str) -> Charter:
        self._refuse_if_down()
        with self._lock:
            if (self.written.version if self.written else None) != version:
                raise Conflict("the object has been modified")
            self._version += 1
            self.written = Charter(founder=founder, node=node, cluster="cluster1", version=str(self._version))
            return self.written

    def _tell(self, kind: str, one: Node) -> None:
        self._version += 1
        meta = msgspec.structs.replace(one.metadata, resource_version=str(self._version))
        event = _event(kind, msgspec.structs.replace(one, metadata=meta))
        self._history.append((self._version, event))
        for watch in self._watches:
            watch.put(event)

    def _refuse_if_down(self) -> None:
        if self.is_down:
            raise ClusterError("it cannot be reached (Connection refused)")


def _event(kind: str, one: Node) -> NodeEvent:
    content = msgspec.json.encode({"type": kind, "object": one})
    return msgspec.json.decode(content, type=NodeEvent)
