"""Where the tunnel device sends: read and changed peer by peer for the path machine, beside the plan (`applier.py`)."""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from weavemesh.kernel.device import Device
from weavemesh.overlay.diff import SetPeer
from weavemesh.overlay.state import IPAddress, ObservedPeer
from weavemesh.overlay.tunnel import Turn

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

    async def steer(self, turns: Sequence[Turn]) -> None:
        """See Steering."""
        changes = [
            SetPeer(turn.public_key, True, None, turn.endpoint, (), greet=turn.greet)
            for turn in turns
            if not (turn.renew and await self._has_renewed(turn))
        ]
        if changes:
            await self._device.set_peers(changes)

    async def host_addresses(self) -> tuple[IPAddress, ...]:
        """See Steering."""
        return await self._host_addresses()

    async def _has_renewed(self, turn: Turn) -> bool:
        """Make the peer anew unless there is a session that would be lost; True if so.

        It is read just before: what it is allowed may be changed beside us.
        """
        present = next((peer for peer in await self.peers() if peer.public_key == turn.public_key), None)
        if present is None or (present.last_handshake or 0.0) >= time.time() - SESSION_S:
            return False
        await self._device.renew_peer(
            SetPeer(
                turn.public_key,
                exists=False,
                preshared_key=present.preshared_key,
                endpoint=turn.endpoint,
                allowed_ips=present.allowed_ips,
                greet=turn.greet,
            )
        )
        return True
