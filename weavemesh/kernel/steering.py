"""Where the tunnel device sends: read and changed peer by peer for the path machine, beside the plan (`applier.py`)."""

import time
from collections.abc import Awaitable, Callable
from typing import Final

from weavemesh.kernel.device import Device
from weavemesh.overlay.diff import SetPeer
from weavemesh.overlay.state import Endpoint, IPAddress, ObservedPeer, PublicKey

SESSION_S: Final = 150.0
"""A session ends 180 s after its handshake (WireGuard paper, §6.1); one that is near its end is no loss."""


class DeviceSteering:
    """The real `Steering`. All methods raise DeviceError without a device, and where it refuses."""

    def __init__(self, device: Device, host_addresses: Callable[[], Awaitable[tuple[IPAddress, ...]]]) -> None:
        self._device = device
        self._host_addresses = host_addresses

    async def peers(self) -> tuple[ObservedPeer, ...]:
        """See Steering."""
        return (await self._device.read()).peers

    async def steer(self, public_key: PublicKey, endpoint: Endpoint, *, greet: bool, renew: bool) -> None:
        """See Steering."""
        present = None
        if renew:
            present = next((peer for peer in await self.peers() if peer.public_key == public_key), None)
        is_new = present is not None and (present.last_handshake or 0.0) < time.time() - SESSION_S
        change = SetPeer(
            public_key,
            exists=not is_new,
            preshared_key=present.preshared_key if present is not None and is_new else None,
            endpoint=endpoint,
            allowed_ips=present.allowed_ips if present is not None and is_new else (),
            greet=greet,
        )
        if is_new:
            await self._device.renew_peer(change)
        else:
            await self._device.set_peers([change])

    async def host_addresses(self) -> tuple[IPAddress, ...]:
        """See Steering."""
        return await self._host_addresses()
