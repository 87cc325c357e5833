"""The names of things: peers, links, targets.

Distinct types for distinct things. Not here: how a name is made from a key (the agent's identity does that and hands in
a `Signer`), nor how a target is resolved (the shell dials it).
"""

from __future__ import annotations

import re
from typing import NewType

PeerName = NewType("PeerName", str)
"""A peer's lasting identity: 16 characters of lower-case base32 (RFC 4648) of a hash of its identity key. Opaque,
ordered.
"""

LinkId = NewType("LinkId", int)
"""One authenticated connection, numbered by the shell; never used twice in the life of a Mesh."""

Target = NewType("Target", str)
"""An address to dial, "host:port" as the shell understands it; compared as text."""

PEER_NAME_PATTERN = r"^[a-z2-7]{16}\Z"
"""80 bits in base32: what every name that comes over the wire must look like."""


def is_peer_name(text: str) -> bool:
    """Tell whether `text` has the shape of a peer name.

    >>> is_peer_name("abcdefghij234567"), is_peer_name("host1")
    (True, False)
    """
    return re.match(PEER_NAME_PATTERN, text) is not None
