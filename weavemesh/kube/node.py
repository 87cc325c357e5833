"""A Node object of Kubernetes, as much of it as concerns the mesh. Pure; read from the API server's JSON as it comes.

Source: Kubernetes API, core/v1 Node and WatchEvent; the same fields from 1.20 to 1.36.
"""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec
from msgspec import Struct

PEER: Final = "weavemesh.io/peer"
"""Annotation, written by the node's agent: the name of its peer."""
ADDRESS: Final = "weavemesh.io/address"
"""Annotation, written by the node's agent: its address in the mesh."""
RING: Final = "weavemesh.io/ring"
"""Annotation, written by the node's agent: the address ring that it is in."""
ENDPOINT: Final = "weavemesh.io/endpoint"
"""Annotation, written by people: where other nodes reach this one, instead of the addresses of its status."""


class Meta(Struct, frozen=True, rename="camel"):
    """metav1.ObjectMeta or ListMeta."""

    name: str = ""
    uid: str = ""
    resource_version: str = ""
    annotations: Mapping[str, str] | None = None


class NodeAddress(Struct, frozen=True):
    """One entry of status.addresses."""

    type: str
    address: str


class NodeStatus(Struct, frozen=True):
    """The status of a node."""

    addresses: tuple[NodeAddress, ...] | None = None


class Node(Struct, frozen=True):
    """One node."""

    metadata: Meta
    status: NodeStatus = NodeStatus()

    @property
    def name(self) -> str:
        """Unique in the cluster."""
        return self.metadata.name

    def annotation(self, name: str) -> str | None:
        """The value of an annotation; None if it is missing or empty."""
        return (self.metadata.annotations or {}).get(name) or None

    def endpoints(self) -> tuple[str, ...]:
        """Where others reach it, ADDRESS or ADDRESS:PORT: what people wrote, or else all its addresses."""
        written = self.annotation(ENDPOINT)
        if written is not None:
            return tuple(written.replace(",", " ").split())
        return (*self._addresses("InternalIP"), *self._addresses("ExternalIP"))

    def advertised(self) -> tuple[str, ...]:
        """Endpoints that the host itself does not know of: those of the annotation, or those of the cloud."""
        return self.endpoints() if self.annotation(ENDPOINT) else self._addresses("ExternalIP")

    def _addresses(self, kind: str) -> tuple[str, ...]:
        return tuple(entry.address for entry in self.status.addresses or () if entry.type == kind)


class NodeList(Struct, frozen=True):
    """All nodes at one moment."""

    metadata: Meta
    items: tuple[Node, ...] = ()


class NodeEvent(Struct, frozen=True):
    """One event of a watch. ERROR ends it: the version that it went on from is too old."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
    object: msgspec.Raw

    def node(self) -> Node:
        """The node, as it is now or was last. msgspec.ValidationError."""
        return msgspec.json.decode(self.object, type=Node)
