"""What the Mesh shows to those who ask: peers, links, targets, counters.

Copies made for the asker; changing nothing. Not here: how it is printed.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from gossip.name import LinkId, PeerName, Target
from gossip.record import PathReport


class TargetPhase(StrEnum):
    """Where a target stands; the transitions are in `gossip.target`."""

    WAITING = "waiting"
    """Will be dialled when its back-off is over."""
    DIALLING = "dialling"
    """The shell has been asked to dial."""
    LINKED = "linked"
    """There is a link to the peer found there, whoever dialled it."""
    REACHED = "reached"
    """Found, and the link to that peer was given up because there are links enough; dialled again when the peer can no
    longer be reached over others.
    """
    OURSELVES = "ourselves"
    """It led to this very peer, or to another machine with its identity; not dialled until asked again."""


class LinkView(Struct, frozen=True, kw_only=True):
    """One link as it is now."""

    link: LinkId
    """Its number."""
    peer: PeerName
    """Who is at the other end."""
    address: str
    """Remote "ip:port"."""
    outbound: bool
    """True if we dialled."""
    established: bool
    """True once the other end has said hello in a version we speak."""
    wire: int
    """The wire version that both ends speak; 0 until established."""
    features: tuple[str, ...]
    """What both ends can do beyond that version, sorted."""
    in_doubt: bool
    """True while nothing is heard and others are being asked."""
    rtt_s: float | None
    """Smoothed round-trip time in seconds; None before the first answer."""
    opened_at: float
    """When it was opened (monotonic seconds)."""
    last_heard: float
    """When its last frame came (monotonic seconds)."""


class TargetView(Struct, frozen=True, kw_only=True):
    """One target as it is now."""

    target: Target
    """What is dialled."""
    phase: TargetPhase
    """Where it stands."""
    peer: PeerName | None
    """Who was last found there."""
    attempts: int
    """Dials in a row that led to no lasting link."""
    reason: str | None
    """Why the last attempt or link ended."""
    next_dial_at: float | None
    """When it is dialled next (monotonic seconds); None unless waiting."""


class PeerView(Struct, frozen=True, kw_only=True):
    """One peer as seen from here."""

    name: PeerName
    """Who."""
    summary: bytes | None
    """What it says of itself; None while we know no record of it."""
    epoch: int
    """Its life, counted in starts; 0 while unknown."""
    version: int
    """How often it has spoken in that life; 0 while unknown."""
    reachable: bool
    """True if a path of links leads there, each of which both its ends name."""
    hops: int | None
    """Links on the shortest such path; 0 for ourselves, None if unreachable."""
    next_hop: PeerName | None
    """The neighbour on that path; None for ourselves or if unreachable."""
    linked: LinkView | None
    """Our own link to it."""
    last_heard: float | None
    """When it last showed life (monotonic seconds): a frame, a new record, the last moment it was reachable. None: not
    since our start.
    """
    links: tuple[PeerName, ...]
    """Whom it names as its neighbours, sorted."""
    reports: tuple[PathReport, ...]
    """To whom its packets do not go directly, as it says itself."""
    dial_failure: str | None
    """Why our last attempt at a link with it, or our last link, failed; None if none did since it last spoke."""


class CloneView(Struct, frozen=True, kw_only=True):
    """Another machine lives under our identity: its state folder, or its whole disk, was copied."""

    times: int
    """How often its records or links have come."""
    last_at: float
    """When it last showed (monotonic seconds)."""
    summary: bytes | None
    """What it says of itself; None while only a link has shown it."""
    address: str | None
    """"ip:port" of its link with us; None while it has none."""


class Counters(Struct):
    """What went wrong so far, counted since the start. All of it is harmless; growing figures deserve a look."""

    violations: int = 0
    """Links closed because the other end broke the protocol."""
    forged: int = 0
    """Records or unicasts whose signature or name did not hold."""
    malformed: int = 0
    """Records, rightly signed, whose body could not be read."""
    stale: int = 0
    """Records older than the one known."""
    refused: int = 0
    """Records of further origins when RECORDS_MAX were known already."""
    overtaken: int = 0
    """Records in our own name that we did not write in this life: a restored backup or a cloned machine."""
    hurried: int = 0
    """Records not taken because their origin speaks faster than anybody needs to; a later one is."""
    collided: int = 0
    """Records of a name that another key has, too: two peers bear one name."""
    fenced: int = 0
    """Records and unicasts of peers that were removed from the mesh."""
    strangers: int = 0
    """Unicasts of sources that we do not know (yet)."""
    replayed: int = 0
    """Unicasts that had been delivered before."""
    unroutable: int = 0
    """Unicasts dropped for lack of a path or because they had come too many hops."""
    unregistered: int = 0
    """Messages for channels that nobody registered here."""
    oversized: int = 0
    """Channel states not sent because they exceed PAYLOAD_BYTES_MAX."""
