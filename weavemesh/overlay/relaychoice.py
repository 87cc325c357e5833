"""Which relays there are for two peers, and which is the best. Pure questions about what `path.py` knows."""

from collections.abc import Mapping
from math import inf

from gossip import PeerName
from weavemesh.overlay.pathevent import DIRECT
from weavemesh.overlay.pathtime import RELAYS_TOLD_MAX
from weavemesh.overlay.state import Endpoint
from weavemesh.overlay.way import Way

BETTER_RELAY = 0.7
"""A relay is exchanged for one that takes less than this share of its time, and …"""
BETTER_RELAY_S = 0.01
"""… at least so much less."""


def relays_between(ways: Mapping[PeerName, Way], peer: PeerName, now: float) -> dict[PeerName, float]:
    """Whom both reach directly, as far as that is known, with the sum of the round-trip times; the quickest first."""
    way = ways[peer]
    found = []
    for relay, to_relay in ways.items():
        rtt = to_relay.direct_rtt()
        if relay == peer or rtt is None or not to_relay.peer.relay_ports or way.avoid.get(relay, -inf) > now:
            continue
        if way.told_relays and relay not in way.told_relays:
            continue
        found.append((rtt + (way.told_relays or {}).get(relay, rtt), relay))
    return {relay: rtt for rtt, relay in sorted(found)}


def is_better(ways: Mapping[PeerName, Way], peer: PeerName, relay: PeerName, now: float) -> bool:
    """Whether this relay is so much quicker than the one in use that a change is worth it."""
    known = relays_between(ways, peer, now)
    current = known.get(PeerName(ways[peer].via or ""), inf)
    return relay in known and known[relay] < min(current * BETTER_RELAY, current - BETTER_RELAY_S)


def reached_relays(ways: Mapping[PeerName, Way], *, but: PeerName) -> tuple[tuple[PeerName, float], ...]:
    """Who forwards and is reached directly, with the round-trip time, the quickest first; some, if there are many."""
    reached = sorted(
        (rtt, relay)
        for relay, way in ways.items()
        if relay != but and way.peer.relay_ports and (rtt := way.direct_rtt()) is not None
    )
    return tuple((relay, rtt) for rtt, relay in reached[:RELAYS_TOLD_MAX])


def leads_over_who_is_direct(ways: Mapping[PeerName, Way], way: Way) -> bool:
    """True also for ways without a relay."""
    relay = ways.get(PeerName(way.via or ""))
    return way.via is None or way.via == DIRECT or (relay is not None and relay.via == DIRECT)


def free_port(ways: Mapping[PeerName, Way], relay: PeerName) -> Endpoint | None:
    """A port of a directly reached relay at which we are not bound yet; None if there is none.

    One over which packets went until they were not answered is not free: that path may recover.
    """
    to_relay = ways.get(relay)
    if to_relay is None or to_relay.via != DIRECT or to_relay.endpoint is None:
        return None
    taken = {binding.endpoint for way in ways.values() for binding in way.bindings.values()}
    taken |= {way.endpoint for way in ways.values() if way.endpoint is not None and way.via != DIRECT}
    found = (Endpoint(to_relay.endpoint.address, port) for port in to_relay.peer.relay_ports)
    return next((endpoint for endpoint in found if endpoint not in taken), None)
