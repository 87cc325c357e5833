"""The roster: who takes part in a ring and who was removed from it. Two sets that only grow, so their union is a join.

Not who can be reached now, and not what anybody owns. A removal is for ever: a name that was removed is never taken
off again, which is what lets two sides of a partition remove without asking each other.
"""

from typing import NamedTuple, NewType

Owner = NewType("Owner", str)


class Roster(NamedTuple):
    """Names that have been heard of. Equal sets are equal rosters, in whatever order they grew."""

    members: frozenset[Owner] = frozenset()
    """Everyone who ever took part, the removed ones too."""
    removed: frozenset[Owner] = frozenset()
    """Those whose rights have ended; all of them are members."""

    @classmethod
    def of(cls, *members: Owner, removed: tuple[Owner, ...] = ()) -> "Roster":
        """The roster of these names; the removed ones need not be named twice."""
        return cls(frozenset((*members, *removed)), frozenset(removed))

    def join(self, other: "Roster") -> "Roster":
        """All names of both; this very roster if the other has no news."""
        if other.members <= self.members and other.removed <= self.removed:
            return self
        return Roster(self.members | other.members, self.removed | other.removed)

    def beyond(self, other: "Roster") -> "Roster":
        """What is in this one and not in the other; its removed ones count as members of it."""
        if self is other:
            return Roster()
        removed = self.removed - other.removed
        return Roster((self.members - other.members) | removed, removed)

    @property
    def living(self) -> frozenset[Owner]:
        """The members that were not removed."""
        return self.members - self.removed

    def check(self) -> list[str]:
        """What is wrong with it, as sentences: nothing, or there is a bug in this package."""
        return [] if self.removed <= self.members else ["somebody was removed who is no member"]
