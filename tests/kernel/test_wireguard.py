"""The kernel's own WireGuard, where there is one: every field said and read back, messages split and joined."""

import asyncio
import os
import secrets
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from ipaddress import ip_address, ip_network

import pytest

from weavemesh.kernel.device import DeviceError
from weavemesh.kernel.netlink import Netlink
from weavemesh.kernel.netns import call_in
from weavemesh.kernel.wireguard import ALLOWED_IPS_PER_MESSAGE, KernelWireGuard
from weavemesh.overlay.diff import NO_PRESHARED_KEY, SetPeer
from weavemesh.overlay.state import DISCARD_KEY, Endpoint, PresharedKey, PrivateKey, PublicKey

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]

Story = Callable[[KernelWireGuard], Awaitable[None]]
Tell = Callable[[Story], None]

KEY = PrivateKey(b"\x08" * 31 + b"\x48")
ONE, TWO = PublicKey(b"\x01" * 32), PublicKey(b"\x02" * 32)
SECRET = PresharedKey(b"\x05" * 32)


@pytest.fixture
def tell() -> Iterator[Tell]:
    """Runs a story about the device wmk0 of a fresh network namespace."""
    name = f"wmk{secrets.token_hex(3)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    descriptor = os.open(f"/run/netns/{name}", os.O_RDONLY)

    def run(story: Story) -> None:
        async def opened() -> None:
            netlink = await Netlink.open()
            device = KernelWireGuard("wmk0", netlink)
            try:
                await story(device)
            finally:
                await device.close()
                await netlink.close()

        call_in(descriptor, lambda: asyncio.run(opened()))

    try:
        probe = ["ip", "-n", name, "link", "add", "probe", "type", "wireguard"]
        if subprocess.run(probe, check=False, capture_output=True).returncode != 0:
            pytest.skip("this kernel has no WireGuard")
        yield run
    finally:
        os.close(descriptor)
        subprocess.run(["ip", "netns", "del", name], check=True)


def change(key: PublicKey, *networks: str, exists: bool = False, secret: PresharedKey | None = None) -> SetPeer:
    allowed_ips = tuple(ip_network(network) for network in networks)
    return SetPeer(key, exists=exists, preshared_key=secret, endpoint=None, allowed_ips=allowed_ips)


async def allowed_ips(device: KernelWireGuard) -> dict[PublicKey, set[str]]:
    return {peer.public_key: {str(n) for n in peer.allowed_ips} for peer in (await device.read()).peers}


def test_a_new_device_is_empty_and_keeps_what_it_is_told(tell: Tell) -> None:
    async def story(device: KernelWireGuard) -> None:
        await device.create()
        assert (await device.read()).private_key is None
        await device.configure(private_key=KEY, listen_port=6783)
        await device.configure(private_key=None, listen_port=None)
        state = await device.read()
        assert (state.private_key, state.listen_port, state.peers) == (KEY, 6783, ())

    tell(story)


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_every_field_of_a_peer_comes_back(tell: Tell, address: str) -> None:
    async def story(device: KernelWireGuard) -> None:
        await device.create()
        endpoint = Endpoint(ip_address(address), 65535)
        networks = (ip_network("10.33.0.0/16"), ip_network("fd57:1::/112"), ip_network("0.0.0.0/0"))
        await device.set_peer(SetPeer(ONE, exists=False, preshared_key=SECRET, endpoint=endpoint, allowed_ips=networks))
        (peer,) = (await device.read()).peers
        assert (peer.public_key, peer.preshared_key, peer.endpoint) == (ONE, SECRET, endpoint)
        assert set(peer.allowed_ips) == set(networks)
        assert (peer.last_handshake, peer.rx_bytes, peer.tx_bytes) == (None, 0, 0)
        await device.set_peer(change(ONE, exists=True, secret=NO_PRESHARED_KEY))
        (peer,) = (await device.read()).peers
        assert (peer.preshared_key, peer.endpoint) == (None, endpoint)
        assert set(peer.allowed_ips) == set(networks)

    tell(story)


def test_a_range_moves_in_one_step_and_can_be_taken_away(tell: Tell) -> None:
    async def story(device: KernelWireGuard) -> None:
        await device.create()
        await device.set_peer(change(ONE, "10.33.0.0/16", "10.34.0.0/16", "fd57:1::/112"))
        await device.set_peer(change(TWO, "10.33.0.0/16"))
        assert await allowed_ips(device) == {ONE: {"10.34.0.0/16", "fd57:1::/112"}, TWO: {"10.33.0.0/16"}}
        await device.discard_allowed_ips((ip_network("fd57:1::/112"),))
        held = await allowed_ips(device)
        assert held == {ONE: {"10.34.0.0/16"}, TWO: {"10.33.0.0/16"}}
        assert DISCARD_KEY not in held
        await device.remove_peer(TWO)
        await device.remove_peer(TWO)
        assert await allowed_ips(device) == {ONE: {"10.34.0.0/16"}}

    tell(story)


def test_a_peer_that_has_gone_is_not_made_again_by_a_change(tell: Tell) -> None:
    async def story(device: KernelWireGuard) -> None:
        await device.create()
        await device.set_peer(change(ONE, "10.33.0.0/16", exists=True))
        assert (await device.read()).peers == ()

    tell(story)


def test_more_ranges_than_a_message_holds_are_split_and_joined(tell: Tell) -> None:
    networks = tuple(str(ip_network(f"fd57:1::{number:x}")) for number in range(2 * ALLOWED_IPS_PER_MESSAGE + 1))

    async def story(device: KernelWireGuard) -> None:
        await device.create()
        await device.set_peer(change(ONE, *networks))
        await device.set_peer(change(TWO, "10.33.0.0/16"))
        assert await allowed_ips(device) == {ONE: set(networks), TWO: {"10.33.0.0/16"}}

    tell(story)


def test_requests_at_the_same_time_do_not_disturb_each_other(tell: Tell) -> None:
    keys = [PublicKey(bytes([number + 1]) * 32) for number in range(50)]

    async def story(device: KernelWireGuard) -> None:
        await device.create()
        async with asyncio.TaskGroup() as group:
            for number, key in enumerate(keys):
                group.create_task(device.set_peer(change(key, f"10.33.{number}.0/24")))
                group.create_task(device.read())
        assert await allowed_ips(device) == {key: {f"10.33.{number}.0/24"} for number, key in enumerate(keys)}

    tell(story)


def test_what_is_refused_is_a_device_error(tell: Tell) -> None:
    async def story(device: KernelWireGuard) -> None:
        with pytest.raises(DeviceError):
            await device.read()
        with pytest.raises(DeviceError):
            await device.configure(private_key=KEY, listen_port=None)
        await device.create()
        with pytest.raises(DeviceError, match="exists"):
            await device.create()
        assert (await device.read()).peers == (), "it is as good as before"

    tell(story)
