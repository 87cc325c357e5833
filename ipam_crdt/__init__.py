"""Who owns which addresses: a ring of CIDR blocks that merges without conflict, and an allocator over it. Pure.

No I/O, no clock, no randomness of its own, and no knowledge of gossip: a peer is an opaque, ordered name. The
counterpart is the agent, which performs the outputs and carries the payloads.
"""

from ipam_crdt.allocator import Allocator
from ipam_crdt.error import (
    IpamError,
    LocalMisuse,
    RemoteViolation,
    SnapshotCorrupt,
    SnapshotForeign,
    UniverseMismatch,
)
from ipam_crdt.event import (
    Allocate,
    Allocated,
    Announce,
    Claim,
    Clear,
    Fenced,
    InitialPeers,
    Input,
    Leave,
    MessageReceived,
    Output,
    OwnershipChanged,
    PeersReachable,
    Persist,
    Refused,
    Release,
    Remove,
    RingReceived,
    Send,
)
from ipam_crdt.roster import Owner, Roster
from ipam_crdt.status import IpamStatus, OwnerStatus, WaitingStatus
from ipam_crdt.vote import Electorate

__all__ = [
    "Allocate",
    "Allocated",
    "Allocator",
    "Announce",
    "Claim",
    "Clear",
    "Electorate",
    "Fenced",
    "InitialPeers",
    "Input",
    "IpamError",
    "IpamStatus",
    "Leave",
    "LocalMisuse",
    "MessageReceived",
    "Output",
    "Owner",
    "OwnerStatus",
    "OwnershipChanged",
    "PeersReachable",
    "Persist",
    "Refused",
    "Release",
    "RemoteViolation",
    "Remove",
    "RingReceived",
    "Roster",
    "Send",
    "SnapshotCorrupt",
    "SnapshotForeign",
    "UniverseMismatch",
    "WaitingStatus",
]
