"""The errors of this package, one tree: what another peer did wrong, what the caller did wrong, what the file says.

Not here: a request that cannot be answered with an address. That is an answer (`Refused`), not an error.
"""

from dataclasses import dataclass
from ipaddress import IPv4Network


class IpamError(Exception):
    """Whatever this package raises on purpose."""


@dataclass(eq=False)
class RemoteViolation(IpamError):
    """Another peer sent what the protocol does not allow. The sender is at fault; nothing of it was used."""

    reason: str
    """What is wrong with it, as half a sentence."""

    def __str__(self) -> str:
        return self.reason


@dataclass(eq=False)
class LocalMisuse(IpamError):
    """The caller asked for something that can never be right, such as a universe without a usable address."""

    reason: str
    """What is wrong with it, as half a sentence."""

    def __str__(self) -> str:
        return self.reason


@dataclass(eq=False)
class SnapshotCorrupt(IpamError):
    """The snapshot is torn, altered, or of a format unknown here; guessing would risk giving an address twice."""

    reason: str
    """What does not fit, as half a sentence."""

    def __str__(self) -> str:
        return f"the ring file cannot be used: {self.reason}"


@dataclass(eq=False)
class SnapshotForeign(SnapshotCorrupt):
    """The snapshot is whole but belongs to another peer, so its promises are not ours to keep."""

    belongs_to: str
    """The peer that wrote it."""


@dataclass(eq=False)
class UniverseMismatch(IpamError):
    """The snapshot's ring divides another range than the one asked for; obeying either would drop data silently."""

    persisted: IPv4Network
    """The range of the ring in the snapshot."""
    configured: IPv4Network
    """The range the caller asked for."""

    def __str__(self) -> str:
        return f"the ring divides {self.persisted}, not {self.configured}"
