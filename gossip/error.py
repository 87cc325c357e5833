"""The errors of this package: what the others did, what our caller did, what the disk did.

Not here: failed dials and lost links. Those are the world as usual and come in as inputs (`gossip.event`).
"""

from __future__ import annotations


class GossipError(Exception):
    """Base of all errors of this package; never raised itself."""


class RemoteViolation(GossipError):
    """A peer said something that the protocol does not allow. The Mesh answers by closing the link it came on."""

    def __init__(self, rule: str, detail: str = "") -> None:
        super().__init__(rule, detail)
        self.rule = rule
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.rule}: {self.detail}" if self.detail else self.rule


class LocalMisuse(GossipError):
    """Our own caller broke the contract of the door (a channel never registered, a payload too large). Nothing was
    changed.
    """


class SnapshotCorrupt(GossipError):
    """A snapshot is not one that `Mesh.snapshot()` made. Starting with `snapshot=None` is always safe: gossip relearns
    all but the targets.
    """
