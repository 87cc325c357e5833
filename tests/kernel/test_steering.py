"""Steering a real device: the endpoint is set, and a handshake that went astray does not hold up the next."""

from ipaddress import IPv4Address

import pytest

from tests.kernel.tunnel_lab import DATAPATHS, Datapath, Host, Wire, missing
from weavemesh.kernel.applier import Kernel
from weavemesh.kernel.steering import DeviceSteering
from weavemesh.overlay.state import Endpoint, ObservedPeer, PublicKey


@pytest.fixture(params=DATAPATHS)
def datapath(request: pytest.FixtureRequest) -> Datapath:
    if reason := missing(request.param):
        pytest.skip(reason)
    return request.param  # type: ignore[no-any-return]  # pytest does not know


def steer(host: Host, endpoint: Endpoint, key: PublicKey, *, renew: bool) -> ObservedPeer:
    async def work(kernel: Kernel) -> ObservedPeer:
        steering = DeviceSteering(kernel.device, kernel.host_addresses)
        await steering.steer(key, endpoint, greet=True, renew=renew)
        (peer,) = await steering.peers()
        return peer

    return host.with_kernel(work)


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
