"""What the user may choose about the Mesh. Everything else is a named constant beside the code that uses it."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from gossip.name import PeerName, Target


class MeshOptions(Struct, frozen=True, kw_only=True):
    """Chosen once, at the start."""

    dial_addresses: Callable[[PeerName, bytes], tuple[Target, ...]]
    """(peer, its summary) → where to dial it, the likeliest first, tried in turn; empty if its summary does not tell.
    Pure, and must bear any bytes as summary.
    """
    discovery: bool = True
    """False: dial targets only, never peers that others told of."""
