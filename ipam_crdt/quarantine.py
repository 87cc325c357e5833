"""Blocks of ours that somebody else was also given: no new address of them is handed out until a person has looked.

It comes to this only where a peer went on from an older state folder and gave away again what it had given. The ring
decides for one owner; the pods of the other have addresses of the block still. What is in use here stays in use.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from ipam_crdt.cidr import Block, carve
from ipam_crdt.ring import Conflict
from ipam_crdt.roster import Owner


class Claim(Struct, frozen=True):
    """Who else was given the block."""

    by: Owner
    version: int
    """Of his title, and of ours."""


class Quarantine:
    """The isolated blocks, each with the claim against it."""

    def __init__(self, claims: Mapping[Block, Claim] | None = None) -> None:
        self._claims = dict(claims or {})

    @property
    def claims(self) -> Mapping[Block, Claim]:
        """The blocks. Look, do not keep: it is the living dict."""
        return self._claims

    def holds(self, address: int) -> bool:
        """Whether the address is in an isolated block."""
        return any(block.holds(address) for block in self._claims)

    def add(self, conflict: Conflict) -> bool:
        """Isolate the block of a conflict; whether that is news."""
        if any(block.covers(conflict.block) for block in self._claims):
            return False
        self._claims[conflict.block] = Claim(conflict.other.owner, conflict.other.version)
        return True

    def clear(self, block: Block) -> bool:
        """Isolate nothing of this block any more; whether anything was."""
        over = [isolated for isolated in self._claims if block.covers(isolated) or isolated.covers(block)]
        for isolated in over:
            del self._claims[isolated]
        return bool(over)

    def keep_only(self, owned: Iterable[Block]) -> None:
        """Forget what is not wholly in these blocks, because it has changed hands since."""
        blocks = tuple(owned)
        for isolated in [one for one in self._claims if not any(block.covers(one) for block in blocks)]:
            del self._claims[isolated]

    def beside(self, owned: Iterable[Block]) -> tuple[Block, ...]:
        """These blocks without what is isolated, in the fewest blocks, in order."""
        parts = [*owned]
        for isolated in self._claims:
            parts = [part for block in parts for part in _without(block, isolated)]
        return tuple(parts)


def _without(block: Block, isolated: Block) -> list[Block]:
    if isolated.covers(block):
        return []
    if not block.covers(isolated):
        return [block]
    return [part for part in carve(block, isolated) if part != isolated]
