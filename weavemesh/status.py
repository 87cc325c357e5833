"""The state of an agent as it tells it: plain values, the same in `weavemesh status --json` and over the local API.

Nothing is computed here: `weavemesh.verdict` judges the parts, `weavemesh.status_text` renders them for people, the
daemon fills them in. Names of fields are part of the interface: add, never rename. All durations are seconds before
the report was made, all sizes octets, all addresses text.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

HOST_IDENT = "weavemesh:host"
"""The ident of a host's own address among those of its pods, whose idents have no colon before their first slash."""
EXPOSED_IDENT = "weavemesh:exposed"
"""That of the address which `weavemesh expose` gives it besides."""

TunnelState = Literal["live", "connecting", "silent", "none"]
"""live: answers; connecting: has not answered yet; silent: answered once, not now; none: nothing to send to."""

ConnectionState = Literal["established", "pending", "retrying", "failed", "connecting"]
"""Weave Net's words, in the order in which they are counted."""

TargetState = Literal["connected", "connecting", "retrying", "reached", "ourselves"]
"""reached: found, and left without a link of our own because there are links enough."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is not right: the cause and what to do, without full stops."""

    sentence: str
    remedy: str
    """Empty where the sentence holds it already."""


class AgentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The process that answers."""

    version: str
    name: str
    nickname: str
    pid: int
    started_at: float
    """Unix time."""
    uptime_s: float
    memory_bytes: int
    """Resident set."""
    ready: bool
    waiting_for: str | None
    """While not ready: what for, as a sentence."""
    interface: str
    port: int
    mtu: int | None
    state_dir: str
    run_dir: str


class EncryptionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How much of the traffic to other peers has a tunnel to go through; the rest is dropped, never sent in clear."""

    datapath: str
    """"kernel" or "userspace (wireguard-go)"."""
    peers: int
    """Other peers known."""
    live_tunnels: int
    """Those of them whose tunnel answers."""
    coverage: str
    """The two figures as a sentence."""
    secret_fingerprint: str
    """Equal on all peers of one mesh; tells nothing of the secret."""
    control: str = "TLS 1.3"
    enabled: bool = True
    """There is no plaintext mode."""


class TargetStatus(msgspec.Struct, frozen=True, kw_only=True):
    """An address that this peer was told to dial."""

    address: str
    state: TargetState
    peer: str | None
    """Who answered there."""
    reason: str | None
    """Why it is not connected."""
    retry_in_s: float | None


class ConnectionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One control link, or the attempt to make one."""

    outbound: bool
    address: str
    state: ConnectionState
    peer: str | None
    nickname: str | None
    rtt_ms: float | None
    since_s: float | None
    reason: str | None


class PathStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A way between two peers of the mesh that is not direct, as the one at its start told all others."""

    origin: str
    peer: str
    relay: str | None
    """Over whom packets go; None if they do not get there."""
    reason: str


class SeenStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Where one peer sees our packets come from."""

    peer: str
    endpoint: str


class RelayedStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Two peers for whom this one forwards, and how much it has since both were bound here."""

    one: str
    other: str
    packets: int
    octets: int


class RouterStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The mesh as seen from here."""

    protocol: str
    peer_discovery: bool
    targets: tuple[TargetStatus, ...]
    connections: tuple[ConnectionStatus, ...]
    own_endpoints: tuple[str, ...] = ()
    """The host's own addresses, with the port."""
    seen_as: tuple[SeenStatus, ...] = ()
    """Where others see our packets come from."""
    relayed: tuple[RelayedStatus, ...] = ()
    """Pairs of peers whose packets this one forwards."""
    indirect: tuple[PathStatus, ...] = ()
    """All ways in the whole mesh that are not direct."""
    counters: Mapping[str, int] = {}
    """What went wrong in gossip since the start, by kind; harmless, but what grows deserves a look."""
    terminations: int = 0
    """Control links that have ended since the start."""


class PeerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One peer of the mesh, ourselves included."""

    name: str
    nickname: str
    ourselves: bool
    version: str | None
    public_key: str | None
    """WireGuard's, base64."""
    reachable: bool
    """Whether control messages reach it, directly or over others."""
    links: tuple[str, ...]
    """Names of the peers that it has control links with."""
    via: str | None
    """How packets go there: "direct", the name of a relay, or None if no way has been found yet."""
    datapath: str | None
    endpoint: str | None
    """"address:port" that its WireGuard packets are sent to now."""
    endpoint_source: str | None
    """Who says so: "its summary", "advertised", "learned from its packets"…"""
    tunnel: TunnelState
    last_seen_s: float | None
    """Since anything was heard of it, over any way."""
    last_handshake_s: float | None
    rtt_ms: float | None
    """Inside the tunnel."""
    control_rtt_ms: float | None
    """Of the direct control link."""
    rx_bytes: int
    tx_bytes: int
    owned: tuple[str, ...]
    """Its ranges in the ring, as CIDRs."""
    addresses: tuple[str, ...]
    """Its own addresses in the overlay."""
    problem: Problem | None
    """What the agent itself found wrong with the way there."""
    secrets: tuple[str, ...] = ()
    """Fingerprints of the cluster secrets that it accepts, the one that it shows first; empty if it does not tell."""
    path_since_s: float | None = None
    """Since when packets have gone this way."""
    why_not_direct: str | None = None
    """Why not directly; None if they do, or for ourselves."""
    loss: float | None = None
    """Lost share of the last questions through the tunnel, 0…1."""
    mtu: int | None = None
    """Octets of the largest packet that goes there through the tunnel; None for ourselves."""
    mtu_proven: bool = False
    """Such packets have been found to pass on the path in use; else it is what is taken to pass until then."""
    dial_failure: str | None = None
    """Why our last attempt at a control link with it failed."""
    node: str | None = None
    """Cluster and node of Kubernetes that it runs on, as "uid/name"; None elsewhere."""


class IpamEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What one peer owns of the universe."""

    peer: str
    nickname: str
    ips: int
    percent: float
    """Of the universe, 0…100."""
    active: int | None
    """Addresses in use; None where only the owner knows."""
    reachable: bool
    ranges: tuple[str, ...]
    free: int | None = None
    """Addresses that could be handed out, of others as last heard; None if never heard."""


class IpamRemoved(msgspec.Struct, frozen=True, kw_only=True):
    """A peer that was removed, for ever."""

    peer: str
    nickname: str
    """As far as it is remembered."""


class IpamPending(msgspec.Struct, frozen=True, kw_only=True):
    """A pod that waits for its address."""

    ident: str
    reason: str
    waiting_s: float
    claims: str | None = None
    """The address that it asks for; None if any will do."""


class IpamStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The address ring."""

    ready: bool
    status: str
    """"ready", or what is waited for, in Weave Net's words where it has them."""
    range: str
    ipv6_range: str | None
    ring_id: str | None
    entries: tuple[IpamEntry, ...]
    active: tuple[str, ...]
    """Addresses in use at this peer."""
    pending: tuple[IpamPending, ...]
    findings: tuple[Problem, ...]
    unknown: int = 0
    """Addresses of which this peer does not know the owner (yet)."""
    quarantined: tuple[str, ...] = ()
    """Ranges of this peer of which nothing is handed out, because somebody else was given them, too."""
    removed: tuple[IpamRemoved, ...] = ()
    unsettled: tuple[str, ...] = ()
    """Why what removed peers owned cannot be handed out yet, as sentences with their remedies."""
    is_removed: bool = False
    """Whether this peer itself was removed, or has left."""


class PodStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One attachment: a pod, its veth, its addresses."""

    ident: str
    pod: str | None
    """"namespace/name" where the runtime told it."""
    addresses: tuple[str, ...]
    host_interface: str
    """"none" if it has none here: its address was asked for by hand, or its interface is gone."""


class StatusReport(msgspec.Struct, frozen=True, kw_only=True):
    """All of it; `ok` is the verdict that the exit status of `weavemesh status` carries."""

    generated_at: float
    """Unix time."""
    ok: bool
    verdict: str
    problems: tuple[Problem, ...]
    agent: AgentStatus
    encryption: EncryptionStatus
    router: RouterStatus
    peers: tuple[PeerStatus, ...]
    ipam: IpamStatus
    pods: tuple[PodStatus, ...]
