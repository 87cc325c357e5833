"""The charter: the one object in the API server that says who founds the address ring of this cluster. Pure.

It is a ConfigMap. Creating it, and replacing the version that was read, succeed for one of all who try: that is the
compare-and-swap by which no two found. Who founds is a peer, not a node: a node that was installed anew is another.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from weavemesh.kube.node import Meta

NAME: Final = "weavemesh"
"""Of the ConfigMap, in the namespace of the agents."""


class Charter(Struct, frozen=True, kw_only=True):
    """Who founds, as it stands in the API server."""

    founder: str
    """Name of the peer."""
    node: str
    """The node that it was on."""
    cluster: str
    """Identifies this cluster: the uid of the object, which no other has ever had."""
    version: str
    """What a replacement must name."""


class ConfigMap(Struct, frozen=True):
    """The object, as it comes."""

    metadata: Meta
    data: Mapping[str, str] | None = None

    def charter(self) -> Charter | None:
        """What it says; None if that is nothing, because somebody emptied it."""
        data = self.data or {}
        if not (data.get("founder") and data.get("node")):
            return None
        return Charter(
            founder=data["founder"],
            node=data["node"],
            cluster=self.metadata.uid,
            version=self.metadata.resource_version,
        )


def written(*, founder: str, node: str, namespace: str, version: str | None = None) -> dict[str, object]:
    """The object to send: to create it, or to replace this version of it."""
    metadata = {"name": NAME, "namespace": namespace} | ({} if version is None else {"resourceVersion": version})
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {"founder": founder, "node": node},
    }
