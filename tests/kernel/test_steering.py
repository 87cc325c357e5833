"""Steering a real device: the endpoint is set, and a handshake that went astray does not hold up the next."""

from ipaddress import IPv4Address

import pytest

from tests.kernel.tunnel_lab import DATAPATHS, Datapath, Host, Wire, missing
from weavemesh.kernel.applier import Kernel
from weavemesh.kernel.steering import DeviceSteering
from weavemesh.overlay.state import Endpoint, ObservedPeer, PublicKey
from weavemesh.overlay.tunnel import Turn


@pytest.fixture(params=DATAPATHS)
def datapath(request: pytest.FixtureRequest) -> Datapath:
    if reason := missing(request.param):
        pytest.skip(reason)
    return request.param  # type: ignore[no-any-return]  # pytest does not know


def steer_all(host: Host, *turns: Turn) -> dict[PublicKey, ObservedPeer]:
    async def work(kernel: Kernel) -> dict[PublicKey, ObservedPeer]:
        steering = DeviceSteering(kernel.device, kernel.host_addresses)
        await steering.steer(turns)
        return {peer.public_key: peer for peer in await steering.peers()}

    return host.with_kernel(work)


def steer(host: Host, endpoint: Endpoint, key: PublicKey, *, renew: bool) -> ObservedPeer:
    return steer_all(host, Turn(key, endpoint, greet=True, renew=renew))[key]


def test_many_are_steered_at_once_and_one_whom_the_device_has_not_is_passed_over(datapath: Datapath) -> None:
    with Wire(3, datapath) as wire:
        one, second, third = wire.hosts
        one.join(second, third)
        elsewhere = {second.public_key: Endpoint(IPv4Address("192.0.2.77"), 9)}
        elsewhere[third.public_key] = Endpoint(IPv4Address("192.0.2.78"), 10)
        turns = [
            Turn(key, endpoint, greet=False, renew=renew)
            for (key, endpoint), renew in zip(elsewhere.items(), (True, False), strict=True)
        ]
        seen = steer_all(
            one,
            turns[0],
            Turn(one.public_key, Endpoint(IPv4Address("192.0.2.79"), 11), greet=False, renew=True),
            turns[1],
        )
        assert {key: peer.endpoint for key, peer in seen.items()} == elsewhere


def test_after_a_handshake_that_went_astray_the_next_need_not_wait(datapath: Datapath) -> None:
    with Wire(2, datapath) as wire:
        one, other = wire.hosts
        one.join(other)
        other.join(one)
        nowhere, there = Endpoint(IPv4Address("192.0.2.77"), 9), Endpoint(IPv4Address("192.0.2.2"), 6783)
        steer(one, nowhere, other.public_key, renew=False)
        before = steer(one, there, other.public_key, renew=True)
        assert before.endpoint == there
        assert one.run("ping", "-n", "-c1", "-W2", str(other.address), check=False).returncode == 0
        # With a session nothing is renewed: the counters go on.
        after = steer(one, there, other.public_key, renew=True)
        assert after.rx_bytes > 0 and after.allowed_ips == before.allowed_ips
