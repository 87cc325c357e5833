"""Asks a peer's agent through the tunnel and waits for the answer: round-trip time, and the largest packet that passes.

For the command line, which may wait; the agent's own questions are `weavemesh.probing`'s, whose datagrams these are.
"""

import secrets
import socket
import time
from collections.abc import Callable
from typing import Final, Self

from weavemesh.error import UserError
from weavemesh.overlay.plan import MTU_MIN
from weavemesh.overlay.sizing import MTU_LEAST
from weavemesh.probing import PROBE_PORT, answered_nonce, encode_question
from weavemesh.transport.datagram import send_whole

TRIES: Final = 2
"""A size that is not answered once may have been lost by chance."""


class Echo:
    """A socket for questions to one peer; a context manager."""

    def __init__(self, address: str, *, port: int = PROBE_PORT) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        send_whole(self._socket)
        try:
            self._socket.connect((address, port))
        except OSError as error:
            self._socket.close()
            raise UserError(f"{address} cannot be asked ({error.strerror})", remedy="see `weavemesh status`") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, packet_octets: int, *, timeout_s: float) -> float | None:
        """Seconds until the answer to a packet of this size, with its headers; None if there is none in time."""
        nonce = secrets.randbits(64)
        began = time.monotonic()
        try:
            self._socket.send(encode_question(nonce, packet_octets=packet_octets))
            while (left_s := began + timeout_s - time.monotonic()) > 0:
                self._socket.settimeout(left_s)
                if answered_nonce(self._socket.recv(2048)) == nonce:
                    return time.monotonic() - began
        except OSError:  # too long for the device, refused by the other end, or the time is up
            return None
        return None


def largest(passes: Callable[[int], bool], *, at_most: int) -> int | None:
    """The largest size of a packet that passes, by halving; None if not even the smallest that is used does.

    >>> largest(lambda size: size <= 1391, at_most=1420), largest(lambda size: False, at_most=1420)
    (1391, None)
    """
    if passes(at_most):
        return at_most
    low, high = min(MTU_MIN, at_most), at_most
    if not passes(low):
        low, high = min(MTU_LEAST, low - 1), low
        if not passes(low):
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if passes(middle) else (low, middle)
    return low
