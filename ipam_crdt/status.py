"""What the allocator tells a person: frozen values, sentences where something is not right. No behaviour."""

from ipaddress import IPv4Address, IPv4Network

from msgspec import Struct

from ipam_crdt.roster import Owner


class OwnerStatus(Struct, frozen=True):
    """One owner's part of the ring."""

    owner: Owner
    ranges: tuple[IPv4Network, ...]
    """Its ranges in the fewest CIDRs."""
    addresses: int
    """How many addresses are in them."""
    free: int | None
    """How many of them are free: for ourselves exactly, for others as last heard; None if never heard."""
    reachable: bool
    """Whether it can be asked now; true for ourselves."""


class WaitingStatus(Struct, frozen=True):
    """One request without an answer yet."""

    ident: str
    address: IPv4Address | None
    """The address it claims; None if any will do."""
    deadline: float
    """When it will be refused, in seconds on the clock of `now`."""
    reason: str
    """Why it waits, as a sentence."""


class IpamStatus(Struct, frozen=True):
    """All of it."""

    universe: IPv4Network
    ring_id: bytes | None
    """None until a ring is founded or heard of."""
    owners: tuple[OwnerStatus, ...]
    """Sorted by name."""
    unknown: int
    """How many addresses have no owner that we have heard of."""
    allocated: int
    """How many addresses are handed out here."""
    pending: tuple[WaitingStatus, ...]
    """In the order in which they were asked for."""
    findings: tuple[str, ...]
    """What is wrong and what to do about it, as sentences."""
    is_removed: bool
    """Whether we were removed from the ring, or have left it."""
    removed: tuple[Owner, ...]
    """Whose rights have ended, for ever; sorted."""
    unsettled: tuple[str, ...]
    """Why what a removed peer owned cannot be handed out yet, as sentences; empty if nothing is left to settle."""
    quarantined: tuple[IPv4Network, ...]
    """Ranges of ours of which nothing new is handed out, because somebody else was given them, too."""
