"""What the agent does about the address ring when it is asked over the local API: remove a peer, leave, and addresses.

Whether an order makes sense is asked here, before it is given, so that each refusal has its sentence; what it does is
`ipam_crdt`'s. Implements `weavemesh.api.ring.RingApi`.
"""

from collections.abc import Awaitable, Callable, Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from msgspec import Struct

import ipam_crdt
from gossip import Mesh, PeerName
from ipam_crdt import Owner
from weavemesh.api.message import Changed
from weavemesh.api.ring import (
    AllocateRequest,
    ClaimRequest,
    ClearRequest,
    Holder,
    LeaveRequest,
    LookupRequest,
    ReleaseRequest,
    RemoveRequest,
)
from weavemesh.error import UserError
from weavemesh.kernel.podmodel import WiringFailed
from weavemesh.membership import Membership
from weavemesh.overlay.plan import twin_address
from weavemesh.planning import with_nicknames
from weavemesh.pool import AddressPool, AllocationRefused, NotDurable
from weavemesh.status import HOST_IDENT
from weavemesh.verdict import REMOVED, REMOVED_REMEDY, title

ALLOCATION_DEADLINE_S = 20.0
"""As long as a pod waits."""
SETTLED_S = 3.0
"""How long `rmpeer` waits to tell who has the addresses now; it takes some round trips where all can be reached."""
LEAVE_S = 5.0
"""How long a peer that leaves waits for another to know of it."""
NAMED_MAX = 8
"""Peers that a refusal names; the others are counted."""


class RingOperation(Struct, frozen=True, kw_only=True):
    """Orders and questions about the ring of a running agent."""

    mesh: Mesh
    pool: AddressPool
    membership: Membership
    own_name: str
    ula: Callable[[], IPv6Network | None]
    attached: Callable[[], Awaitable[Collection[str]]]
    """The idents of the pods that have an interface on this host. WiringFailed."""

    async def remove(self, request: RemoveRequest) -> Changed:
        """Remove a peer for ever; answered when that is on disk, with what becomes of its addresses."""
        self._refuse_without_ring()
        allocator = self.pool.allocator
        owner = self._member(request.peer)
        if owner == self.own_name:
            raise UserError("this is the peer itself", remedy="`weavemesh down --leave` takes it out of the mesh")
        if owner in allocator.roster.removed:
            return Changed(sentences=(f"{self._title(owner)} was removed before", *self._estate_of(owner)))
        view = self.mesh.peer(PeerName(owner))
        if view is not None and view.reachable and not request.force:
            raise UserError(
                f"{self._title(owner)} is up and can be reached",
                remedy="let it leave by itself with `weavemesh down --leave` there, or stop it first, or remove it "
                "with --force: its pods then lose their network",
            )
        ranges, title_of_it = allocator.owned(owner), self._title(owner)
        await self._change(ipam_crdt.Remove(owner))
        if allocator.roster.living - self._reachable() == {Owner(self.own_name)}:  # else it waits for the others
            await self.pool.until(lambda: not self._estate_of(owner), deadline_s=SETTLED_S)
        return Changed(
            sentences=(
                f"{title_of_it} is removed",
                *(self._estate_of(owner) or self._heirs_of(ranges)),
                *self._targets_of(owner),
            )
        )

    async def leave(self, request: LeaveRequest) -> Changed:  # noqa: ARG002 - there is nothing to choose
        """Hand all we own to others; answered when another peer knows, so that nothing of us is needed any more."""
        allocator = self.pool.allocator
        if not allocator.ready:
            raise UserError("this peer is in no mesh yet", remedy="`weavemesh reset` is all it needs")
        if not allocator.is_removed:
            if not allocator.roster.living.isdisjoint(self._reachable()):
                await self._change(ipam_crdt.Leave())
            if not allocator.is_removed:
                raise UserError(
                    "no other member of the mesh can be reached to take over this peer's addresses",
                    remedy="`weavemesh down` keeps them for later; or `weavemesh reset` here and then "
                    f"`weavemesh rmpeer {self.own_name}` on a host that stays",
                )
        if not await self.pool.until(lambda: allocator.removal_is_known, deadline_s=LEAVE_S):
            raise UserError(
                f"this peer has left, but no other has confirmed within {LEAVE_S:g} s that it knows",
                remedy="try again; or `weavemesh reset` here and then "
                f"`weavemesh rmpeer {self.own_name}` on a host that stays",
            )
        return Changed(sentences=("this peer has left the mesh; others have its addresses",))

    async def lookup(self, request: LookupRequest) -> Holder:
        """Who has an address, or which address an ident of this host has."""
        allocations = self.pool.allocator.allocations()
        address = allocations.get(request.subject)
        if address is None:
            try:
                address = IPv4Address(request.subject)
            except ValueError as error:
                raise UserError(
                    f"nobody on this host is {request.subject!r}, and it is no IPv4 address",
                    remedy="`weavemesh status pods` shows the idents of this host",
                ) from error
        ident = next((ident for ident, held in allocations.items() if held == address), None)
        return self._holder(address, ident)

    async def allocate(self, request: AllocateRequest) -> Holder:
        """Any address for an ident; the same again if it has one."""
        return await self._allocated(request.ident, None)

    async def claim(self, request: ClaimRequest) -> Holder:
        """This very address for an ident."""
        return await self._allocated(request.ident, _address(request.address))

    async def release(self, request: ReleaseRequest) -> Changed:
        """Give the ident's address back, for good when answered."""
        if request.ident == HOST_IDENT:
            raise UserError("that is this host's own address", remedy="`weavemesh down` gives it up")
        if request.ident in await self._attached():
            raise UserError(
                f"{request.ident} is a pod on this host and uses its address",
                remedy="delete the pod: its runtime gives the address back",
            )
        address = self.pool.address_of(request.ident)
        try:
            await self.pool.release(request.ident)
        except NotDurable as error:
            raise _not_durable(error) from error
        told = f"{request.ident} has no address" if address is None else f"{address} is free again"
        return Changed(sentences=(told,))

    async def clear(self, request: ClearRequest) -> Changed:
        """Hand out again what was isolated because of a conflict."""
        try:
            network = IPv4Network(request.range)
        except ValueError as error:
            raise UserError(
                f"{request.range!r} is no IPv4 range", remedy="name a range that `weavemesh status ipam` shows"
            ) from error
        isolated = [block for block in self.pool.allocator.status().quarantined if block.overlaps(network)]
        if not isolated:
            return Changed(sentences=(f"nothing of {network} is isolated on this host",))
        await self._change(ipam_crdt.Clear(network))
        return Changed(sentences=tuple(f"{block} is handed out again" for block in isolated))

    async def _allocated(self, ident: str, address: IPv4Address | None) -> Holder:
        try:
            held = await self.pool.allocate(ident, address, deadline_s=ALLOCATION_DEADLINE_S)
        except AllocationRefused as refused:
            reason, _, remedy = self._named(str(refused)).rpartition("; ")
            raise UserError(reason or remedy, remedy=remedy) from refused
        return self._holder(held, ident)

    async def _change(self, event: ipam_crdt.Input) -> None:
        try:
            await self.pool.change(event)
        except NotDurable as error:
            raise _not_durable(error) from error

    async def _attached(self) -> Collection[str]:
        try:
            return await self.attached()
        except WiringFailed as error:
            raise UserError(f"the pods' interfaces cannot be listed: {error.reason}", remedy="try again") from error

    def _refuse_without_ring(self) -> None:
        if not self.pool.allocator.ready:
            raise UserError("there is no address ring yet", remedy="`weavemesh status` says what is waited for")
        if self.pool.allocator.is_removed:
            raise UserError(REMOVED, remedy=REMOVED_REMEDY)

    def _reachable(self) -> set[Owner]:
        return {Owner(view.name) for view in self.mesh.peers() if view.reachable and view.hops != 0}

    def _member(self, word: str) -> Owner:
        """The peer with this name or nickname, a living one before one that was removed; it need not be in the ring.

        UserError if there is none, or more than one.
        """
        removed, nicknames = self.pool.allocator.roster.removed, self.membership.nicknames()
        known = self.pool.allocator.roster.members | {Owner(name) for name in nicknames}
        if word in known:
            return Owner(word)
        called = sorted(name for name in known if nicknames.get(name) == word)
        found = [name for name in called if name not in removed] or called
        if len(found) > 1:
            raise UserError(f"{word} is the nickname of {self._listed(found)}", remedy="give the name of one of them")
        if found:
            return found[0]
        others = sorted(known - removed - {Owner(self.own_name)})
        raise UserError(
            f"no peer is called {word!r}",
            remedy=f"the others of this mesh are {self._listed(others)}" if others else "there is no other peer",
        )

    def _estate_of(self, owner: Owner) -> tuple[str, ...]:
        """Why what it owned is not handed out yet; empty if nothing of it is left."""
        return tuple(
            self._named(sentence) for sentence in self.pool.allocator.status().unsettled if f" of {owner}," in sentence
        )

    def _heirs_of(self, ranges: tuple[IPv4Network, ...]) -> tuple[str, ...]:
        allocator = self.pool.allocator
        heirs = [
            self._title(owner)
            for owner in allocator.owners()
            if any(own.overlaps(block) for own in allocator.owned(owner) for block in ranges)
        ]
        listed = ", ".join(map(str, ranges))
        return (f"its {listed} {'belongs' if len(ranges) == 1 else 'belong'} to {' and '.join(heirs)} now",) * bool(
            heirs
        )

    def _targets_of(self, owner: Owner) -> tuple[str, ...]:
        targets = [view.target for view in self.mesh.targets() if view.peer == PeerName(owner)]
        return tuple(f"{target} is still dialled; `weavemesh forget {target}` ends that" for target in targets)

    def _holder(self, address: IPv4Address, ident: str | None) -> Holder:
        allocator, ula = self.pool.allocator, self.ula()
        owner = next(
            (owner for owner in allocator.owners() if any(address in block for block in allocator.owned(owner))), None
        )
        if owner is None:
            place = f"{address} belongs to nobody that this peer knows of"
        elif owner == self.own_name:
            place = f"{address} is in this peer's own range" + ("" if ident else " and free")
        else:
            place = f"{address} is in a range of {self._title(owner)}"
        return Holder(
            address=str(address),
            ipv6=str(twin_address(ula, address)) if ula else None,
            ident=ident,
            peer=owner,
            nickname=self.membership.nicknames().get(owner or "", ""),
            sentence=place if ident is None else f"{address} is {ident}'s, on this host",
        )

    def _title(self, owner: str) -> str:
        return title(nickname=self.membership.nicknames().get(owner), name=owner)

    def _listed(self, names: list[str] | list[Owner]) -> str:
        rest = len(names) - NAMED_MAX
        return ", ".join(map(self._title, names[:NAMED_MAX])) + (f" and {rest} more" if rest > 0 else "")

    def _named(self, sentence: str) -> str:
        return with_nicknames(sentence, self.membership.nicknames())


def _address(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except ValueError as error:
        raise UserError(f"{text!r} is no IPv4 address", remedy="write it like 10.32.0.7", exit_status=2) from error


def _not_durable(error: NotDurable) -> UserError:
    return UserError(
        f"it is done, but not on disk yet, and a crash would undo it: {error}",
        remedy="the agent goes on writing; `weavemesh status` shows when it has succeeded",
    )
