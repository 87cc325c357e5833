"""A ring of one range that answers the local API, as small as can be: `weavemesh.api.ring.RingApi`."""

from dataclasses import dataclass, field

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


@dataclass
class SampleRing:
    """Remembers addresses by ident, and who was removed."""

    held: dict[str, str] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    can_leave: bool = True

    async def remove(self, request: RemoveRequest) -> Changed:
        if request.peer == "busy" and not request.force:
            raise UserError("busy is up", remedy="stop it first")
        self.removed.append(request.peer)
        return Changed(sentences=(f"{request.peer} is removed",))

    async def leave(self, request: LeaveRequest) -> Changed:
        assert request == LeaveRequest()
        if not self.can_leave:
            raise UserError("nobody can be reached", remedy="try `weavemesh down`")
        return Changed(sentences=("this peer has left the mesh",))

    async def lookup(self, request: LookupRequest) -> Holder:
        for ident, address in self.held.items():
            if request.subject in (ident, address):
                return holder(address, ident)
        return holder(request.subject, None)

    async def allocate(self, request: AllocateRequest) -> Holder:
        self.held[request.ident] = f"10.32.0.{len(self.held) + 1}"
        return holder(self.held[request.ident], request.ident)

    async def claim(self, request: ClaimRequest) -> Holder:
        if request.address in self.held.values():
            raise UserError(f"{request.address} is in use", remedy="claim another")
        self.held[request.ident] = request.address
        return holder(request.address, request.ident)

    async def release(self, request: ReleaseRequest) -> Changed:
        return Changed(sentences=(f"{self.held.pop(request.ident, 'nothing')} is free again",))

    async def clear(self, request: ClearRequest) -> Changed:
        return Changed(sentences=(f"{request.range} is handed out again",))


def holder(address: str, ident: str | None) -> Holder:
    return Holder(
        address=address,
        ipv6=None,
        ident=ident,
        peer="a" * 16,
        nickname="n1",
        sentence=f"{address} is {ident or 'nobody'}'s",
    )
