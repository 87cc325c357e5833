"""What the allocator found wrong, as sentences with the remedy: kept apart so that they are bounded and worded in one
place.

Not errors: nothing stops because of a finding.
"""

from ipaddress import IPv4Network

from ipam_crdt.cidr import Block
from ipam_crdt.error import RemoteViolation
from ipam_crdt.ring import Change, Conflict
from ipam_crdt.roster import Owner

FINDINGS_MAX = 64
"""More than a person reads; the oldest goes first."""


class Findings:
    """The present findings, one for each subject."""

    def __init__(self) -> None:
        self._sentences: dict[tuple[str, str], str] = {}

    def sentences(self) -> tuple[str, ...]:
        """All of them, the oldest first."""
        return tuple(self._sentences.values())

    def any_foreign_ring(self) -> str | None:
        """One finding about a peer whose ring cannot be ours; None if there is none."""
        return next((text for (kind, _), text in self._sentences.items() if kind == "ring"), None)

    def clear_source(self, source: Owner) -> None:
        """The peer sent what is right: nothing is wrong with it any more."""
        self._sentences.pop(("ring", source), None)
        self._sentences.pop(("payload", source), None)

    def add_violation(self, source: Owner, violation: RemoteViolation) -> None:
        """A payload that cannot be used."""
        self._add(
            ("payload", source),
            f"{source} sent {violation.reason}; nothing of it was used: run the same release of weavemesh on both",
        )

    def add_other_universe(self, source: Owner, theirs: Block, ours: Block) -> None:
        """A peer that divides another range."""
        self._add(
            ("ring", source),
            f"{source} divides {theirs} and this peer {ours}, so neither takes addresses from the other; "
            "start both with one `--ipalloc-range`, after `weavemesh reset` on the one that is wrong",
        )

    def add_other_ring(self, source: Owner, theirs: bytes, ours: bytes) -> None:
        """A peer of a mesh that was founded apart."""
        self._add(
            ("ring", source),
            f"{source} belongs to ring {theirs.hex()[:12]} and this peer to ring {ours.hex()[:12]}: two meshes were "
            "founded apart, and neither takes addresses from the other; on each host of the one to give up run "
            "`weavemesh reset` and then `weavemesh up HOST` with a host of the other",
        )

    def add_conflict(self, conflict: Conflict) -> None:
        """Two owners by titles of one version."""
        self._add(
            ("conflict", str(conflict.block)),
            f"{conflict.block} was given both to {conflict.kept.owner} and to {conflict.other.owner} at version "
            f"{conflict.other.version}; {conflict.kept.owner} has it now: a state folder was copied or brought back "
            f"from a backup, so restart the pods of {conflict.other.owner} that have addresses of it; "
            f"then `weavemesh ipam clear {conflict.block}` on {conflict.kept.owner} lets it be used again",
        )

    def clear_conflicts(self, block: Block) -> None:
        """A person has looked at the conflicts of a range."""
        for kind, subject in [key for key in self._sentences if key[0] == "conflict"]:
            if block.network().overlaps(IPv4Network(subject)):
                del self._sentences[kind, subject]

    def add_passed_on(self, change: Change, strays: int) -> None:
        """A block of ours that was settled as if it were a removed peer's: nobody had heard of us."""
        self._add(
            ("loss", str(change.block)),
            f"{change.block} belongs to {change.after.owner}: this peer had it from one that was removed before any "
            f"other had heard of this peer ({strays} addresses in use here are no longer its own); restart the pods "
            "with these addresses",
        )

    def add_loss(self, change: Change, strays: int) -> None:
        """A block of ours that somebody else owns, though we know nothing of having given it."""
        self._add(
            ("loss", str(change.block)),
            f"{change.block} belongs to {change.after.owner} at version {change.after.version}, though this peer does "
            f"not know that it gave it away ({strays} addresses in use here are no longer its own): its state folder "
            "is older than what it promised; restart the pods with these addresses",
        )

    def add_limit(self, source: Owner) -> None:
        """A merge that would make the ring too large to hold and to send."""
        self._add(
            ("limit", source),
            f"{source} sent more ring entries than a ring may have; they were not taken in: see what it runs",
        )

    def _add(self, key: tuple[str, str], sentence: str) -> None:
        if key not in self._sentences and len(self._sentences) >= FINDINGS_MAX:
            del self._sentences[next(iter(self._sentences))]
        self._sentences[key] = sentence
