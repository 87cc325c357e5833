"""The outbox: what the parts of the Mesh want done, gathered until the shell takes it.

Changes of one peer and wishes to persist are merged, so that it cannot grow by repetition.
"""

from __future__ import annotations

from gossip.event import CloseLink, Delivered, Dial, FencedBy, Output, PeerChanged, Persist, SendFrame
from gossip.name import LinkId, PeerName, Target
from gossip.wire import Frame, encode


class Outbox:
    """Outputs in the order in which they are to be performed; changed peers and Persist come last."""

    def __init__(self) -> None:
        self._outputs: list[Output] = []
        self._changed: dict[PeerName, None] = {}
        self._is_persist_wanted = False

    def send(self, ident: LinkId, frame: Frame) -> None:
        """Send one frame."""
        self.send_encoded(ident, encode(frame))

    def send_encoded(self, ident: LinkId, frame: bytes) -> None:
        """Send a frame that goes over several links and was encoded once."""
        self._outputs.append(SendFrame(ident, frame))

    def dial(self, target: Target) -> None:
        """Dial."""
        self._outputs.append(Dial(target))

    def close(self, ident: LinkId, reason: str) -> None:
        """Close a link."""
        self._outputs.append(CloseLink(ident, reason))

    def deliver(self, delivered: Delivered) -> None:
        """Hand a message to its channel."""
        self._outputs.append(delivered)

    def fenced_by(self, peer: PeerName) -> None:
        """Tell that `peer` says we were removed."""
        self._outputs.append(FencedBy(peer))

    def changed(self, peer: PeerName) -> None:
        """Tell that something about `peer` has changed."""
        self._changed[peer] = None

    def persist(self) -> None:
        """Tell that the snapshot is worth keeping anew."""
        self._is_persist_wanted = True

    def take(self) -> list[Output]:
        """Return everything and forget it."""
        outputs, self._outputs = self._outputs, []
        if self._changed:
            outputs.extend(PeerChanged(peer) for peer in sorted(self._changed))
            self._changed = {}
        if self._is_persist_wanted:
            outputs.append(Persist())
            self._is_persist_wanted = False
        return outputs
