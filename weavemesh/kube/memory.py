"""What a node's agent remembers of its cluster, so that it starts again while the API server is down.

A file in the state folder beside the ring, and written only by an agent that is in the mesh: where it is, there is a
ring. The counterpart is `weavemesh.kube.agent`.
"""

from pathlib import Path
from typing import Final

import msgspec

from weavemesh.error import UserError
from weavemesh.file import write_private
from weavemesh.store import StateFolder, seal

FILE: Final = "kubernetes"


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """The cluster as it was last seen."""

    cluster: str
    """Identifies it."""
    founder: str
    """The node of the founder."""
    targets: tuple[str, ...]
    """Endpoints of other nodes."""
    advertised: tuple[str, ...]
    """Endpoints of this node that the host does not know of."""

    def keep(self, state_dir: Path) -> None:
        """On disk when this returns. UserError if the disk refuses."""
        write_private(state_dir / FILE, seal(msgspec.json.encode(self)), overwrite=True)


def recall(folder: StateFolder) -> Memory | None:
    """What was last kept; None if nothing was. UserError if the file is damaged."""
    content = folder.read(FILE)
    if content is None:
        return None
    try:
        return msgspec.json.decode(content, type=Memory)
    except msgspec.DecodeError as error:
        raise UserError(
            f"{folder.path / FILE} cannot be read: {error}",
            remedy=f"remove {folder.path / FILE}; the API server tells its contents again",
        ) from error
