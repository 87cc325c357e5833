"""The kernel's WireGuard through generic netlink: what is set is read, also when it spans many messages."""

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from functools import cache
from ipaddress import IPv6Address, ip_network

import pytest

from tests.kernel.tunnel_lab import PRESHARED, Host, Wire, missing
from tests.unit.weavemesh.overlay.overlay_sample import endpoint, public_key
from weavemesh.kernel import wireguard
from weavemesh.kernel.device import DeviceError
from weavemesh.kernel.netlink import Netlink
from weavemesh.kernel.rtnetlink import DUMP, INTERRUPTED, request
from weavemesh.kernel.wgmessage import ALLOWED_IPS_MAX
from weavemesh.kernel.wireguard import KernelWireGuard
from weavemesh.overlay.diff import NO_PRESHARED_KEY, SetPeer
from weavemesh.overlay.state import DISCARD_KEY, Endpoint, IPNetwork

pytestmark = pytest.mark.root

lacks = cache(missing)


@pytest.fixture
def host() -> Iterator[Host]:
    if reason := lacks("kernel"):
        pytest.skip(reason)
    with Wire(1, "kernel") as wire:
        yield wire.hosts[0]


def play(host: Host, game: Callable[[KernelWireGuard], Awaitable[None]]) -> None:
    async def main() -> None:
        netlink = await Netlink.open()
        device = KernelWireGuard(host.interface, netlink)
        try:
            await device.create()
            await game(device)
        finally:
            await device.close()
            await netlink.close()

    host.call(main)


def networks(count: int) -> tuple[IPNetwork, ...]:
    return tuple(ip_network(f"10.{40 + number // 256}.{number % 256}.0/24") for number in range(count))


def change(number: int, allowed_ips: tuple[IPNetwork, ...] = (), *, exists: bool = False) -> SetPeer:
    return SetPeer(public_key(number), exists, None, None, allowed_ips)


def test_a_peers_allowed_ips_may_span_messages_of_requests_and_dumps(host: Host) -> None:
    many = networks(6 * ALLOWED_IPS_MAX + 1)

    async def game(device: KernelWireGuard) -> None:
        await device.configure(private_key=host.private_key, listen_port=6783)
        for number in (1, 2, 3):
            await device.set_peers([change(number)])
        await device.set_peers([change(2, many, exists=True)])
        state = await device.read()
        assert (state.private_key, state.listen_port) == (host.private_key, 6783)
        assert {peer.public_key: len(peer.allowed_ips) for peer in state.peers} == {
            public_key(1): 0,
            public_key(2): len(many),
            public_key(3): 0,
        }
        await device.discard_allowed_ips(many[1:])
        state = await device.read()
        assert [peer.allowed_ips for peer in state.peers if peer.allowed_ips] == [many[:1]]
        assert DISCARD_KEY not in {peer.public_key for peer in state.peers}

    play(host, game)


def test_an_allowed_ip_has_one_peer_at_a_time(host: Host) -> None:
    async def game(device: KernelWireGuard) -> None:
        await device.set_peers([change(1, networks(2))])
        await device.set_peers([change(2, networks(1))])
        found = {peer.public_key: peer.allowed_ips for peer in (await device.read()).peers}
        assert found == {public_key(1): networks(2)[1:], public_key(2): networks(1)}

    play(host, game)


def test_a_peer_that_has_gone_is_not_made_again_by_a_change(host: Host) -> None:
    async def game(device: KernelWireGuard) -> None:
        await device.set_peers([change(1, networks(1), exists=True)])
        await device.remove_peer(public_key(1))
        assert (await device.read()).peers == ()

    play(host, game)


def test_secrets_and_endpoints_are_set_kept_and_cleared(host: Host) -> None:
    endpoint6 = Endpoint(IPv6Address("2001:db8::1"), 6783)

    async def game(device: KernelWireGuard) -> None:
        await device.set_peers([SetPeer(public_key(1), False, PRESHARED, endpoint(1), ())])
        await device.set_peers([SetPeer(public_key(2), False, None, endpoint6, ())])
        await device.set_peers([change(1, networks(1), exists=True)])
        first, second = sorted((await device.read()).peers, key=lambda peer: peer.public_key)
        assert (first.preshared_key, first.endpoint, first.allowed_ips) == (PRESHARED, endpoint(1), networks(1))
        assert (second.preshared_key, second.endpoint, second.last_handshake) == (None, endpoint6, None)
        await device.set_peers([SetPeer(public_key(1), True, NO_PRESHARED_KEY, None, ())])
        assert all(peer.preshared_key is None for peer in (await device.read()).peers)

    play(host, game)


def test_requests_at_once_get_each_its_own_answer(host: Host) -> None:
    async def game(device: KernelWireGuard) -> None:
        await asyncio.gather(
            *(device.set_peers([change(number)]) for number in range(1, 200)), device.read(), device.read()
        )
        assert len((await device.read()).peers) == 199

    play(host, game)


class Meddler:
    """Stands between the device and its socket, and changes peer 1 through another device in the midst of dumps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, other: KernelWireGuard, *, times: int) -> None:
        self.dumps = 0
        self.interrupted = 0
        self._times = times
        self._other = other
        monkeypatch.setattr(wireguard, "request", self._request)

    def _request(
        self, sock: socket.socket, kind: int, flags: int, body: bytes
    ) -> Iterator[tuple[int, int, memoryview]]:
        meddles = flags == DUMP and self.dumps < self._times
        self.dumps += flags == DUMP
        seen = 0
        for answer in request(sock, kind, flags, body):
            if meddles and not seen:
                asyncio.run(self._other.set_peers([change(1, networks(ALLOWED_IPS_MAX), exists=True)]))
            seen |= answer[1]
            yield answer
        self.interrupted += bool(seen & INTERRUPTED)


@pytest.mark.parametrize("times", [1, 100])
def test_a_dump_that_a_change_has_overtaken_is_repeated(
    host: Host, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    many = networks(12 * ALLOWED_IPS_MAX)

    async def game(device: KernelWireGuard) -> None:
        netlink = await Netlink.open()
        other = KernelWireGuard(host.interface, netlink)
        await device.set_peers([change(1), change(2, many)])
        meddler = Meddler(monkeypatch, other, times=times)
        try:
            if times > 1:
                with pytest.raises(DeviceError, match="the device changes faster than it can be read"):
                    await device.read()
                assert meddler.interrupted == meddler.dumps > 1
            else:
                found = [len(peer.allowed_ips) for peer in (await device.read()).peers]
                assert (meddler.dumps, meddler.interrupted) == (2, 1)
                assert sorted(found) == [ALLOWED_IPS_MAX, 11 * ALLOWED_IPS_MAX]
        finally:
            await other.close()
            await netlink.close()

    play(host, game)


def test_each_peer_decrypts_in_a_thread_of_its_own(host: Host) -> None:
    """Which a device without peers refuses. `ip netns exec` gives the program its own /sys, as on a host."""
    program = (
        "import asyncio, sys\n"
        "from weavemesh.kernel.netlink import Netlink\n"
        "from weavemesh.kernel.wireguard import KernelWireGuard\n"
        "from weavemesh.overlay.diff import SetPeer\n"
        "from weavemesh.overlay.state import PublicKey\n"
        "async def main():\n"
        "    netlink = await Netlink.open()\n"
        "    device = KernelWireGuard(sys.argv[1], netlink)\n"
        "    await device.create()\n"
        "    await device.set_peers([SetPeer(PublicKey(bytes(31) + b'1'), False, None, None, ())])\n"
        "    await device.close()\n"
        "    await netlink.close()\n"
        "asyncio.run(main())\n"
    )
    host.run(sys.executable, "-c", program, host.interface)
    threaded = f"/sys/class/net/{host.interface}/threaded"
    if host.run("test", "-e", threaded, check=False).returncode != 0:
        pytest.skip("needs a kernel that offers threads for NAPI (Linux 5.12)")
    assert host.run("cat", threaded).stdout == "1\n"


def test_what_the_kernel_refuses_is_said_in_its_words(host: Host) -> None:
    async def game(device: KernelWireGuard) -> None:
        host.run("ip", "link", "del", host.interface)
        with pytest.raises(DeviceError, match="No such device"):
            await device.read()
        with pytest.raises(DeviceError, match="No such device"):
            await device.set_peers([change(1)])

    play(host, game)
