"""How space changes hands between peers that live: requests of our own, and the answers to those of others. One part of
the allocator.

A grant *is* news of the ring: it may be lost or come twice, gossip brings it too, and an asker names what it owns so
that the donor repeats a lost grant before it makes another. Whom to ask is donor.py's to choose; a claim asks the owner
of its address.
"""

from ipaddress import IPv4Address
from random import Random

from ipam_crdt.donor import ANSWER_S, DonorSearch
from ipam_crdt.holding import Holding
from ipam_crdt.ring import Entry, Ring, Title
from ipam_crdt.roster import Owner, Roster
from ipam_crdt.voice import Voice
from ipam_crdt.waiting import Waiting, WaitingList
from ipam_crdt.wire import Deny, DenyReason, Grant, Request


class Asking:
    """Requests for space, to us and from us."""

    def __init__(self, voice: Voice, holding: Holding, donors: DonorSearch, waiting: WaitingList) -> None:
        self._voice = voice
        self._holding = holding
        self._donors = donors
        self._waiting = waiting

    def ask(self, ring: Ring, now: float) -> None:
        """Ask on behalf of those who wait, if the time has come."""
        claims = self._waiting.claims()
        for waiting in claims:
            self._ask_owner(ring, waiting, now)
        if len(claims) == len(self._waiting):
            self._donors.rest()
            return
        donor = self._donors.next_donor(ring, now)
        if donor is not None:
            told = self._holding.tell(ring, ring.entries_of(self._holding.owner))
            self._voice.send(donor, Request(told, None, self._holding.subnet, self._donors.request_number))

    def answer(self, asker: Owner, ring: Ring, request: Request) -> None:
        """Repeat what the asker owns and has not heard of; else give it something; else deny."""
        address, number = request.address, request.number
        told = set(request.knowledge.entries)
        unheard = [entry for entry in ring.entries_of(asker) if entry not in told]
        if unheard:
            self._voice.send(asker, Grant(self._holding.tell(ring, unheard), number))
            return
        block, denial = self._holding.donation(ring, address, request.subnet)
        if block is None or not self._holding.may_grant(ring, block):
            at = () if address is None or not ring.universe.holds(address) else (ring.entry_at(address),)
            self._voice.send(asker, Deny(self._holding.tell(ring, at), denial, address, number))
            return
        merged = ring.grant(block, giver=self._holding.owner, taker=asker)
        self._voice.adopt(merged)
        self._voice.send(asker, Grant(self._holding.tell(merged.ring, merged.news), number))

    def take_grant(self, source: Owner, ring: Ring, grant: Grant, now: float) -> None:
        """Ask on, if need be; but not at once one who gives what we cannot have.

        That is what we passed on, even in part: gossip will tell it; or what we refused to take, and gave back.
        """
        if not self._donors.is_awaited(grant.number):
            return
        if all(ring.holds(entry) for entry in grant.knowledge.entries):
            self._donors.note_answer(source)
        else:
            self._donors.note_denial(source, now, outlasts_news=True)

    def take_denial(self, source: Owner, ring: Ring, denial: Deny, now: float) -> None:
        """Ask another; a claim of what the owner itself uses is refused."""
        address = denial.address
        if address is None:
            if self._donors.is_awaited(denial.number):
                self._donors.note_denial(source, now)
            return
        is_holder = ring.universe.holds(address) and ring.entry_at(address).title.owner == source
        if denial.reason is not DenyReason.TAKEN or not is_holder:
            return
        sentence = f"{IPv4Address(address)} is in use at {source}; claim another address or release it there"
        self._voice.say(*self._waiting.refuse_claims(address, sentence))

    def give_all_away(self, ring: Ring, rng: Random) -> None:
        """Leave: all goes to who gave it, or to anybody who can be reached, and there is no estate to settle.

        But for what we promised not to give away, which is settled like any estate. Nothing happens while no member
        can be reached.
        """
        us = self._holding.owner
        takers = sorted(ring.roster.living & self._donors.reachable - {us})
        if not takers:
            return
        bequest = []
        for block, title in ring.entries_of(us):
            if not self._holding.may_grant(ring, block):
                continue
            taker = title.heir if title.heir in takers else rng.choice(takers)
            bequest.append(Entry(block, Title(title.version + 1, taker, us)))
        self._voice.adopt(ring.merge(bequest, Roster.of(removed=(us,))))

    def _ask_owner(self, ring: Ring, claim: Waiting, now: float) -> None:
        if claim.address is None or claim.ask_at > now:
            return
        claim.ask_at = now + ANSWER_S
        entry = ring.entry_at(claim.address)
        if self._donors.is_reachable(entry.title.owner):
            told = self._holding.tell(ring, (*ring.entries_of(self._holding.owner), entry))
            self._voice.send(entry.title.owner, Request(told, claim.address, self._holding.subnet))
