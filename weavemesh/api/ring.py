"""What can be asked of the address ring over the local API: the messages, and the protocol that answers them."""

from typing import Protocol

import msgspec

from weavemesh.api.message import Changed

RING_ANSWER_S = 30.0
"""The longest that an agent takes for one of these: an address may have to be asked for."""


class RemoveRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Remove a peer that is gone for ever; with `force`, also one that can be reached."""

    peer: str
    """Its name or nickname."""
    force: bool = False


class LeaveRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Hand all addresses of this peer to others and take part no longer."""


class LookupRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Who has an address, or which address somebody has."""

    subject: str
    """An address, or an ident."""


class AllocateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Any address for an ident."""

    ident: str


class ClaimRequest(msgspec.Struct, frozen=True, kw_only=True):
    """This very address for an ident."""

    ident: str
    address: str


class ReleaseRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The ident's address is needed no longer."""

    ident: str


class ClearRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Hand out again what was isolated of a range because of a conflict."""

    range: str


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Who has an address."""

    address: str
    ipv6: str | None
    """Its twin; None before there is a ring."""
    ident: str | None
    """Who has it on this host; None if nobody here."""
    peer: str | None
    """Who owns the range that it is in; None if nobody is known to."""
    nickname: str
    sentence: str
    """All of it for people."""


class RingApi(Protocol):
    """The orders and questions; each may raise UserError. An order is durable when it is answered."""

    async def remove(self, request: RemoveRequest) -> Changed: ...

    async def leave(self, request: LeaveRequest) -> Changed: ...

    async def lookup(self, request: LookupRequest) -> Holder: ...

    async def allocate(self, request: AllocateRequest) -> Holder: ...

    async def claim(self, request: ClaimRequest) -> Holder: ...

    async def release(self, request: ReleaseRequest) -> Changed: ...

    async def clear(self, request: ClearRequest) -> Changed: ...
