"""The door between what is wished and a kernel: implemented by `weavemesh.kernel` for Linux, and by its fake.

Not here: the wish (`plan.py`), the difference (`diff.py`).
"""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from weavemesh.overlay.diff import Action
from weavemesh.overlay.state import DesiredState, Endpoint, IPAddress, IPNetwork, ObservedPeer, ObservedState, PublicKey


class ApplyReport(Struct, frozen=True):
    """What one `apply` did."""

    actions: tuple[Action, ...]
    """Those that succeeded, in order; empty if nothing had to be done."""
    settings: tuple[str, ...]
    """Host settings (sysctl) that were changed, as sentences."""
    failures: tuple[str, ...]
    """What could not be done and why, as sentences; the next `apply` tries again."""


class Tunnel(Protocol):
    """One host's encrypted device and its routes."""

    @property
    def datapath(self) -> str:
        """`kernel` or `userspace (wireguard-go)`."""
        ...

    async def apply(self, desired: DesiredState) -> ApplyReport:
        """Make it so, by the smallest change; applying again does nothing. Failures are in the report."""
        ...

    async def observe(self) -> ObservedState | None:
        """What is there, with the peers' counters; None without a device."""
        ...

    async def routes_overlapping(self, network: IPNetwork) -> tuple[str, ...]:
        """Routes of the host, not ours, that share addresses with `network`, as `10.32.0.0/16 dev eth1`."""
        ...

    async def host_addresses(self) -> tuple[IPAddress, ...]:
        """Addresses under which others may reach this host, the most likely first."""
        ...

    async def underlay_mtu(self) -> int:
        """Bytes of a packet of the network that carries the tunnels."""
        ...

    async def close(self) -> None:
        """Let go of it; the data path stays."""
        ...


class Turn(Struct, frozen=True):
    """Where packets for one peer are to go from now on, if the device has it."""

    public_key: PublicKey
    endpoint: Endpoint
    greet: bool
    """Say something at once."""
    renew: bool
    """Do so even where a handshake was tried elsewhere a moment ago, if there is no session that would be lost."""


class Steering(Protocol):
    """What of a device the search for paths needs."""

    async def peers(self) -> tuple[ObservedPeer, ...]:
        """What the device shows of each peer."""
        ...

    async def steer(self, turns: Sequence[Turn]) -> None:
        """Have packets go there. An error in one may be the end of all."""
        ...

    async def host_addresses(self) -> tuple[IPAddress, ...]:
        """Addresses under which others may reach this host, the most likely first."""
        ...
