"""What the agent can be asked over its local API: status, report, connect, forget, a new key, stop.

Reads the parts and feeds the gossip core; decides nothing by itself. It implements `weavemesh.api.server.AgentApi`;
what is asked of the address ring is answered by `weavemesh.ring_operation`.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from ipaddress import IPv6Network

from msgspec import Struct
from msgspec.structs import asdict

import gossip
from gossip import Mesh, Target
from weavemesh import __version__, reporting
from weavemesh.api.message import Changed, ConnectRequest, ForgetRequest, Readiness, StopRequest
from weavemesh.api.readiness import ReadinessLog
from weavemesh.config import AgentConfig, parse_target
from weavemesh.error import UserError
from weavemesh.identity import Identity
from weavemesh.kernel.nftables import NftablesError
from weavemesh.kernel.podmodel import WiringFailed, host_ifname
from weavemesh.kernel.sentence import FAILURES, describe_failure
from weavemesh.membership import Membership
from weavemesh.option import save_targets
from weavemesh.overlay.plan import ula_prefix
from weavemesh.overlay.state import ObservedPeer, PublicKey
from weavemesh.overlay.tunnel import Tunnel
from weavemesh.pathing import PathFinder
from weavemesh.pod_operation import PodOperation
from weavemesh.podside import PodSide
from weavemesh.pool import AddressPool
from weavemesh.probing import TunnelProbes
from weavemesh.ring_operation import RingOperation
from weavemesh.secret import DEFAULT_FILE
from weavemesh.status import (
    EXPOSED_IDENT,
    HOST_IDENT,
    AgentStatus,
    RelayedStatus,
    RouterStatus,
    SeenStatus,
    StatusReport,
)
from weavemesh.trust import Secrets
from weavemesh.verdict import judge

PROTOCOL = "weavemesh/1"
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Operation(Struct, frozen=True, kw_only=True):
    """The parts of a running agent that its users ask about."""

    config: AgentConfig
    identity: Identity
    secrets: Secrets
    republish: Callable[[], None]
    """Tell the mesh what we are and set the tunnels up anew, after a change of the secrets."""
    started_at: float
    """Unix time."""
    mtu: int
    mesh: Mesh
    feed: Callable[[gossip.Input], None]
    pool: AddressPool
    probes: TunnelProbes
    paths: PathFinder
    membership: Membership
    kernel: Tunnel
    podside: PodSide
    readiness: ReadinessLog
    rotate_key: Callable[[], Awaitable[PublicKey]]
    findings: Callable[[], tuple[str, ...]]
    """What the agent found wrong itself, as sentences with their remedies."""
    terminations: Callable[[], int]
    """Control links that have ended."""
    stop_agent: Callable[[], None]

    @property
    def ring(self) -> RingOperation:
        """What can be asked of the address ring."""
        return RingOperation(
            mesh=self.mesh,
            pool=self.pool,
            membership=self.membership,
            own_name=self.identity.name,
            ula=self._ula,
            attached=self._attached,
        )

    @property
    def pods(self) -> PodOperation:
        """What can be asked about the exposed host."""
        return PodOperation(self.podside)

    async def status(self) -> StatusReport:
        """All of it, judged."""
        findings = list(self.findings())
        known = await self._known(findings)
        allocations = self.pool.allocator.allocations()
        pods = {ident: address for ident, address in allocations.items() if ident not in (HOST_IDENT, EXPOSED_IDENT)}
        try:
            labels = await self._attached()
        except WiringFailed as error:
            labels = {}
            findings.append(f"the pods' interfaces cannot be listed: {error.reason}")
        return judge(
            generated_at=known.unix_now,
            agent=self._agent(known.unix_now),
            datapath=self.kernel.datapath,
            secret_fingerprint=self.secrets.shown.fingerprint(),
            router=RouterStatus(
                protocol=PROTOCOL,
                peer_discovery=self.config.discovery,
                targets=reporting.target_statuses(known),
                connections=reporting.connection_statuses(known),
                own_endpoints=reporting.own_endpoints(known),
                seen_as=tuple(
                    SeenStatus(peer=peer, endpoint=endpoint.text())
                    for peer, endpoint in sorted(self.paths.paths.seen.by_peer().items())
                ),
                relayed=await self._relayed(findings),
                indirect=reporting.indirect_paths(known),
                counters=asdict(self.mesh.counters()),
                terminations=self.terminations(),
            ),
            peers=reporting.peer_statuses(known),
            ipam=reporting.ipam_status(
                known,
                waiting_for=self.readiness.last or "waiting for a peer that has the ring",
                allocations=allocations,
            ),
            pods=reporting.pod_statuses(
                pods, labels, ula=known.ula, interface=lambda ident: host_ifname(ident) if ident in labels else "none"
            ),
            findings=(
                *reporting.clone_problems(known, self.mesh.clone()),
                *reporting.problems_of(findings),
            ),
        )

    async def report(self) -> dict[str, object]:
        """For a bug report: the status and what the cores count, without secrets."""
        return {
            "status": await self.status(),
            "config": {name: str(value) for name, value in _plain(self.config).items()},
            "gossip": asdict(self.mesh.counters()),
            "violations": {"gossip": self.mesh.check(), "ipam": self.pool.allocator.check()},
        }

    async def ready(self, *, known: int, wait_s: float) -> Readiness:
        return await self.readiness.wait(known=known, wait_s=wait_s)

    async def connect(self, request: ConnectRequest) -> Changed:
        """Dial these too, or these only; waiting back-offs are cut short. Durable before it returns."""
        targets = self._parse(request.targets)
        added, forgotten = await self._change_targets(gossip.ConnectTargets(targets, request.replace))
        return Changed(
            sentences=(
                *(f"connecting to {target}" for target in added),
                *(f"{target} is forgotten" for target in forgotten),
            )
        )

    async def forget(self, request: ForgetRequest) -> Changed:
        """Dial these no longer. Durable before it returns."""
        _, forgotten = await self._change_targets(gossip.ForgetTargets(self._parse(request.targets)))
        return Changed(sentences=tuple(f"{target} is forgotten" for target in forgotten))

    async def reload_secrets(self) -> Changed:
        """Go by what is in the secret's file and those beside it now."""
        path, force = self.config.secret_file or DEFAULT_FILE, self.config.force_weak_secret
        await asyncio.to_thread(self.secrets.reload, path, force=force)
        self.republish()
        shown, *accepted = self.secrets.fingerprints()
        also = f" and accepts {', '.join(accepted)}, too" if accepted else ""
        return Changed(sentences=(f"the agent shows the secret {shown}{also}",))

    async def rotate(self) -> Changed:
        """A new WireGuard key; returns when the mesh is being told of it."""
        if not self.readiness.ready:
            raise UserError("the agent is not ready, so its key stays", remedy="wait until `weavemesh status` says so")
        key = await self.rotate_key()
        return Changed(sentences=(f"this peer's WireGuard key is now {key.text()}; no tunnel was interrupted",))

    async def stop(self, request: StopRequest) -> None:  # noqa: ARG002 - the reason is for the log of the API
        self.stop_agent()

    async def _change_targets(
        self, event: gossip.ConnectTargets | gossip.ForgetTargets
    ) -> tuple[list[Target], list[Target]]:
        """Feed it; what was added and what was forgotten. Kept among the saved options, which the next start reads."""
        before = {view.target for view in self.mesh.targets()}
        self.feed(event)
        after = {view.target for view in self.mesh.targets()}
        if after != before:
            await asyncio.to_thread(save_targets, self.config.state_dir, tuple(sorted(after)))
        return sorted(after - before), sorted(before - after)

    async def _attached(self) -> dict[str, str]:
        """The labels of the pods that have an interface on this host, by ident. WiringFailed."""
        return {link.ident: link.label for link in await self.podside.wiring.list_pod_links() if link.ident}

    def _parse(self, texts: tuple[str, ...]) -> tuple[Target, ...]:
        return tuple(Target(parse_target(text, default_port=self.config.port)) for text in texts)

    def _agent(self, unix_now: float) -> AgentStatus:
        return AgentStatus(
            version=__version__,
            name=self.identity.name,
            nickname=self.identity.nickname,
            pid=os.getpid(),
            started_at=self.started_at,
            uptime_s=unix_now - self.started_at,
            memory_bytes=_resident_bytes(),
            ready=self.readiness.ready,
            waiting_for=None if self.readiness.ready else self.readiness.last,
            interface=self.config.interface,
            port=self.config.port,
            mtu=self.mtu,
            state_dir=str(self.config.state_dir),
            run_dir=str(self.config.run_dir),
        )

    async def _known(self, findings: list[str]) -> reporting.Known:
        tunnels: dict[PublicKey, ObservedPeer] = {}
        try:
            if (observed := await self.kernel.observe()) is not None:
                tunnels = {peer.public_key: peer for peer in observed.peers}
        except FAILURES as error:
            findings.append(describe_failure(f"reading the tunnel device {self.config.interface}", error))
        return reporting.Known(
            now=asyncio.get_running_loop().time(),
            unix_now=time.time(),
            peers=self.mesh.peers(),
            links=self.mesh.links(),
            targets=self.mesh.targets(),
            tunnels=tunnels,
            health=self.probes.health,
            path=self.paths.view,
            mtus=self.probes.mtus,
            ring=self.pool.allocator.status(),
            ula=self._ula(),
            nicknames=self.membership.nicknames(),
        )

    async def _relayed(self, findings: list[str]) -> tuple[RelayedStatus, ...]:
        try:
            traffic = await self.paths.kernel_relay.traffic()
        except NftablesError as error:
            findings.append(f"what is forwarded for others cannot be read: {error.reason}")
            return ()
        counted = {pair: (one.packets, one.octets) for pair, one in traffic.items()}
        counted.update(self.paths.carrier.traffic())
        return tuple(
            RelayedStatus(one=one, other=other, packets=packets, octets=octets)
            for (one, other), (packets, octets) in sorted(counted.items())
        )

    def _ula(self) -> IPv6Network | None:
        ring_id = self.pool.allocator.ring_id
        return ula_prefix(ring_id) if ring_id else None


def _plain(config: AgentConfig) -> dict[str, object]:
    return {name: getattr(config, name) for name in config.__struct_fields__}


def _resident_bytes() -> int:
    """Of this process (proc(5), statm: pages)."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * _PAGE_BYTES
