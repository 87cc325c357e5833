"""A mesh of three peers as `weavemesh status` sees it, and an agent that answers the local API with it."""

import asyncio
from dataclasses import dataclass, field

import msgspec

from tests.unit.weavemesh.sample_pods import SamplePods
from tests.unit.weavemesh.sample_ring import SampleRing
from weavemesh.api.message import Changed, ConnectRequest, ForgetRequest, Readiness, StopRequest
from weavemesh.api.readiness import ReadinessLog
from weavemesh.error import UserError
from weavemesh.status import (
    AgentStatus,
    ConnectionStatus,
    IpamEntry,
    IpamPending,
    IpamRemoved,
    IpamStatus,
    PeerStatus,
    PodStatus,
    Problem,
    RouterStatus,
    StatusReport,
    TargetStatus,
)
from weavemesh.verdict import judge

A, B, C, D = "a" * 16, "b" * 16, "c" * 16, "d" * 16


def agent_status(*, ready: bool = True, waiting_for: str | None = None) -> AgentStatus:
    return AgentStatus(
        version="0.1.0",
        name=A,
        nickname="n1",
        pid=4711,
        started_at=1_700_000_000.0,
        uptime_s=11_520.0,
        memory_bytes=50_541_363,
        ready=ready,
        waiting_for=waiting_for,
        interface="wm0",
        port=6783,
        mtu=1420,
        state_dir="/var/lib/weavemesh",
        run_dir="/run/weavemesh",
    )


_OURS = PeerStatus(
    name=A,
    nickname="n1",
    ourselves=True,
    version="0.1.0",
    public_key="qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqo=",
    reachable=True,
    links=(B, C),
    via=None,
    datapath="kernel",
    endpoint=None,
    endpoint_source=None,
    tunnel="none",
    last_seen_s=None,
    last_handshake_s=None,
    rtt_ms=None,
    control_rtt_ms=None,
    rx_bytes=0,
    tx_bytes=0,
    owned=("10.32.0.0/13",),
    addresses=("10.32.0.1", "fd12:3456:789a::a20:1"),
    problem=None,
)

_SECOND = msgspec.structs.replace(
    _OURS,
    name=B,
    nickname="n2",
    ourselves=False,
    links=(A, C),
    via="direct",
    endpoint="192.0.2.2:6783",
    endpoint_source="its own address",
    tunnel="live",
    last_seen_s=0.4,
    last_handshake_s=73.0,
    rtt_ms=0.424,
    control_rtt_ms=0.5,
    rx_bytes=123_456_789,
    tx_bytes=2048,
    owned=("10.40.0.0/14",),
    addresses=("10.40.0.1",),
    mtu=1232,
    mtu_proven=True,
)

_THIRD = msgspec.structs.replace(
    _SECOND,
    name=C,
    nickname="n3",
    links=(A, B),
    endpoint="192.0.2.3:6783",
    rtt_ms=12.34,
    owned=("10.44.0.0/14",),
    addresses=("10.44.0.1",),
    mtu=1420,
    mtu_proven=False,
)


def peers() -> tuple[PeerStatus, PeerStatus, PeerStatus]:
    return _OURS, _SECOND, _THIRD


def silent_peer() -> PeerStatus:
    """The third one with its tunnel down."""
    return msgspec.structs.replace(_THIRD, tunnel="silent", last_handshake_s=400.0)


def lost_peer() -> PeerStatus:
    """The third one gone."""
    return msgspec.structs.replace(silent_peer(), reachable=False, links=(), last_seen_s=132.0)


def router() -> RouterStatus:
    link = ConnectionStatus(
        outbound=True,
        address="192.0.2.2:6783",
        state="established",
        peer=B,
        nickname="n2",
        rtt_ms=0.5,
        since_s=11_000.0,
        reason=None,
    )
    return RouterStatus(
        protocol="weavemesh 1",
        peer_discovery=True,
        targets=(TargetStatus(address="192.0.2.2:6783", state="connected", peer=B, reason=None, retry_in_s=None),),
        connections=(
            msgspec.structs.replace(
                link, outbound=False, address="192.0.2.3:40112", peer=C, nickname="n3", rtt_ms=12.0
            ),
            link,
        ),
    )


def failing_router() -> RouterStatus:
    """With a target that refuses."""
    sound = router()
    failing = ConnectionStatus(
        outbound=True,
        address="host9:6783",
        state="retrying",
        peer=None,
        nickname=None,
        rtt_ms=None,
        since_s=None,
        reason="connection refused",
    )
    target = TargetStatus(
        address="host9:6783", state="retrying", peer=None, reason="connection refused", retry_in_s=7.2
    )
    return msgspec.structs.replace(sound, connections=(failing, *sound.connections), targets=(target, *sound.targets))


def ipam() -> IpamStatus:
    first = IpamEntry(
        peer=A,
        nickname="n1",
        ips=524_288,
        percent=50.0,
        active=3,
        reachable=True,
        ranges=("10.32.0.0/13",),
        free=524_284,
    )
    return IpamStatus(
        ready=True,
        status="ready",
        range="10.32.0.0/12",
        ipv6_range="fd12:3456:789a::/96",
        ring_id="0badcafe",
        entries=(
            msgspec.structs.replace(first, peer=C, nickname="n3", ips=262_144, percent=25.0, active=None, free=262_000),
            first,
            msgspec.structs.replace(first, peer=B, nickname="n2", ips=262_144, percent=25.0, active=None, free=None),
        ),
        active=("10.32.0.1", "10.32.0.2", "10.32.0.3"),
        pending=(),
        findings=(),
    )


def starved_ipam() -> IpamStatus:
    """With a pod that waits, an owner that is gone, one that was removed, and a range that is isolated."""
    entries = ipam().entries
    return msgspec.structs.replace(
        ipam(),
        entries=(msgspec.structs.replace(entries[0], reachable=False), *entries[1:]),
        pending=(IpamPending(ident="k8s/0123/eth0", reason="no peer with free addresses answered", waiting_s=8.0),),
        unknown=1024,
        removed=(IpamRemoved(peer=D, nickname="n4"),),
        unsettled=(f"10.46.0.0/22 of {D}(n4), which was removed, cannot be handed out yet: start n3",),
        quarantined=("10.32.8.0/24",),
    )


def pods() -> tuple[PodStatus, ...]:
    return (
        PodStatus(
            ident="k8s/0123/eth0",
            pod="shop/web-1",
            addresses=("10.32.0.2", "fd12:3456:789a::a20:2"),
            host_interface="wmv0123456789",
        ),
        PodStatus(ident="demo/beef/eth0", pod=None, addresses=("10.32.0.3",), host_interface="wmvabcdef0123"),
    )


def sound_report() -> StatusReport:
    return judge(
        generated_at=1_700_011_520.0,
        agent=agent_status(),
        datapath="kernel",
        secret_fingerprint="k3jd9sl2",
        router=router(),
        peers=peers(),
        ipam=ipam(),
        pods=pods(),
    )


def ailing_report() -> StatusReport:
    ours, second, _ = peers()
    return judge(
        generated_at=1_700_011_520.0,
        agent=agent_status(),
        datapath="userspace (wireguard-go)",
        secret_fingerprint="k3jd9sl2",
        router=failing_router(),
        peers=(lost_peer(), second, ours),
        ipam=starved_ipam(),
        pods=(),
        findings=(Problem(sentence="the route to 10.40.0.0/14 was refused", remedy=""),),
    )


@dataclass
class SampleAgent:
    """Implements `weavemesh.api.server.AgentApi`; remembers what it was asked."""

    state: StatusReport = field(default_factory=sound_report)
    readiness: ReadinessLog = field(default_factory=ReadinessLog)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    targets: set[str] = field(default_factory=set)
    ring: SampleRing = field(default_factory=SampleRing)
    pods: SamplePods = field(default_factory=SamplePods)

    async def status(self) -> StatusReport:
        return self.state

    async def report(self) -> dict[str, object]:
        return {"status": msgspec.to_builtins(self.state)}

    async def ready(self, *, known: int, wait_s: float) -> Readiness:
        return await self.readiness.wait(known=known, wait_s=wait_s)

    async def reload_secrets(self) -> Changed:
        return Changed(sentences=("the agent shows the secret k3jd9sl2",))

    async def connect(self, request: ConnectRequest) -> Changed:
        if "refused:6783" in request.targets:
            raise UserError("refused:6783 is refused", remedy="name another")
        new = [target for target in request.targets if target not in self.targets]
        self.targets = set(request.targets) | (set() if request.replace else self.targets)
        return Changed(sentences=tuple(f"connecting to {target}" for target in new))

    async def forget(self, request: ForgetRequest) -> Changed:
        known = [target for target in request.targets if target in self.targets]
        self.targets -= set(request.targets)
        return Changed(sentences=tuple(f"{target} is forgotten" for target in known))

    async def rotate(self) -> Changed:
        return Changed(sentences=("the key is another one",))

    async def stop(self, request: StopRequest) -> None:
        assert request.reason is not None
        self.stopped.set()
