"""What becomes of the knowledge that other peers tell: heard or not, merged, passed on, found wrong. One part of the
allocator.

It never raises, whatever they tell, and it stops nothing else: what cannot be right becomes a finding.
"""

from msgspec.structs import replace

from ipam_crdt.donor import DonorSearch
from ipam_crdt.finding import Findings
from ipam_crdt.holding import Holding
from ipam_crdt.ring import NO_HEIR, Change, Conflict, Entry, Merged, Ring, Title
from ipam_crdt.roster import Owner, Roster
from ipam_crdt.voice import Voice
from ipam_crdt.waiting import WaitingList
from ipam_crdt.wire import Knowledge, Notice, is_owner_name


class Hearing:
    """All that others tell of the ring passes here."""

    def __init__(
        self, voice: Voice, holding: Holding, donors: DonorSearch, waiting: WaitingList, findings: Findings
    ) -> None:
        self._voice = voice
        self._holding = holding
        self._donors = donors
        self._waiting = waiting
        self._findings = findings
        self.removal_is_known = False
        """Whether another peer has told us, in this life, that it knows of our removal."""

    def enter(self, knowledge: Knowledge) -> None:
        """Without a ring: take this one for ours, if it divides our universe."""
        if self._holding.ring is None and knowledge.universe == self._holding.universe and knowledge.ring_id:
            self._holding.enter(knowledge.ring_id)

    def hear(self, source: Owner, knowledge: Knowledge, now: float, *, tell_removed: bool) -> Ring | None:
        """Merge; our ring afterwards. None if nothing of what comes from this peer is to be used.

        `tell_removed`: answer a removed peer with that news. Not when this is such an answer, or it would never end
        between two that removed each other.
        """
        ring = self._ring_shared_with(source, knowledge, tell_removed=tell_removed)
        return None if ring is None else self._merge(source, ring, knowledge, now)

    def _ring_shared_with(self, source: Owner, knowledge: Knowledge, *, tell_removed: bool) -> Ring | None:
        """Our ring if the peer speaks of it and was not removed. If it speaks of another, that is a finding."""
        ring = self._holding.ring
        if knowledge.universe != self._holding.universe:
            self._findings.add_other_universe(source, knowledge.universe, self._holding.universe)
            return None
        if ring is None or knowledge.ring_id is None:
            return None
        if knowledge.ring_id != ring.ring_id:
            self._findings.add_other_ring(source, knowledge.ring_id, ring.ring_id)
            return None
        if source in ring.roster.removed and source != self._holding.owner:
            if tell_removed:
                self._voice.send(source, Notice(self._holding.tell(ring, (), Roster.of(removed=(source,)))))
            return None
        self._findings.clear_source(source)
        self._donors.hear(source, knowledge.free)
        self.removal_is_known |= self._holding.owner in knowledge.roster.removed
        return ring

    def _merge(self, source: Owner, ring: Ring, knowledge: Knowledge, now: float) -> Ring:
        """Our ring after the merge. What was news to us may be so to others. Whoever speaks of a ring is a member."""
        who = (self._holding.owner, source) if is_owner_name(source) else (self._holding.owner,)
        merged = ring.merge(knowledge.entries, knowledge.roster.join(Roster.of(*who)))
        for conflict in merged.conflicts:
            self._findings.add_conflict(conflict)
        if merged.is_news and not merged.ring.is_within_limits():
            self._findings.add_limit(source)
            return ring
        if merged.is_news:
            merged = self._give_back(ring.roster, merged)
            self._adopt(merged, now)
        for conflict in merged.conflicts:
            self._isolate(merged.ring, conflict)
        return merged.ring

    def _isolate(self, ring: Ring, conflict: Conflict) -> None:
        """See to it that the one who keeps the block knows: others may have merged before he could hear of both."""
        if conflict.kept.owner == self._holding.owner:
            self._holding.isolate(conflict)
        elif conflict.kept.owner != conflict.other.owner:
            other = Entry(conflict.block, conflict.other)
            self._voice.send(conflict.kept.owner, Notice(self._holding.tell(ring, (other,))))

    def _give_back(self, roster: Roster, merged: Merged) -> Merged:
        """Refuse what we were given by one who was removed before, or from behind a fence: it never becomes ours.

        One who leaves gives and is removed at the same time: that is in order.
        """
        us = self._holding.owner
        if us in merged.ring.roster.removed:
            return merged
        changes = [
            replace(change, after=Title(change.after.version + 1, change.after.giver, NO_HEIR))
            if change.after.owner == us and self._is_refused(change, roster)
            else change
            for change in merged.changes
        ]
        ring = merged.ring.merge([Entry(change.block, change.after) for change in changes]).ring
        return replace(merged, ring=ring, changes=tuple(changes))

    def _is_refused(self, change: Change, roster: Roster) -> bool:
        """What comes back has no giver and is never refused: else two who refuse each other's gifts would not end."""
        giver = change.after.giver
        if giver in ("", self._holding.owner):
            return False
        return giver in roster.removed or self._holding.promises.forbid(change.block, giver)

    def _adopt(self, merged: Merged, now: float) -> None:
        """A new owner is asked for a claimed address at once; not one to whom it was just given back."""
        self._voice.adopt(merged)
        moved = [change.block for change in merged.changes if not change.after.is_returned]
        for claim in self._waiting.claims():
            if any(claim.claims_in(block) for block in moved):
                claim.ask_at = now
        if not self._holding.is_removed:
            for change in merged.changes:
                if change.before.owner == self._holding.owner != change.after.owner:
                    self._note_loss(change)

    def _note_loss(self, change: Change) -> None:
        strays = sum(change.block.holds(address) for address in self._holding.space.strays())
        if change.after.round > change.before.round:
            self._findings.add_passed_on(change, strays)
        else:
            self._findings.add_loss(change, strays)
