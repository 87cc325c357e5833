"""Which tunnels are in use: those that carry more than our own questions and WireGuard's. Pure."""

from collections.abc import Callable, Mapping

from msgspec import Struct

from gossip import PeerName
from weavemesh.overlay.sizing import FILL_OCTETS

MESSAGE_OCTETS = 32
"""What WireGuard counts of a packet besides its content, which is filled up to a multiple of `FILL_OCTETS`."""
IDLE_OCTETS = 420 + 1456
"""What WireGuard itself says in `IDLE_S`: a handshake, begun anew once, and a keepalive, 2 * 148 + 92 + 32 at most; and
a long question that has come but was not read yet. A ping a second is less, and counts as no use."""
IDLE_S = 5.0
"""WireGuard begins a handshake at most so often (WireGuard paper, §6.1); a look may come later."""
USED_FOR_S = 15.0


def counted_octets(packet_octets: int) -> int:
    """What WireGuard counts of a packet of this size.

    >>> counted_octets(41), counted_octets(1420)
    (80, 1456)
    """
    return -(-packet_octets // FILL_OCTETS) * FILL_OCTETS + MESSAGE_OCTETS


class _Seen(Struct):
    octets: int
    ours: int
    used_until: float
    looked_at: float


class Usage:
    """Compares what the counters show at each look."""

    def __init__(self) -> None:
        self._seen: dict[PeerName, _Seen] = {}
        self.is_any_used = False
        """At the last look some tunnel was in use."""

    def look(self, octets: Mapping[PeerName, int], ours: Callable[[PeerName], int], now: float) -> set[PeerName]:
        """Whose tunnels are in use, by octets in both directions and how many of them were our own datagrams."""
        for name in [name for name in self._seen if name not in octets]:
            del self._seen[name]
        used = set()
        for name, total in octets.items():
            known = ours(name)
            seen = self._seen.setdefault(name, _Seen(total, known, 0.0, now))
            # Counters begin anew when a tunnel does.
            others = max(0, total - seen.octets) - (known - seen.ours)
            if others > IDLE_OCTETS * max(1.0, (now - seen.looked_at) / IDLE_S):
                seen.used_until = now + USED_FOR_S
            seen.octets, seen.ours, seen.looked_at = total, known, now
            if seen.used_until > now:
                used.add(name)
        self.is_any_used = bool(used)
        return used
