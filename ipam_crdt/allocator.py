"""The allocator: one peer's part in the ring, as a pure machine. Its counterparts are the same machine on other peers.

It draws no randomness, reads no clock and sends nothing itself: a `Random` is handed in, `now` is a parameter, and
what is to be done comes out as `outputs()`, to be performed in order.

Theory of operation
-------------------
Two structures: the ring (who owns which block; a join, see ring.py) and the space (which addresses of our blocks are
in use; ours alone, see space.py). Whenever the ring changes what we own, the space follows.

    input            ring known                                        no ring yet (JOIN)
    Allocate         from our space at once; else waits                 waits
    Claim            from our space at once; refused if in use          waits
                     here; else waits
    Release          back to our space; a waiting one is refused        a waiting one is refused
    RingReceived     same ring: merge, announce what was news            adopt it, then merge
                     other ring or universe: a finding                 other universe: a finding
    Request          news for the asker if we have it; else a grant     ignored
                     out of our space; else a denial
    Grant, Deny      merge what came along; ask on, or refuse a claim   ignored
    PeersReachable   whom to ask                                        the same

After each input and tick: serve those who wait from our space, refuse those whose deadline has come, ask for more if
any are left (donor.py chooses whom; a claim asks the owner of its address). So all are answered by their deadlines.

Persist before you promise: a change of ring or space marks the state; `outputs()` then puts one `Persist` before all
else. What leaves after it (an address, a grant, news) is thus durable. A grant *is* news of the ring: it may be lost
or come twice, gossip brings it too, and an asker names what it owns so that the donor repeats a lost grant before it
makes another.

Nothing that a peer sends raises: it is refused and becomes a finding.
"""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network
from random import Random
from typing import assert_never

from ipam_crdt.cidr import Block
from ipam_crdt.donor import ANSWER_S, DonorSearch
from ipam_crdt.error import LocalMisuse, RemoteViolation
from ipam_crdt.event import (
    Allocate,
    Announce,
    Claim,
    Founding,
    Input,
    MessageReceived,
    Output,
    OwnershipChanged,
    PeersReachable,
    Persist,
    Release,
    RingReceived,
    Send,
)
from ipam_crdt.finding import Findings
from ipam_crdt.holding import Holding
from ipam_crdt.ring import Entry, Merged, Owner, Ring
from ipam_crdt.status import IpamStatus, OwnerStatus, WaitingStatus
from ipam_crdt.waiting import Waiting, WaitingList
from ipam_crdt.wire import (
    OWNER_LENGTH_MAX,
    Deny,
    DenyReason,
    Grant,
    Knowledge,
    Message,
    Request,
    decode_knowledge,
    decode_message,
    encode_knowledge,
    encode_message,
    is_owner_name,
)

PREFIX_LENGTH_MAX = 30
"""With its first and last address reserved, anything smaller has none to hand out."""


class Allocator:
    """One peer's allocator. Inputs and outputs are in event.py."""

    def __init__(
        self,
        *,
        owner: Owner,
        universe: IPv4Network,
        founding: Founding,
        snapshot: bytes | None,
        rng: Random,
        now: float,
    ) -> None:
        """An allocator that goes on from its snapshot, or without one does as `founding` says.

        Raises LocalMisuse (no usable owner name or universe), SnapshotCorrupt, SnapshotForeign, UniverseMismatch.
        """
        if not is_owner_name(owner):
            raise LocalMisuse(f"an owner's name has 1 to {OWNER_LENGTH_MAX} printable ASCII characters")
        if universe.prefixlen > PREFIX_LENGTH_MAX:
            raise LocalMisuse(f"{universe} has no address to hand out; take a /{PREFIX_LENGTH_MAX} or larger")
        self._owner = owner
        self._universe = Block.of(universe)
        self._now = now
        self._holding = Holding(owner, self._universe)
        self._donors = DonorSearch(owner, rng)
        self._findings = Findings()
        self._waiting = WaitingList(self._holding)
        self._outputs: list[Output] = []
        if snapshot is not None:
            self._holding.restore(snapshot)
        elif founding is Founding.FOUND:
            ring = self._holding.found(rng)
            self._announce(ring, ring.known())
            self._outputs.append(OwnershipChanged())

    # The five verbs

    def receive(self, event: Input, now: float) -> None:
        """Take in one input. Its consequences are in `outputs()`."""
        self._now = now
        match event:
            case Allocate(ident, deadline):
                self._request(Waiting(ident, None, deadline, now))
            case Claim(ident, address, deadline):
                self._request(Waiting(ident, int(address), deadline, now))
            case Release(ident):
                self._release(ident)
            case RingReceived(source, payload):
                self._learn(source, payload)
            case MessageReceived(source, payload):
                self._converse(source, payload)
            case PeersReachable(owners):
                self._donors.set_reachable(owners)
            case _:
                assert_never(event)
        if self._waiting:
            self._advance()

    def tick(self, now: float) -> None:
        """Do what time has brought; early, late or twice does no harm."""
        self._now = now
        self._advance()

    def deadline(self) -> float | None:
        """When `tick` has something to do next, on the clock of `now`; None without anybody waiting."""
        if not self._waiting:
            return None
        times = [waiting.deadline for waiting in self._waiting.all()]
        if self._holding.ring is not None:
            times += [claim.ask_at for claim in self._waiting.claims()]
            wake_at = self._donors.wake_at(self._holding.ring)
            if wake_at is not None:
                times.append(wake_at)
        return min(times)

    def outputs(self) -> list[Output]:
        """What is to be done, in this order; each output is returned once."""
        outputs, self._outputs = self._outputs, []
        snapshot = self._holding.take_snapshot()
        if snapshot is not None:
            outputs.insert(0, Persist(snapshot))
        return outputs

    # Queries

    @property
    def ready(self) -> bool:
        """Whether there is a ring to take addresses from."""
        return self._holding.ring is not None

    @property
    def ring(self) -> Ring | None:
        """The ring as known here, an immutable value; None until there is one."""
        return self._holding.ring

    @property
    def ring_id(self) -> bytes | None:
        """The 16 bytes that name the ring; None until there is one."""
        return None if self.ring is None else self.ring.ring_id

    def owned(self, owner: Owner) -> tuple[IPv4Network, ...]:
        """The owner's ranges in the fewest CIDRs, in order; empty if it has none."""
        return () if self.ring is None else tuple(block.network() for block in self.ring.blocks_of(owner))

    def owners(self) -> tuple[Owner, ...]:
        """Everyone who owns something, sorted."""
        return () if self.ring is None else self.ring.owners()

    def allocations(self) -> Mapping[str, IPv4Address]:
        """The address of each ident that has one here."""
        return {ident: IPv4Address(address) for ident, address in self._holding.space.allocations.items()}

    def digest(self) -> bytes:
        """Short bytes that are equal for equal rings; those of peers without a ring are equal too."""
        return self._holding.digest()

    def state(self) -> bytes:
        """All that is known of the ring, for another's `RingReceived`; to be told once `outputs()` are performed."""
        return self._holding.state()

    def status(self) -> IpamStatus:
        """All that a person wants to know."""
        owners = tuple(self._owner_status(owner) for owner in self.owners())
        return IpamStatus(
            universe=self._universe.network(),
            ring_id=self.ring_id,
            owners=owners,
            unknown=self._universe.size - sum(owner.addresses for owner in owners),
            allocated=len(self._holding.space.allocations),
            pending=tuple(self._waiting_status(waiting) for waiting in self._waiting.all()),
            findings=self._findings.sentences(),
        )

    def check(self) -> list[str]:
        """What is wrong inside, as sentences: nothing, or there is a bug in this package."""
        return self._holding.check()

    # Requests of our own

    def _request(self, waiting: Waiting) -> None:
        self._outputs += self._waiting.add(waiting)

    def _release(self, ident: str) -> None:
        self._outputs += self._waiting.cancel(ident)
        self._holding.release(ident)

    def _advance(self) -> None:
        """Answer who can or must be; ask for more on behalf of those that are left."""
        self._outputs += self._waiting.settle(self._now, self._excuse)
        if self._holding.ring is not None:
            self._ask(self._holding.ring)

    def _ask(self, ring: Ring) -> None:
        claims = self._waiting.claims()
        for waiting in claims:
            self._ask_owner(ring, waiting)
        if len(claims) == len(self._waiting):
            self._donors.rest()
            return
        donor = self._donors.next_donor(ring, self._now)
        if donor is not None:
            told = self._holding.tell(ring, ring.entries_of(self._owner))
            self._send(donor, Request(told, None, self._donors.request_number))

    def _ask_owner(self, ring: Ring, claim: Waiting) -> None:
        if claim.address is None or claim.ask_at > self._now:
            return
        claim.ask_at = self._now + ANSWER_S
        entry = ring.entry_at(claim.address)
        if self._donors.is_reachable(entry.title.owner):
            told = self._holding.tell(ring, (*ring.entries_of(self._owner), entry))
            self._send(entry.title.owner, Request(told, claim.address))

    def _excuse(self, waiting: Waiting) -> str:
        ring = self._holding.ring
        if ring is None:
            cause = self._findings.any_foreign_ring() or "no peer has told us of the address ring yet"
            return f"{cause}; `weavemesh status connections` shows which peers are reachable"
        if waiting.address is None:
            return self._donors.excuse(ring)
        return self._donors.excuse_claim(ring, waiting.address)

    # What others know and want

    def _learn(self, source: Owner, payload: bytes) -> None:
        try:
            knowledge = decode_knowledge(payload)
        except RemoteViolation as violation:
            self._findings.add_violation(source, violation)
            return
        if self._holding.ring is None and knowledge.universe == self._universe and knowledge.ring_id:
            self._holding.enter(knowledge.ring_id)
        ring = self._ring_shared_with(source, knowledge)
        if ring is not None:
            self._merge(source, ring, knowledge.entries)

    def _converse(self, source: Owner, payload: bytes) -> None:
        if source == self._owner or not is_owner_name(source):
            return
        try:
            message = decode_message(payload)
        except RemoteViolation as violation:
            self._findings.add_violation(source, violation)
            return
        ring = self._ring_shared_with(source, message.knowledge)
        if ring is None:
            return
        ring = self._merge(source, ring, message.knowledge.entries)
        match message:
            case Request():
                self._answer(source, ring, message)
            case Grant():
                self._take_grant(source, ring, message)
            case Deny():
                self._take_denial(source, ring, message)
            case _:
                assert_never(message)

    def _ring_shared_with(self, source: Owner, knowledge: Knowledge) -> Ring | None:
        """Our ring if the peer speaks of it. If it speaks of another, that is a finding and nothing of it is used."""
        ring = self._holding.ring
        if knowledge.universe != self._universe:
            self._findings.add_other_universe(source, knowledge.universe, self._universe)
            return None
        if ring is None or knowledge.ring_id is None:
            return None
        if knowledge.ring_id != ring.ring_id:
            self._findings.add_other_ring(source, knowledge.ring_id, ring.ring_id)
            return None
        self._findings.clear_source(source)
        self._donors.hear(source, knowledge.free)
        return ring

    def _merge(self, source: Owner, ring: Ring, entries: Iterable[Entry]) -> Ring:
        """Our ring after the merge. What was news to us may be so to others."""
        merged = ring.merge(entries)
        for conflict in merged.conflicts:
            self._findings.add_conflict(conflict)
        if not merged.changes:
            return ring
        if not merged.ring.is_within_limits():
            self._findings.add_limit(source)
            return ring
        self._adopt(merged)
        for change in merged.changes:
            if change.before.owner == self._owner != change.after.owner:
                strays = sum(change.block.holds(address) for address in self._holding.space.strays())
                self._findings.add_loss(change, strays)
        return merged.ring

    def _adopt(self, merged: Merged) -> None:
        self._holding.adopt(merged)
        self._announce(merged.ring, merged.news)
        if any(change.before.owner != change.after.owner for change in merged.changes):
            self._outputs.append(OwnershipChanged())
        for claim in self._waiting.claims():
            if any(claim.claims_in(change.block) for change in merged.changes):
                claim.ask_at = self._now

    def _answer(self, asker: Owner, ring: Ring, request: Request) -> None:
        """Repeat what the asker owns and has not heard of; else give it something; else deny."""
        address, number = request.address, request.number
        told = set(request.knowledge.entries)
        unheard = [entry for entry in ring.entries_of(asker) if entry not in told]
        if unheard:
            self._send(asker, Grant(self._holding.tell(ring, unheard), number))
            return
        block, denial = self._holding.donation(ring, address)
        if block is None or not ring.may_grant(block, self._owner):
            at = () if address is None or not ring.universe.holds(address) else (ring.entry_at(address),)
            self._send(asker, Deny(self._holding.tell(ring, at), denial, address, number))
            return
        merged = ring.grant(block, giver=self._owner, taker=asker)
        self._adopt(merged)
        self._send(asker, Grant(self._holding.tell(merged.ring, merged.news), number))

    def _take_grant(self, source: Owner, ring: Ring, grant: Grant) -> None:
        """Ask on, if need be; but not at once one who repeats what we passed on, even in part: gossip will tell it."""
        if not self._donors.is_awaited(grant.number):
            return
        if all(ring.holds(entry) for entry in grant.knowledge.entries):
            self._donors.note_answer(source)
        else:
            self._donors.note_denial(source, self._now)

    def _take_denial(self, source: Owner, ring: Ring, denial: Deny) -> None:
        address = denial.address
        if address is None:
            if self._donors.is_awaited(denial.number):
                self._donors.note_denial(source, self._now)
            return
        is_holder = ring.universe.holds(address) and ring.entry_at(address).title.owner == source
        if denial.reason is not DenyReason.TAKEN or not is_holder:
            return
        sentence = f"{IPv4Address(address)} is in use at {source}; claim another address or release it there"
        self._outputs += self._waiting.refuse_claims(address, sentence)

    # Telling

    def _announce(self, ring: Ring, entries: Iterable[Entry]) -> None:
        self._outputs.append(Announce(encode_knowledge(self._holding.tell(ring, entries))))

    def _send(self, destination: Owner, message: Message) -> None:
        self._outputs.append(Send(destination, encode_message(message)))

    def _owner_status(self, owner: Owner) -> OwnerStatus:
        ranges = self.owned(owner)
        is_self = owner == self._owner
        return OwnerStatus(
            owner=owner,
            ranges=ranges,
            addresses=sum(network.num_addresses for network in ranges),
            free=self._holding.space.free_count if is_self else self._donors.free_at(owner),
            reachable=is_self or self._donors.is_reachable(owner),
        )

    def _waiting_status(self, waiting: Waiting) -> WaitingStatus:
        address = None if waiting.address is None else IPv4Address(waiting.address)
        return WaitingStatus(waiting.ident, address, waiting.deadline, self._excuse(waiting))
