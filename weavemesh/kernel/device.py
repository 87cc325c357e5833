"""A WireGuard device whoever implements it: what is read from it and what can be changed on it.

Implemented by `wireguard.py` (the kernel) and `userspace.py` (wireguard-go). Addresses, MTU and routes are
not WireGuard's business; they are set through `netlink.py` for both.
"""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from weavemesh.overlay.diff import SetPeer
from weavemesh.overlay.state import IPNetwork, ObservedPeer, PrivateKey, PublicKey


class DeviceState(Struct, frozen=True):
    """WireGuard's own part of what is observed."""

    private_key: PrivateKey | None
    listen_port: int
    peers: tuple[ObservedPeer, ...]


class DeviceError(Exception):
    """A WireGuard implementation refused a request or did not answer."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        """A sentence's second half: `wireguard-go does not answer`."""


class Device(Protocol):
    """One device by name. Every method raises DeviceError when the implementation fails."""

    datapath: str
    link_kind: str
    """Kind of the network interface that such a device is: `wireguard` or `tun`."""

    async def create(self) -> None:
        """Make the interface; its name is free."""
        ...

    async def is_served(self) -> bool:
        """True if the existing interface of this name and kind is a WireGuard device that can be used."""
        ...

    async def read(self) -> DeviceState:
        """Settings and peers with their counters."""
        ...

    async def configure(self, *, private_key: PrivateKey | None, listen_port: int | None) -> None:
        """Set what is given."""
        ...

    async def set_peers(self, changes: Sequence[SetPeer]) -> None:
        """Add or change these peers, in this order; the others are not touched. After an error some may have been."""
        ...

    async def renew_peer(self, peer: SetPeer) -> None:
        """Remove this peer and make it again as it is given, in one request: no handshake that was begun counts any
        more, so the next one need not wait."""
        ...

    async def discard_allowed_ips(self, allowed_ips: tuple[IPNetwork, ...]) -> None:
        """Take allowed IPs from whichever peers have them."""
        ...

    async def remove_peer(self, public_key: PublicKey) -> None:
        """Remove one peer; one that is gone is fine."""
        ...

    async def close(self) -> None:
        """Let go of it; the device stays."""
        ...
