"""The relay in a real kernel: packets between two sockets that know only the relay, and what it refuses."""

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from deploy.demo.lab import Lab, Machine
from gossip import PeerName
from tests.kernel.tunnel_lab import root_missing
from tests.lab.nat import Internet
from weavemesh.kernel import nftables
from weavemesh.kernel.forwarding import RELAY_PORTS, TABLE, KernelRelay, Traffic
from weavemesh.kernel.netns import call_in
from weavemesh.overlay.knock import MAGIC
from weavemesh.overlay.relay import End, Forwarding
from weavemesh.overlay.state import Endpoint

A, B, C = PeerName("a"), PeerName("b"), PeerName("c")
PORT = 6783
FIRST, SECOND = RELAY_PORTS[0], RELAY_PORTS[1]


class Scene:
    """Two hosts, a stranger, and a relay between them, each with an open UDP socket."""

    def __init__(self, lab: Lab) -> None:
        self.internet = Internet(lab)
        machines = [self.internet.public(name) for name in ("one", "other", "stranger", "relay")]
        self.addresses = [self.internet.address(machine) for machine in machines]
        self.relay_fd = os.open(f"/proc/{machines[3].init_pid}/ns/net", os.O_RDONLY)
        self.sockets = [self.inside(machine, open_socket) for machine in machines]
        machines[3].run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
        self.relay_machine = machines[3]
        self.relay = KernelRelay()

    def inside(self, machine: Machine, work: Callable[[], Any]) -> Any:
        fd = os.open(f"/proc/{machine.init_pid}/ns/net", os.O_RDONLY)
        try:
            return call_in(fd, work)
        finally:
            os.close(fd)

    def forward(self, *pairs: Forwarding) -> None:
        call_in(self.relay_fd, lambda: asyncio.run(self.relay.forward(pairs)))

    def traffic(self) -> dict[tuple[PeerName, PeerName], Traffic]:
        return dict(call_in(self.relay_fd, lambda: asyncio.run(self.relay.traffic())))

    def end(self, index: int, local_port: int) -> End:
        return End(
            Endpoint(ip_address(self.addresses[index]), PORT), Endpoint(ip_address(self.addresses[3]), local_port)
        )

    def say(self, index: int, content: bytes, port: int) -> None:
        self.sockets[index].sendto(content, (self.addresses[3], port))

    def heard(self, index: int) -> tuple[bytes, tuple[str, int]] | None:
        try:
            content, source = self.sockets[index].recvfrom(2000)
        except TimeoutError:
            return None
        return content, source

    def close(self) -> None:
        for one in self.sockets:
            one.close()
        os.close(self.relay_fd)


def open_socket() -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind(("0.0.0.0", PORT))
    one.settimeout(0.5)
    return one


@pytest.fixture
def scene() -> Iterator[Scene]:
    if reason := root_missing():
        pytest.skip(reason)
    if not nftables.is_installed():
        pytest.skip("needs nft")
    with Lab() as lab:
        scene = Scene(lab)
        yield scene
        scene.close()


def test_two_who_know_only_the_relay_reach_each_other(scene: Scene) -> None:
    scene.forward(Forwarding(A, B, scene.end(0, FIRST), scene.end(1, SECOND)))
    scene.say(0, b"to the other", FIRST)
    assert scene.heard(1) == (b"to the other", (scene.addresses[3], SECOND))
    scene.say(1, b"to the one", SECOND)
    assert scene.heard(0) == (b"to the one", (scene.addresses[3], FIRST))
    traffic = scene.traffic()[A, B]
    assert traffic.packets == 2 and traffic.octets == 2 * 28 + len(b"to the other" + b"to the one")


def test_a_stranger_is_not_forwarded_and_knocks_are_for_the_agent(scene: Scene) -> None:
    scene.forward(Forwarding(A, B, scene.end(0, FIRST), scene.end(1, SECOND)))
    scene.say(2, b"from a stranger", FIRST)
    scene.say(0, b"at the other's port", SECOND)
    scene.say(0, MAGIC + b"anything", FIRST)
    assert scene.heard(1) is None


def test_pairs_come_and_go_without_harm_to_others(scene: Scene) -> None:
    first = Forwarding(A, B, scene.end(0, FIRST), scene.end(1, SECOND))
    second = Forwarding(A, C, scene.end(0, SECOND), scene.end(2, FIRST))
    scene.forward(first)
    scene.forward(first, second)
    scene.say(0, b"to c", SECOND)
    assert scene.heard(2) == (b"to c", (scene.addresses[3], FIRST))
    scene.forward(second)
    scene.say(0, b"to b", FIRST)
    assert scene.heard(1) is None
    moved = Forwarding(A, C, scene.end(0, SECOND), scene.end(1, FIRST))
    scene.forward(moved)
    scene.say(0, b"to c, who moved", SECOND)
    assert scene.heard(1) == (b"to c, who moved", (scene.addresses[3], FIRST))


def test_nothing_is_tracked(scene: Scene) -> None:
    scene.forward(Forwarding(A, B, scene.end(0, FIRST), scene.end(1, SECOND)))
    # A table that tracks, as Docker's and kube-proxy's do.
    tracking = "table ip wm_test { chain pre { type filter hook prerouting priority filter; ct state new counter; }; }"
    scene.relay_machine.run("nft", tracking)
    scene.say(0, b"to the other", FIRST)
    assert scene.heard(1) is not None
    count = scene.relay_machine.run("cat", "/proc/sys/net/netfilter/nf_conntrack_count").stdout
    assert int(count) == 0


def test_its_ports_are_given_to_nobody_else(scene: Scene) -> None:
    scene.forward(Forwarding(A, B, scene.end(0, FIRST), scene.end(1, SECOND)))
    reserved = scene.relay_machine.run("cat", "/proc/sys/net/ipv4/ip_local_reserved_ports").stdout.strip()
    assert reserved == f"{RELAY_PORTS[0]}-{RELAY_PORTS[-1]}"


def test_the_next_life_waits_for_those_who_are_forwarded(scene: Scene) -> None:
    scene.forward(Forwarding(A, B, scene.end(0, FIRST), scene.end(1, SECOND)))
    listing = scene.relay_machine.run("nft", "list", "table", "inet", TABLE).stdout
    scene.relay = KernelRelay()
    assert scene.traffic() == {}
    scene.forward()
    assert (
        scene.relay_machine.run("nft", "list", "table", "inet", TABLE).stdout.split("chain")[0]
        == listing.split("chain")[0]
    )


def test_what_nobody_binds_again_in_the_next_life_is_forwarded_no_longer(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weavemesh.kernel.forwarding.REBOUND_S", 0.1)
    scene.forward(Forwarding(A, B, scene.end(0, FIRST), scene.end(1, SECOND)))
    scene.say(0, b"before", FIRST)
    assert scene.heard(1) is not None
    scene.relay = KernelRelay()
    call_in(scene.relay_fd, lambda: asyncio.run(scene.relay.adopt()))
    scene.say(0, b"until then", FIRST)
    assert scene.heard(1) is not None
    scene.forward()
    scene.say(0, b"after", FIRST)
    assert scene.heard(1) is None
