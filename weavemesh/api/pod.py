"""What can be asked about pods and the exposed host over the local API: the messages, and the protocol that answers."""

from typing import Protocol

import msgspec

from weavemesh.api.message import Changed


class ExposeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Give the host an address in the mesh; with `address`, that one."""

    address: str | None = None


class HideRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Take it back."""


class Exposed(msgspec.Struct, frozen=True, kw_only=True):
    """The addresses that the host has, IPv4 first."""

    addresses: tuple[str, ...]


class PodApi(Protocol):
    """The orders; each may raise UserError and is durable when it is answered."""

    async def expose(self, request: ExposeRequest) -> Exposed: ...

    async def hide(self, request: HideRequest) -> Changed: ...
