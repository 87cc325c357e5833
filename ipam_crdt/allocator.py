"""The allocator: one peer's part in the ring, as a pure machine. Its counterparts are the same machine on other peers.

It draws no randomness, reads no clock and sends nothing itself: a `Random` is handed in, `now` is a parameter, and
what is to be done comes out as `outputs()`, to be performed in order.

Theory of operation
-------------------
Two structures: the ring (who owns which block, who takes part; a join, see ring.py) and the space (which addresses of
our blocks are in use; ours alone, see space.py). Whenever the ring changes what we own, the space follows.

    input            ring known                                        no ring yet
    Allocate         from our space at once; else waits                 waits
    Claim            from our space at once; refused if in use          waits
                     here; else waits
    Release          back to our space; a waiting one is refused        a waiting one is refused
    RingReceived     same ring: merge, announce what was news            adopt it, then merge; votes: election.py
                     other ring or universe: a finding                 other universe: a finding
    Request          news for the asker if we have it; else a grant     ignored
                     out of our space; else a denial
    Grant, Deny      merge what came along; ask on, or refuse a claim   ignored
    Settle, Agree    merge what came along; settlement.py               ignored
    Notice           merge what came along                              ignored
    PeersReachable   whom to ask                                        with whom to found one
    InitialPeers     ignored                                            whose votes count (electorate.py)
    Remove           note it; its estate is settled                     ignored
    Leave            give all away, note our own removal                ignored
    Clear            hand out again what was isolated                   ignored

Once we know that we were removed ourselves, for ever: nothing is handed out, granted or agreed to; whoever waits or
asks is refused with the reason. And of a peer that we know to be removed nothing is heard; it is told why.

After each input and tick: serve those who wait from our space, refuse those whose deadline has come, ask for more if
any are left (asking.py), go on with what there is to settle. So all are answered by their deadlines.

Persist before you promise: a change of ring, space or promises marks the state; `outputs()` then puts one `Persist`
before all else. What leaves after it (an address, a grant, news, an agreement) is thus durable.

Nothing that a peer sends raises: it is refused and becomes a finding.
"""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from random import Random
from typing import assert_never

from ipam_crdt.asking import Asking
from ipam_crdt.cidr import Block
from ipam_crdt.donor import DonorSearch
from ipam_crdt.election import Election
from ipam_crdt.error import LocalMisuse, RemoteViolation
from ipam_crdt.event import (
    Allocate,
    Claim,
    Clear,
    Fenced,
    InitialPeers,
    Input,
    Leave,
    MessageReceived,
    Output,
    PeersReachable,
    Persist,
    Refused,
    Release,
    Remove,
    RingReceived,
)
from ipam_crdt.finding import Findings
from ipam_crdt.founding import Founding
from ipam_crdt.hearing import Hearing
from ipam_crdt.holding import Holding
from ipam_crdt.ring import Ring
from ipam_crdt.roster import Owner, Roster
from ipam_crdt.settlement import Settlement
from ipam_crdt.snapshot import read_votes
from ipam_crdt.status import IpamStatus, OwnerStatus, WaitingStatus
from ipam_crdt.voice import Voice
from ipam_crdt.vote import VOTES_FORMAT, Electorate
from ipam_crdt.waiting import Waiting, WaitingList
from ipam_crdt.wire import (
    OWNER_LENGTH_MAX,
    Agree,
    Deny,
    Grant,
    Notice,
    Request,
    Settle,
    decode_knowledge,
    decode_message,
    is_owner_name,
)

PREFIX_LENGTH_MAX = 30
"""With its first and last address reserved, anything smaller has none to hand out."""
REMOVED = (
    "this peer was removed from the mesh, and nothing of its state counts there any more; "
    "run `weavemesh reset` on this host and then `weavemesh up` as a new peer"
)


class Allocator:
    """One peer's allocator. Inputs and outputs are in event.py."""

    def __init__(
        self,
        *,
        owner: Owner,
        universe: IPv4Network,
        subnet: IPv4Network | None = None,
        electorate: Electorate | None,
        snapshot: bytes | None,
        rng: Random,
        now: float,
    ) -> None:
        """An allocator that goes on from its snapshot, or without one founds a ring with all of an electorate.

        An electorate of one founds it alone and at once; without any it is never founded here, but heard of.
        Addresses are handed out of `subnet`, a part of the universe, unless one is claimed; by default of all of it.

        Raises LocalMisuse (no usable owner name, universe or subnet), SnapshotCorrupt, SnapshotForeign,
        UniverseMismatch.
        """
        subnet = universe if subnet is None else subnet
        if not is_owner_name(owner):
            raise LocalMisuse(f"an owner's name has 1 to {OWNER_LENGTH_MAX} printable ASCII characters")
        if subnet.prefixlen > PREFIX_LENGTH_MAX:
            raise LocalMisuse(f"{subnet} has no address to hand out; take a /{PREFIX_LENGTH_MAX} or larger")
        if not subnet.subnet_of(universe):
            raise LocalMisuse(f"{subnet} is not in {universe}; take a subnet of that range")
        self._owner = owner
        self._rng = rng
        self.universe = universe
        """The range of all addresses, anybody's."""
        self._universe = Block.of(universe)
        self._now = now
        self._holding = Holding(owner, self._universe, Block.of(subnet))
        self._voice = Voice(self._holding)
        self._donors = DonorSearch(owner, Block.of(subnet), rng)
        self._findings = Findings()
        self._waiting = WaitingList(self._holding)
        self._asking = Asking(self._voice, self._holding, self._donors, self._waiting)
        self._settlement = Settlement(self._voice, self._holding, now)
        self._hearing = Hearing(self._voice, self._holding, self._donors, self._waiting, self._findings)
        votes = None if snapshot is None else read_votes(snapshot)
        if snapshot is not None and votes is None:
            self._holding.restore(snapshot)
            for conflict in self._holding.conflicts():
                self._findings.add_conflict(conflict)
        if self._holding.ring is not None:
            electorate = None  # a ring is not founded twice, whatever the command line says
        election = Election(owner, electorate=electorate, snapshot=votes, rng=rng, now=now)
        self._founding = Founding(self._voice, self._holding, election)
        self._advance()

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
                self._voice.say(*self._waiting.cancel(ident))
                self._holding.release(ident)
            case RingReceived(source, payload):
                self._learn(source, payload)
            case MessageReceived(source, payload):
                self._converse(source, payload)
            case PeersReachable(owners):
                self._donors.set_reachable(owners)
                self._founding.set_reachable(owners, now)
            case InitialPeers(owners):
                self._founding.set_known(owners, now)
            case Remove() | Fenced() | Leave() | Clear():
                self._order(event)
            case _:
                assert_never(event)
        self._advance()

    def tick(self, now: float) -> None:
        """Do what time has brought; early, late or twice does no harm."""
        self._now = now
        self._advance()

    def deadline(self) -> float | None:
        """When `tick` has something to do next, on the clock of `now`; None if nothing without an input."""
        if self._holding.is_removed:
            return None  # nobody waits: all have been refused
        ring = self._holding.ring
        times: list[float | None] = [waiting.deadline for waiting in self._waiting.all()]
        if ring is None:
            times.append(self._founding.deadline())
        else:
            times.append(self._settlement.wake_at(self._donors.reachable))
            if self._waiting:
                times += [claim.ask_at for claim in self._waiting.claims()]
                times.append(self._donors.wake_at(ring))
        return min((time for time in times if time is not None), default=None)

    def outputs(self) -> list[Output]:
        """What is to be done, in this order; each output is returned once."""
        outputs = self._voice.take()
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
        """Everyone who owns something and was not removed, sorted."""
        return () if self.ring is None else self.ring.owners()

    @property
    def is_removed(self) -> bool:
        """Whether we know that we were removed from the ring, or have left it."""
        return self._holding.is_removed

    @property
    def removal_is_known(self) -> bool:
        """Whether another peer has told us, in this life, that it knows of our removal: having left, we may go."""
        return self._hearing.removal_is_known

    @property
    def roster(self) -> Roster:
        """Who takes part in the ring and who was removed; empty without a ring."""
        return Roster() if self.ring is None else self.ring.roster

    def allocations(self) -> Mapping[str, IPv4Address]:
        """The address of each ident that has one here."""
        return {ident: IPv4Address(address) for ident, address in self._holding.space.allocations.items()}

    def address_of(self, ident: str) -> IPv4Address | None:
        """The address of one ident; None if it has none here."""
        address = self._holding.space.allocations.get(ident)
        return None if address is None else IPv4Address(address)

    def digest(self) -> bytes:
        """Short bytes that are equal for equal rings and, without a ring, for equal votes."""
        return self._holding.digest()

    def state(self) -> bytes:
        """All that is known of the ring, for another's `RingReceived`; to be told once `outputs()` are performed."""
        return self._holding.state()

    def status(self) -> IpamStatus:
        """All that a person wants to know."""
        owners = tuple(self._owner_status(owner) for owner in self.owners())
        return IpamStatus(
            universe=self.universe,
            ring_id=self.ring_id,
            owners=owners,
            unknown=self._universe.size - sum(owner.addresses for owner in owners),
            allocated=len(self._holding.space.allocations),
            pending=tuple(self._waiting_status(waiting) for waiting in self._waiting.all()),
            findings=self._findings.sentences(),
            is_removed=self.is_removed,
            removed=tuple(sorted(self.roster.removed)),
            unsettled=self._settlement.excuses(self._donors.reachable),
            quarantined=tuple(block.network() for block in sorted(self._holding.quarantine.claims)),
        )

    def check(self) -> list[str]:
        """What is wrong inside, as sentences: nothing, or there is a bug in this package."""
        return self._holding.check()

    # Requests of our own

    def _request(self, waiting: Waiting) -> None:
        if self._holding.is_removed:
            self._voice.say(Refused(waiting.ident, REMOVED))
        else:
            self._voice.say(*self._waiting.add(waiting))

    def _order(self, order: Remove | Fenced | Leave | Clear) -> None:
        ring = self._holding.ring
        if isinstance(order, Fenced):
            self._hearing.removal_is_known = self._holding.is_fenced = True
        if ring is None or self._holding.is_removed:
            return
        match order:
            case Remove(owner):
                if owner not in (*ring.roster.removed, self._owner):
                    self._voice.adopt(ring.merge((), Roster.of(removed=(owner,))))
            case Fenced():
                self._voice.adopt(ring.merge((), Roster.of(removed=(self._owner,))))
            case Leave():
                self._asking.give_all_away(ring, self._rng)
            case Clear(network):
                self._holding.clear(Block.of(network))
                self._findings.clear_conflicts(Block.of(network))
            case _:
                assert_never(order)

    def _advance(self) -> None:
        """Answer who can or must be; ask for more on behalf of those that are left; settle what is to be settled."""
        if self._holding.ring is None and not self._holding.is_removed:
            self._founding.advance(self._now)
        if self._holding.is_removed:
            self._voice.say(*self._waiting.refuse_all(REMOVED))
            return
        if self._waiting:
            self._voice.say(*self._waiting.settle(self._now, self._excuse))
        if self._holding.ring is not None:
            self._settlement.advance(self._donors.reachable, self._now)
        if self._holding.ring is not None and self._waiting:
            self._asking.ask(self._holding.ring, self._now)

    def _excuse(self, waiting: Waiting) -> str:
        ring = self._holding.ring
        if ring is None:
            foreign = self._findings.any_foreign_ring()
            return foreign or f"there is no address ring yet: {self._founding.excuse()}"
        if waiting.address is None:
            return self._donors.excuse(ring)
        return self._donors.excuse_claim(ring, waiting.address)

    # What others know and want

    def _learn(self, source: Owner, payload: bytes) -> None:
        try:
            if payload.startswith(VOTES_FORMAT):
                if self._holding.ring is None:
                    self._founding.hear(payload, self._now)
                return
            knowledge = decode_knowledge(payload)
        except RemoteViolation as violation:
            self._findings.add_violation(source, violation)
            return
        self._hearing.enter(knowledge)
        self._hearing.hear(source, knowledge, self._now, tell_removed=True)

    def _converse(self, source: Owner, payload: bytes) -> None:
        if source == self._owner or not is_owner_name(source):
            return
        try:
            message = decode_message(payload)
        except RemoteViolation as violation:
            self._findings.add_violation(source, violation)
            return
        tell_removed = not isinstance(message, Notice)
        ring = self._hearing.hear(source, message.knowledge, self._now, tell_removed=tell_removed)
        if ring is None or self._holding.is_removed:
            return
        match message:
            case Request():
                self._asking.answer(source, ring, message)
            case Grant():
                self._asking.take_grant(source, ring, message, self._now)
            case Deny():
                self._asking.take_denial(source, ring, message, self._now)
            case Notice():
                pass  # what it tells has been merged
            case Settle():
                self._settlement.answer(source, ring, message)
            case Agree():
                self._settlement.hear(source, message)
            case _:
                assert_never(message)

    # Answers to queries

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
