"""Which tunnels are in use: those that carry more than our own questions and WireGuard's. Pure."""

from collections.abc import Callable, Mapping

from msgspec import Struct

from gossip import PeerName

PROBE_OCTETS = 80
"""Of one question or answer through a tunnel, as WireGuard counts it: 41 octets padded to 48, and 32."""
IDLE_OCTETS = 420
"""What WireGuard itself says in `IDLE_S`: a handshake, begun anew once, and a keepalive, 2 * 148 + 92 + 32 at most."""
IDLE_S = 5.0
"""WireGuard begins a handshake at most so often (WireGuard paper, §6.1); a look may come later."""
USED_FOR_S = 15.0


class _Seen(Struct):
    octets: int
    probes: int
    used_until: float
    looked_at: float


class Usage:
    """Compares what the counters show at each look."""

    def __init__(self) -> None:
        self._seen: dict[PeerName, _Seen] = {}
        self.is_any_used = False
        """At the last look some tunnel was in use."""

    def look(self, octets: Mapping[PeerName, int], probes: Callable[[PeerName], int], now: float) -> set[PeerName]:
        """Whose tunnels are in use, by octets in both directions and how many of our own datagrams were among them."""
        for name in [name for name in self._seen if name not in octets]:
            del self._seen[name]
        used = set()
        for name, total in octets.items():
            asked = probes(name)
            seen = self._seen.setdefault(name, _Seen(total, asked, 0.0, now))
            # Counters begin anew when a tunnel does.
            others = max(0, total - seen.octets) - PROBE_OCTETS * (asked - seen.probes)
            if others > IDLE_OCTETS * max(1.0, (now - seen.looked_at) / IDLE_S):
                seen.used_until = now + USED_FOR_S
            seen.octets, seen.probes, seen.looked_at = total, asked, now
            if seen.used_until > now:
                used.add(name)
        self.is_any_used = bool(used)
        return used
