"""Unicasts: signed by their source, taken once by their destination.

The peers between may drop a unicast, not change it, nor say it again later: each destination keeps, per source, a
window of the sequence numbers it has taken (the anti-replay window of RFC 4303 section 3.4.3). Not here: the way
(`gossip.mesh`).
"""

from __future__ import annotations

import msgspec

from gossip.name import PeerName
from gossip.record import Signer, Verify
from gossip.wire import HOPS_MAX, Unicast

WINDOW_BITS = 64
"""Unicasts that may overtake each other on different ways; there are a handful under way at a time."""

_encoder = msgspec.msgpack.Encoder()


class ReplayWindow:
    """The unicasts taken from one source: the newest (epoch, sequence) and which of those just before it."""

    __slots__ = ("_epoch", "_newest", "_taken")

    def __init__(self) -> None:
        self._epoch = -1
        self._newest = 0
        self._taken = 0

    def take(self, epoch: int, sequence: int) -> bool:
        """Return True the first time, and only if it is not too old to tell."""
        if epoch < self._epoch:
            return False
        if epoch > self._epoch:
            self._epoch, self._newest, self._taken = epoch, sequence, 1
            return True
        ahead = sequence - self._newest
        if ahead > 0:
            kept = self._taken << ahead if ahead < WINDOW_BITS else 0
            self._newest, self._taken = sequence, (kept | 1) & ((1 << WINDOW_BITS) - 1)
            return True
        bit = 1 << -ahead if -ahead < WINDOW_BITS else 0
        if bit == 0 or self._taken & bit:
            return False
        self._taken |= bit
        return True


def write_unicast(
    signer: Signer, channel: str, destination: PeerName, payload: bytes, *, epoch: int, sequence: int
) -> Unicast:
    """Return a unicast of ours, signed."""
    message = _signed_bytes(channel, signer.name, destination, epoch, sequence, payload)
    return Unicast(
        channel=channel,
        source=signer.name,
        destination=destination,
        hops=HOPS_MAX,
        epoch=epoch,
        sequence=sequence,
        public_key=signer.public_key,
        payload=payload,
        signature=signer.sign(message),
    )


def is_authentic_unicast(unicast: Unicast, verify: Verify) -> bool:
    """Tell whether its source, and nobody else, wrote `unicast` for its destination."""
    message = _signed_bytes(
        unicast.channel, unicast.source, unicast.destination, unicast.epoch, unicast.sequence, unicast.payload
    )
    return verify(unicast.source, unicast.public_key, message, unicast.signature)


def _signed_bytes(
    channel: str, source: PeerName, destination: PeerName, epoch: int, sequence: int, payload: bytes
) -> bytes:
    return b"weavemesh unicast 1\0" + _encoder.encode((channel, source, destination, epoch, sequence, payload))
