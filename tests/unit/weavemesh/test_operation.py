"""What the agent answers over its API: a judged status, targets changed for good, a report without secrets."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Network
from pathlib import Path
from random import Random

import msgspec
import pytest
from msgspec.structs import replace

import gossip
from ipam_crdt import Allocator, Electorate, Owner
from tests.unit.weavemesh.mesh_pair import LinkedPeer
from tests.unit.weavemesh.test_reconciler import RecordingTunnel
from weavemesh.api.message import ConnectRequest, ForgetRequest, StopRequest
from weavemesh.api.readiness import ReadinessLog
from weavemesh.config import check
from weavemesh.error import UserError
from weavemesh.kernel.carried import CarriedOctets
from weavemesh.kernel.steering import DeviceSteering
from weavemesh.kernel.userspace import Userspace
from weavemesh.membership import Membership
from weavemesh.operation import Operation
from weavemesh.option import Options, save_options, saved_options
from weavemesh.overlay.mtu import PathMtus
from weavemesh.overlay.probe import Prober
from weavemesh.overlay.state import IPAddress, PublicKey
from weavemesh.pathing import PathFinder
from weavemesh.podside import PodSide
from weavemesh.pool import AddressPool
from weavemesh.probing import TunnelProbes
from weavemesh.secret import ClusterSecret
from weavemesh.transport.memory import MemoryNetwork
from weavemesh.trust import Secrets


async def other_key() -> PublicKey:
    return PublicKey(bytes([9] * 32))


def asked(tmp_path: Path, question: Callable[[Operation], Awaitable[None]]) -> None:
    """Ask a peer without links, whose ring is its own."""

    async def scenario() -> None:
        peer = LinkedPeer(MemoryNetwork(), "one")
        peer.driver.feed(gossip.PublishSummary(b"nothing that can be understood"))
        allocator = Allocator(
            owner=Owner(peer.identity.name),
            universe=IPv4Network("10.32.0.0/12"),
            electorate=Electorate.addressed(0),
            snapshot=None,
            rng=Random(1),
            now=0.0,
        )
        pool = AddressPool(
            allocator,
            save=lambda _: None,
            announce=lambda _: None,
            send=lambda _owner, _payload: None,
            ownership_changed=lambda: None,
        )
        readiness = ReadinessLog()
        readiness.finish("ready")
        pods = PodSide(pool, ula=lambda: None, mtu=lambda: 1420, interface="wm0", masquerade=True)
        probes = TunnelProbes(
            Prober(rng=Random(1)),
            PathMtus(most=1420, unproven=1420, adopted={}, rng=Random(1)),
            hear=lambda _: None,
            resized=lambda _: None,
        )
        save_options(tmp_path, Options())
        operation = Operation(
            config=check(Options(), state_dir=tmp_path, run_dir=tmp_path, environment={}),
            identity=peer.identity,
            secrets=Secrets(ClusterSecret("a secret of the test")),
            republish=lambda: None,
            started_at=1_700_000_000.0,
            mtu=1420,
            mesh=peer.mesh,
            feed=lambda event: peer.mesh.receive(event, 0.0),
            pool=pool,
            membership=Membership(
                peer.mesh, pool, targets=(), feed=lambda event: peer.mesh.receive(event, 0.0), removed=lambda: None
            ),
            probes=probes,
            paths=PathFinder(
                name=peer.identity.name,
                port=6783,
                relays=True,
                tunnel=DeviceSteering(Userspace("wmnone"), no_addresses),
                carried=CarriedOctets("wmnone"),
                probes=probes,
                send_call=lambda _peer, _content: None,
                report=lambda _: None,
                chose=lambda _: None,
                seen_elsewhere=lambda: None,
                moved=lambda _: None,
                lost=lambda: None,
            ),
            kernel=RecordingTunnel(),
            podside=pods,
            readiness=readiness,
            rotate_key=other_key,
            findings=lambda: (),
            terminations=lambda: 0,
            stop_agent=lambda: None,
        )
        await question(operation)
        await pods.close()

    asyncio.run(scenario())


async def no_addresses() -> tuple[IPAddress, ...]:
    return ()


def test_a_new_key_is_named_and_made_only_when_ready(tmp_path: Path) -> None:
    async def question(operation: Operation) -> None:
        (sentence,) = (await operation.rotate()).sentences
        assert PublicKey(bytes([9] * 32)).text() in sentence
        with pytest.raises(UserError, match="is not ready"):
            await replace(operation, readiness=ReadinessLog()).rotate()

    asked(tmp_path, question)


def test_a_peer_that_is_alone_is_well(tmp_path: Path) -> None:
    async def question(operation: Operation) -> None:
        report = await operation.status()
        assert report.ok, report.problems
        assert report.encryption.secret_fingerprint == ClusterSecret("a secret of the test").fingerprint()
        assert [entry.percent for entry in report.ipam.entries] == [100.0]
        assert report.agent.memory_bytes > 1_000_000

    asked(tmp_path, question)


def test_what_the_agent_found_wrong_is_a_problem(tmp_path: Path) -> None:
    async def question(operation: Operation) -> None:
        report = await replace(operation, findings=lambda: ("the disk is full: make room",)).status()
        assert not report.ok
        assert [problem.sentence for problem in report.problems] == ["the disk is full: make room"]

    asked(tmp_path, question)


def test_targets_change_for_good_and_each_change_is_told_once(tmp_path: Path) -> None:
    async def question(operation: Operation) -> None:
        changed = await operation.connect(ConnectRequest(targets=("host2", "host3:7000")))
        assert changed.sentences == ("connecting to host2:6783", "connecting to host3:7000")
        assert (await operation.connect(ConnectRequest(targets=("host2",)))).sentences == ()
        replaced = await operation.connect(ConnectRequest(targets=("host4",), replace=True))
        assert replaced.sentences == (
            "connecting to host4:6783",
            "host2:6783 is forgotten",
            "host3:7000 is forgotten",
        )
        saved = saved_options(tmp_path)
        assert saved is not None and saved.targets == ("host4:6783",)
        assert (await operation.forget(ForgetRequest(targets=("host4",)))).sentences == ("host4:6783 is forgotten",)
        assert (await operation.forget(ForgetRequest(targets=("host9",)))).sentences == ()
        saved = saved_options(tmp_path)
        assert saved is not None and not saved.targets

    asked(tmp_path, question)


def test_stop_is_passed_on(tmp_path: Path) -> None:
    async def question(operation: Operation) -> None:
        stopped: list[bool] = []
        await replace(operation, stop_agent=lambda: stopped.append(True)).stop(StopRequest())
        assert stopped == [True]

    asked(tmp_path, question)


def test_the_report_is_json_with_counters_and_without_violations(tmp_path: Path) -> None:
    async def question(operation: Operation) -> None:
        report = json.loads(msgspec.json.encode(await operation.report()))
        assert report["status"]["ok"] is True
        assert report["violations"] == {"gossip": [], "ipam": []}
        assert report["gossip"]["forged"] == 0
        assert report["config"]["port"] == "6783"

    asked(tmp_path, question)
