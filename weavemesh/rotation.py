"""Rotation of this peer's WireGuard key without losing a packet.

Theory of operation. A device has one private key, and each peer's device one entry for us; they cannot change at the
same moment. WireGuard holds back what it cannot encrypt yet (up to 128 packets a peer) and goes on decrypting what
comes in sessions of the former key. So the order is:

1. the new key is on disk: what the mesh is told outlives us;
2. our device gets the secrets that go with it, then the key. Packets for peers wait from now on; theirs still arrive;
3. the mesh is told. Each peer moves our addresses to the new key in one step and shakes hands with it; its packets and
   ours wait for the end of the handshake. None is sent that the other side would not take.

What waits is bounded by the time in which the news travels, some tens of milliseconds over a link. A handshake that we
begin ourselves between 2 and 3 is refused by peers that have not heard yet; theirs succeeds.

Not here: the steps on the device (`weavemesh.overlay.diff`) and in the mesh (`gossip`).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from logging import INFO, WARNING
from pathlib import Path

from weavemesh.error import UserError
from weavemesh.identity import WIREGUARD_FILE, Identity
from weavemesh.logs import Event, log
from weavemesh.overlay.state import PublicKey

DEVICE_S = 10.0
"""So long the caller waits for the device to take the key; then it is told that this goes on by itself."""
LOOK_S = 60.0
"""Between looks at the clock, which may be set: a rotation is late by no more than this."""


class KeyRotation:
    """Rotates when asked to, and when the key is older than `every_s`."""

    def __init__(
        self,
        identity: Identity,
        folder: Path,
        *,
        every_s: float | None,
        settle: Callable[[], Awaitable[None]],
        announce: Callable[[], None],
    ) -> None:
        """`settle` returns when the device holds the identity's key, `announce` tells the mesh."""
        self._identity = identity
        self._folder = folder
        self._every_s = every_s
        self._settle = settle
        self._announce = announce
        self._wanted = asyncio.Event()
        self._rotated = asyncio.Event()
        self.announced: PublicKey = identity.wireguard_public_key
        """The key that the mesh is to know: that of the device."""

    async def run(self) -> None:
        """Rotate whenever it is time, until cancelled."""
        while True:
            await self._until_due()
            self._wanted.clear()
            try:
                await asyncio.to_thread(self._identity.renew_wireguard_key, self._folder)
            except UserError as error:
                log(WARNING, Event.KEY_NOT_ROTATED, reason=error)
                await asyncio.sleep(LOOK_S)
                continue
            await self._settle()
            self.announced = self._identity.wireguard_public_key
            self._announce()
            log(INFO, Event.KEY_ROTATED, key=self.announced.text())
            self._rotated.set()

    async def rotate(self) -> PublicKey:
        """Rotate now; the new public key once the mesh is being told. UserError if the device does not take it."""
        self._rotated.clear()
        self._wanted.set()
        try:
            async with asyncio.timeout(DEVICE_S):
                await self._rotated.wait()
        except TimeoutError as error:
            raise UserError(
                f"the device has no new key after {DEVICE_S:.0f} s, so the mesh is not told of one yet",
                remedy="it goes on trying; `weavemesh status` says what is wrong",
            ) from error
        return self.announced

    async def _until_due(self) -> None:
        while not self._wanted.is_set():
            left = LOOK_S if self._every_s is None else self._made_at() + self._every_s - time.time()
            if left <= 0:
                return
            try:
                async with asyncio.timeout(min(left, LOOK_S)):
                    await self._wanted.wait()
            except TimeoutError:
                continue

    def _made_at(self) -> float:
        """When the key was made, Unix time: its file is written once."""
        try:
            return (self._folder / WIREGUARD_FILE).stat().st_mtime
        except OSError:
            return time.time()  # it was taken away: what we hold is used on, as if it were new
