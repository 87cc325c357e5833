"""The door to the kernel against real ones: namespaces, tunnel devices of both kinds, and packets through them."""

import asyncio
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_interface, ip_network
from typing import TypeVar

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from weavemesh.error import UserError
from weavemesh.kernel.applier import Datapath, Kernel
from weavemesh.kernel.netns import call_in
from weavemesh.overlay.diff import CreateDevice, DiscardAllowedIps, RemovePeer, SetPeer
from weavemesh.overlay.state import (
    DesiredState,
    Endpoint,
    IPNetwork,
    ObservedState,
    PresharedKey,
    PrivateKey,
    PublicKey,
    Route,
    WireGuardPeer,
)

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.timeout(60),
]

T = TypeVar("T")

UNIVERSE, UNIVERSE6 = IPv4Network("10.32.0.0/12"), IPv6Network("fd57:1::/96")
MTU = 1380
SECRET = PresharedKey(b"\x05" * 32)
STRANGER = PublicKey(b"\x07" * 32)
PORT = 6783


@dataclass(frozen=True)
class Host:
    """A network namespace, and what its agent would know of itself."""

    netns: str
    interface: str
    number: int
    key: PrivateKey
    public_key: PublicKey

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*command), check=check, text=True, capture_output=True, timeout=30)

    def command(self, *command: str) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self.netns}", "--", *command]

    def within(self, function: Callable[[], T]) -> T:
        descriptor = os.open(f"/run/netns/{self.netns}", os.O_RDONLY)
        try:
            return call_in(descriptor, function)
        finally:
            os.close(descriptor)

    def life(self, datapath: Datapath, story: Callable[[Kernel], Awaitable[T]]) -> T:
        """One life of an agent on this host: the door is opened, used and closed."""

        async def live() -> T:
            kernel = await Kernel.open(interface=self.interface, datapath=datapath)
            try:
                return await story(kernel)
            finally:
                await kernel.close()

        return self.within(lambda: asyncio.run(live()))

    def apply(self, datapath: Datapath, desired: DesiredState) -> tuple[object, ...]:
        """The actions of a life that applies this once, without any failure."""
        report = self.life(datapath, lambda kernel: kernel.apply(desired))
        assert report.failures == ()
        return report.actions

    def observe(self, datapath: Datapath) -> ObservedState:
        observed = self.life(datapath, lambda kernel: kernel.observe())
        assert observed is not None
        return observed

    @property
    def address(self) -> IPv4Address:
        return IPv4Address(f"10.32.{self.number}.1")

    @property
    def address6(self) -> IPv6Address:
        return IPv6Address(f"fd57:1::a20:{self.number}01")

    @property
    def networks(self) -> tuple[IPNetwork, ...]:
        return ip_network(f"10.32.{self.number}.0/24"), ip_network(f"fd57:1::a20:{self.number}00/120")

    def reaches(self, address: object) -> bool:
        return self.run("ping", "-nc1", "-W5", str(address), check=False).returncode == 0


def make_host(number: int) -> Host:
    key = X25519PrivateKey.generate()
    raw = bytearray(key.private_bytes_raw())
    raw[0] &= 248
    raw[31] = raw[31] & 127 | 64  # as every implementation keeps it (RFC 7748 §5)
    tag = secrets.token_hex(3)
    public_key = PublicKey(key.public_key().public_bytes_raw())
    host = Host(f"wmk{tag}", f"wmk{tag}", number, PrivateKey(bytes(raw)), public_key)
    subprocess.run(["ip", "netns", "add", host.netns], check=True)
    host.run("ip", "link", "set", "lo", "up")
    return host


def remove_host(host: Host) -> None:
    # A living wireguard-go would hold the namespace: it ends with its interface.
    host.run("ip", "link", "del", host.interface, check=False)
    subprocess.run(["ip", "netns", "del", host.netns], check=True)


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    """Two hosts on one wire, 192.0.2.1 and 192.0.2.2."""
    one = make_host(1)
    try:
        two = make_host(2)
        try:
            wire = ["ip", "-n", one.netns, "link", "add", "eth0", "type", "veth", "peer", "eth0", "netns", two.netns]
            subprocess.run(wire, check=True)
            for host in (one, two):
                host.run("ip", "addr", "add", f"192.0.2.{host.number}/24", "dev", "eth0")
                host.run("ip", "link", "set", "eth0", "up")
            yield one, two
        finally:
            remove_host(two)
    finally:
        remove_host(one)


@pytest.fixture(params=["userspace", "kernel"])
def datapath(request: pytest.FixtureRequest, hosts: tuple[Host, Host]) -> Datapath:
    chosen: Datapath = request.param
    if chosen == "userspace" and shutil.which("wireguard-go") is None:
        pytest.skip("wireguard-go is not installed")
    if chosen == "kernel" and not has_kernel_wireguard(hosts[0]):
        pytest.skip("this kernel has no WireGuard")
    return chosen


def has_kernel_wireguard(host: Host) -> bool:
    probe = ("ip", "link", "add", "wmkprobe", "type", "wireguard")
    return host.run(*probe, check=False).returncode == 0 and bool(host.run("ip", "link", "del", "wmkprobe"))


def peer_of(other: Host, networks: tuple[IPNetwork, ...] | None = None) -> WireGuardPeer:
    endpoint = Endpoint(ip_address(f"192.0.2.{other.number}"), PORT)
    return WireGuardPeer(other.public_key, SECRET, endpoint, other.networks if networks is None else networks)


def wish(host: Host, *peers: WireGuardPeer) -> DesiredState:
    routes = [
        Route(network, "device", host.address if network.version == 4 else host.address6)
        for peer in peers
        for network in peer.allowed_ips
    ]
    return DesiredState(
        interface=host.interface,
        mtu=MTU,
        private_key=host.key,
        listen_port=PORT,
        addresses=(ip_interface(host.address), ip_interface(host.address6)),
        peers=peers,
        routes=(*routes, Route(UNIVERSE, "unreachable", None), Route(UNIVERSE6, "unreachable", None)),
    )


def stranger(*networks: str) -> WireGuardPeer:
    return WireGuardPeer(STRANGER, None, None, tuple(ip_network(network) for network in networks))


def assert_is(observed: ObservedState | None, desired: DesiredState) -> None:
    assert observed is not None
    assert (observed.interface, observed.up, observed.mtu) == (desired.interface, True, desired.mtu)
    assert (observed.private_key, observed.listen_port) == (desired.private_key, desired.listen_port)
    assert set(observed.addresses) == set(desired.addresses)
    assert set(observed.routes) == set(desired.routes)
    found = {peer.public_key: (peer.preshared_key, peer.endpoint, set(peer.allowed_ips)) for peer in observed.peers}
    assert found == {p.public_key: (p.preshared_key, p.endpoint, set(p.allowed_ips)) for p in desired.peers}


def test_what_is_wished_is_there_and_wishing_again_does_nothing(hosts: tuple[Host, Host], datapath: Datapath) -> None:
    desired = wish(hosts[0], peer_of(hosts[1]), stranger("10.32.7.0/24", "10.33.0.0/16", "fd57:1::a20:700/120"))

    async def story(kernel: Kernel) -> None:
        assert kernel.datapath.startswith(datapath)
        assert await kernel.observe() is None
        first = await kernel.apply(desired)
        assert first.failures == ()
        assert CreateDevice(desired.interface) in first.actions
        assert_is(await kernel.observe(), desired)
        second = await kernel.apply(desired)
        assert (second.actions, second.settings, second.failures) == ((), (), ())
        await kernel.close()

    hosts[0].life(datapath, story)
    assert hosts[0].apply("auto", desired) == (), "the next life adopts it, by itself"


def test_two_hosts_reach_each_other_through_the_tunnel(hosts: tuple[Host, Host], datapath: Datapath) -> None:
    one, two = hosts
    one.apply(datapath, wish(one, peer_of(two)))
    two.apply(datapath, wish(two, peer_of(one)))
    assert one.reaches(two.address)
    assert two.reaches(one.address6)
    (seen,) = one.observe(datapath).peers
    assert seen.last_handshake is not None
    assert seen.rx_bytes > 0
    assert seen.tx_bytes > 0
    assert one.apply(datapath, wish(one, peer_of(two))) == (), "a living tunnel is as it should be"


def test_a_new_life_of_the_agent_loses_no_packet(hosts: tuple[Host, Host], datapath: Datapath) -> None:
    one, two = hosts
    desired = wish(one, peer_of(two))
    one.apply(datapath, desired)
    two.apply(datapath, wish(two, peer_of(one)))
    assert one.reaches(two.address)
    ping = subprocess.Popen(
        one.command("ping", "-nq", "-i0.01", "-c200", "-W5", str(two.address)), stdout=subprocess.PIPE, text=True
    )
    lives = 0
    try:
        while ping.poll() is None:
            # Every other life knows one peer more, which the next one removes.
            one.apply(datapath, desired if lives % 2 else wish(one, peer_of(two), stranger("10.32.7.0/24")))
            lives += 1
        output, _ = ping.communicate()
    finally:
        ping.kill()
        ping.wait()
    assert lives >= 2
    assert " 0% packet loss" in output


def test_a_range_that_changes_its_owner_moves_and_the_rest_stays(hosts: tuple[Host, Host], datapath: Datapath) -> None:
    one, two = hosts
    before = wish(one, peer_of(two, (*two.networks, ip_network("10.34.0.0/16"))), stranger("10.32.7.0/24"))
    after = wish(one, peer_of(two), stranger("10.32.7.0/24", "10.34.0.0/16"))
    one.apply(datapath, before)
    actions = one.apply(datapath, after)
    (change,) = actions
    assert isinstance(change, SetPeer), "set on the new owner, which takes it from the old one"
    assert change.public_key == STRANGER
    assert_is(one.observe(datapath), after)


def test_a_range_and_then_its_peer_are_taken_away(hosts: tuple[Host, Host], datapath: Datapath) -> None:
    one, two = hosts
    one.apply(datapath, wish(one, peer_of(two), stranger("10.32.7.0/24", "10.34.0.0/16", "fd57:1::a20:700/120")))
    fewer = wish(one, peer_of(two), stranger("10.32.7.0/24"))
    actions = one.apply(datapath, fewer)
    assert {network for a in actions if isinstance(a, DiscardAllowedIps) for network in a.allowed_ips} == {
        IPv4Network("10.34.0.0/16"),
        IPv6Network("fd57:1::a20:700/120"),
    }
    assert_is(one.observe(datapath), fewer)
    alone = wish(one, peer_of(two))
    assert RemovePeer(STRANGER) in one.apply(datapath, alone)
    assert_is(one.observe(datapath), alone)
    assert one.apply(datapath, alone) == ()


def test_every_setting_can_change(hosts: tuple[Host, Host], datapath: Datapath) -> None:
    one, two = hosts
    one.apply(datapath, wish(one, peer_of(two)))
    moved = replace(peer_of(two), preshared_key=None, endpoint=Endpoint(IPv6Address("2001:db8::2"), 7000))
    changed = replace(
        wish(one, moved),
        mtu=1300,
        private_key=two.key,
        listen_port=PORT + 1,
        addresses=(ip_interface("10.32.9.9/32"),),
    )
    changed = replace(
        changed,
        peers=(replace(moved, public_key=one.public_key),),
        routes=tuple(
            replace(route, source=IPv4Address("10.32.9.9") if route.destination.version == 4 else None)
            if route.kind == "device"
            else route
            for route in changed.routes
        ),
    )
    one.apply(datapath, changed)
    assert_is(one.observe(datapath), changed)
    assert one.apply(datapath, changed) == ()


def test_thousands_of_ranges_and_hundreds_of_peers(hosts: tuple[Host, Host], datapath: Datapath) -> None:
    one, two = hosts
    many = tuple(ip_network(f"10.40.{i // 256}.{i % 256}/32") for i in range(2500))
    crowd = tuple(
        WireGuardPeer(
            PublicKey(bytes((9, i // 256, i % 256)) + bytes(29)), SECRET, None, (ip_network(f"10.41.{i}.0/24"),)
        )
        for i in range(200)
    )
    full = replace(wish(one, peer_of(two)), peers=(peer_of(two, many), *crowd))
    one.apply(datapath, full)
    assert_is(one.observe(datapath), full)
    assert one.apply(datapath, full) == ()
    empty = replace(full, peers=(peer_of(two, ()), *crowd))
    one.apply(datapath, empty)
    assert_is(one.observe(datapath), empty)


def test_what_no_peer_owns_is_unreachable_and_leaves_by_no_other_way(
    hosts: tuple[Host, Host], datapath: Datapath
) -> None:
    one, two = hosts
    one.run("ip", "route", "add", "default", "via", "192.0.2.2")
    one.apply(datapath, wish(one, peer_of(two)))
    assert "eth0" in one.run("ip", "route", "get", "198.51.100.1").stdout
    for address in ("10.47.1.1", "fd57:1::aff:1"):
        assert one.run("ip", "route", "get", address, check=False).returncode != 0, address
    assert one.interface in one.run("ip", "route", "get", str(two.address)).stdout


def test_a_taken_port_is_a_sentence_and_is_tried_again(hosts: tuple[Host, Host], datapath: Datapath) -> None:
    one, two = hosts
    desired = wish(one, peer_of(two))
    with one.within(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as thief:
        thief.bind(("0.0.0.0", PORT))
        report = one.life(datapath, lambda kernel: kernel.apply(desired))
        assert len(report.failures) == 1
        assert f"UDP port {PORT} is taken by another program" in report.failures[0]
    one.apply(datapath, desired)
    assert_is(one.observe(datapath), desired)


def test_a_device_that_was_deleted_is_made_again(hosts: tuple[Host, Host], datapath: Datapath) -> None:
    one, two = hosts
    desired = wish(one, peer_of(two))
    one.apply(datapath, desired)
    one.run("ip", "link", "del", one.interface)
    assert one.life(datapath, lambda kernel: kernel.observe()) is None
    assert CreateDevice(one.interface) in one.apply(datapath, desired)
    assert_is(one.observe(datapath), desired)


def test_a_name_that_is_somebody_elses_is_refused(hosts: tuple[Host, Host]) -> None:
    one = hosts[0]
    one.run("ip", "link", "add", one.interface, "type", "veth", "peer", "name", "far")
    with pytest.raises(UserError, match=f"{one.interface} exists and is a veth"):
        one.life("auto", lambda kernel: kernel.observe())


def test_without_wireguard_in_the_kernel_it_cannot_be_chosen(hosts: tuple[Host, Host]) -> None:
    if has_kernel_wireguard(hosts[0]):
        pytest.skip("this kernel has WireGuard")
    with pytest.raises(UserError, match="this kernel has no WireGuard"):
        hosts[0].life("kernel", lambda kernel: kernel.observe())
    assert hosts[0].life("auto", lambda kernel: kernel.observe()) is None


def test_the_two_kinds_of_device_understand_each_other_and_can_be_exchanged(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    if not has_kernel_wireguard(one) or shutil.which("wireguard-go") is None:
        pytest.skip("this needs a kernel with WireGuard, and wireguard-go")
    desired = wish(one, peer_of(two))
    one.apply("kernel", desired)
    two.apply("userspace", wish(two, peer_of(one)))
    assert one.reaches(two.address)
    assert CreateDevice(one.interface) in one.apply("userspace", desired)
    assert_is(one.observe("userspace"), desired)
    assert one.life("auto", _datapath) == "userspace (wireguard-go)"
    assert CreateDevice(one.interface) in one.apply("kernel", desired)
    assert one.life("auto", _datapath) == "kernel"
    assert_is(one.observe("kernel"), desired)


async def _datapath(kernel: Kernel) -> str:
    return kernel.datapath
