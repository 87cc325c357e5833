"""The errors of this package, one tree: what another peer did wrong, what the caller did wrong, what the file says.

Not here: a request that cannot be answered with an address. That is an answer (`Refused`), not an error.
"""

from ipaddress import IPv4Network


class IpamError(Exception):
    """Whatever this package raises on purpose."""


class _Reasoned(IpamError):
    """An error that one phrase tells all of."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        """What is wrong, as half a sentence."""

    def __str__(self) -> str:
        return self.reason


class RemoteViolation(_Reasoned):
    """Another peer sent what the protocol does not allow. The sender is at fault; nothing of it was used."""


class LocalMisuse(_Reasoned):
    """The caller asked for something that can never be right, such as a universe without a usable address."""


class SnapshotCorrupt(_Reasoned):
    """The snapshot is torn, altered, or of a format unknown here; guessing would risk giving an address twice."""

    def __str__(self) -> str:
        return f"the ring file cannot be used: {self.reason}"


class SnapshotForeign(SnapshotCorrupt):
    """The snapshot is whole but belongs to another peer, so its promises are not ours to keep."""

    def __init__(self, reason: str, belongs_to: str) -> None:
        super().__init__(reason)
        self.belongs_to = belongs_to
        """The peer that wrote it."""


class UniverseMismatch(IpamError):
    """The snapshot's ring divides another range than the one asked for; obeying either would drop data silently."""

    def __init__(self, persisted: IPv4Network, configured: IPv4Network) -> None:
        super().__init__(persisted, configured)
        self.persisted = persisted
        """The range of the ring in the snapshot."""
        self.configured = configured
        """The range the caller asked for."""

    def __str__(self) -> str:
        return f"the ring divides {self.persisted}, not {self.configured}"
