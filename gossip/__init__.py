"""gossip: who is in the mesh, who is linked with whom, and how news reaches all.

Pure: no I/O, no clock, no randomness of its own. It knows nothing of addresses or WireGuard; a peer's summary is bytes
to it. The door is `Mesh`; inputs and outputs are the structs below. Counterpart: the agent's shell, which owns the
sockets.
"""

from gossip.error import GossipError, LocalMisuse, RemoteViolation, SnapshotCorrupt
from gossip.event import (
    CloseLink,
    ConnectTargets,
    Delivered,
    Dial,
    DialFailed,
    FencedBy,
    FencePeers,
    ForgetTargets,
    FrameReceived,
    GossipNews,
    Input,
    LinkBlocked,
    LinkClosed,
    LinkFree,
    LinkOpened,
    Output,
    PeerChanged,
    Persist,
    PublishSummary,
    ReportPaths,
    SendFrame,
    SendUnicast,
)
from gossip.exchange import Gossiper
from gossip.mesh import Mesh
from gossip.name import LinkId, PeerName, Target, is_peer_name
from gossip.option import MeshOptions
from gossip.record import REPORTS_MAX, SUMMARY_BYTES_MAX, PathReport, Signer, Verify
from gossip.view import CloneView, Counters, LinkView, PeerView, TargetPhase, TargetView
from gossip.wire import FRAME_BYTES_MAX, PAYLOAD_BYTES_MAX

__all__ = [
    "FRAME_BYTES_MAX",
    "PAYLOAD_BYTES_MAX",
    "REPORTS_MAX",
    "SUMMARY_BYTES_MAX",
    "CloneView",
    "CloseLink",
    "ConnectTargets",
    "Counters",
    "Delivered",
    "Dial",
    "DialFailed",
    "FencePeers",
    "FencedBy",
    "ForgetTargets",
    "FrameReceived",
    "GossipError",
    "GossipNews",
    "Gossiper",
    "Input",
    "LinkBlocked",
    "LinkClosed",
    "LinkFree",
    "LinkId",
    "LinkOpened",
    "LinkView",
    "LocalMisuse",
    "Mesh",
    "MeshOptions",
    "Output",
    "PathReport",
    "PeerChanged",
    "PeerName",
    "PeerView",
    "Persist",
    "PublishSummary",
    "RemoteViolation",
    "ReportPaths",
    "SendFrame",
    "SendUnicast",
    "Signer",
    "SnapshotCorrupt",
    "Target",
    "TargetPhase",
    "TargetView",
    "Verify",
    "is_peer_name",
]
