"""Inputs and outputs of the Mesh: everything that goes in and comes out, as closed unions.

Not here: what they mean for the protocol (`gossip.mesh`). Counterpart: the shell, which turns sockets and timers into
inputs and performs outputs in the order given.
"""

from __future__ import annotations

from msgspec import Struct

from gossip.name import LinkId, PeerName, Target
from gossip.record import PathReport


class LinkOpened(Struct, frozen=True):
    """A connection to `peer` stands and both ends are authenticated; the shell vouches for the name."""

    link: LinkId
    """A number never used before."""
    peer: PeerName
    """Who is at the other end."""
    address: str
    """Remote "ip:port", for people."""
    outbound: bool
    """True if we dialled."""
    target: Target | None
    """What was dialled; None if they dialled us."""


class LinkClosed(Struct, frozen=True):
    """A connection is gone. Of a link that the Mesh itself closed, or never knew, this is no news and is ignored."""

    link: LinkId
    """Which."""
    reason: str
    """A phrase for people."""


class DialFailed(Struct, frozen=True):
    """A `Dial` did not lead to a link. Every `Dial` is answered by this or by `LinkOpened`, once."""

    target: Target
    """What was dialled."""
    reason: str
    """A phrase for people."""


class FrameReceived(Struct, frozen=True):
    """One whole frame came over a link, in the order in which the other end sent it."""

    link: LinkId
    """Which link. Frames of a link already closed are ignored."""
    frame: bytes
    """At most FRAME_BYTES_MAX bytes; the shell refuses longer ones before reading them."""


class PublishSummary(Struct, frozen=True):
    """What this peer says of itself from now on. The same again does nothing."""

    summary: bytes
    """Opaque to this package; at most SUMMARY_BYTES_MAX bytes."""


class ConnectTargets(Struct, frozen=True):
    """Dial these for ever, and now: a waiting back-off is cut short, "ourselves" is forgotten."""

    targets: tuple[Target, ...]
    """Known ones may be among them."""
    replace: bool
    """True: forget all targets not named here (links that stand are kept)."""


class ForgetTargets(Struct, frozen=True):
    """Dial these no more. Links that stand are kept; unknown targets are ignored."""

    targets: tuple[Target, ...]
    """Which."""


class GossipNews(Struct, frozen=True):
    """Push `payload` to every link. Whoever finds news in it pushes on by a GossipNews of its own."""

    channel: str
    """A registered channel."""
    payload: bytes
    """At most PAYLOAD_BYTES_MAX bytes."""


class SendUnicast(Struct, frozen=True):
    """Send `payload` to one peer, hop by hop over links, signed. Without a path it is dropped and counted."""

    channel: str
    """A registered channel."""
    destination: PeerName
    """Who shall get it; ourselves is allowed."""
    payload: bytes
    """At most PAYLOAD_BYTES_MAX bytes."""


class FencePeers(Struct, frozen=True):
    """Have nothing to do any more with these peers: they were removed from the mesh for ever.

    Their records are dropped and never taken again, links with them closed and refused with a Bye that says why, their
    unicasts ignored. Whoever was once named stays fenced, named again or not; ourselves we cannot fence.
    """

    peers: tuple[PeerName, ...]
    """All peers removed so far, as far as known here; the same again does nothing."""


class ReportPaths(Struct, frozen=True):
    """Tell the mesh to whom our packets do not go directly, and why. The same again does nothing."""

    reports: tuple[PathReport, ...]
    """All of them, the gravest first: a record holds REPORTS_MAX."""


class LinkBlocked(Struct, frozen=True):
    """The other end of a link does not keep up. Until LinkFree only heartbeats and unicasts are sent over it."""

    link: LinkId
    """Which link."""


class LinkFree(Struct, frozen=True):
    """The other end keeps up again: what came to be owed meanwhile is sent, merged."""

    link: LinkId
    """Which link."""


Input = (
    LinkOpened
    | LinkClosed
    | DialFailed
    | FrameReceived
    | PublishSummary
    | ConnectTargets
    | ForgetTargets
    | GossipNews
    | SendUnicast
    | FencePeers
    | ReportPaths
    | LinkBlocked
    | LinkFree
)


class Dial(Struct, frozen=True):
    """Connect to `target`, authenticate, and answer with LinkOpened or DialFailed."""

    target: Target
    """What to dial."""


class SendFrame(Struct, frozen=True):
    """Write `frame` to the link, after all frames before it."""

    link: LinkId
    """Which link."""
    frame: bytes
    """At most FRAME_BYTES_MAX bytes."""


class CloseLink(Struct, frozen=True):
    """Write what is queued for the link, then close it. The Mesh has forgotten it already."""

    link: LinkId
    """Which link."""
    reason: str
    """A phrase for people."""


class PeerChanged(Struct, frozen=True):
    """The record of `peer` is new or changed, or its reachability is. At most once per peer and `outputs()`."""

    peer: PeerName
    """Who."""


class Delivered(Struct, frozen=True):
    """A message for a registered channel. The same message may come more than once, unless it is a unicast."""

    channel: str
    """Where it belongs."""
    source: PeerName
    """Unicast: who signed it. Otherwise: the neighbour who passed it on, not who first said it."""
    payload: bytes
    """What was sent; or the whole `state()` of the neighbour's Gossiper."""
    unicast: bool
    """True if it was meant for this peer alone."""


class Persist(Struct, frozen=True):
    """`snapshot()` has changed in a way worth keeping. Nothing was promised on its strength: writing late is safe."""


class FencedBy(Struct, frozen=True):
    """A member of the mesh will have nothing to do with us: it says that we were removed. Told at each refusal."""

    peer: PeerName
    """Who says so; the shell had authenticated the link."""


Output = Dial | SendFrame | CloseLink | PeerChanged | Delivered | Persist | FencedBy
