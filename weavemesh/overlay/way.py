"""What the path machine (`path.py`) knows of the way to one peer. Decides nothing."""

from collections.abc import Collection
from math import inf

from msgspec import Struct, field

from gossip import PeerName
from weavemesh.overlay.pathevent import DIRECT, PathPeer, PathView
from weavemesh.overlay.pathtime import REFRESH_INTERVAL_S, REFRESH_UNTRANSLATED_S, URGENT_S
from weavemesh.overlay.state import Endpoint, IPAddress

CANDIDATES_MAX = 10
"""Endpoints that are knocked at in one round."""
HEARD_MAX = 6
"""Endpoints of a peer that we saw it knock from, or that it told; the newest stay."""


class Binding(Struct):
    """Our end at a relay for one peer."""

    endpoint: Endpoint
    began: float
    next_at: float
    answered_at: float | None = None
    both: bool = False
    seen_as: Endpoint | None = None


class Way(Struct):
    """The way to one peer."""

    peer: PathPeer
    via: str | None = None
    endpoint: Endpoint | None = None
    since: float | None = None
    silent_since: float | None = None
    """Since when the tunnel does not answer; None while it does, or was never asked."""
    proven_at: float = -inf
    """When the path in use last showed that it carries packets both ways."""
    heard: dict[Endpoint, float] = field(default_factory=dict)
    """Where it was seen to knock from or said to be, the newest last."""
    rtt: dict[Endpoint, float] = field(default_factory=dict)
    """Of endpoints that have answered."""
    round: int = 0
    next_round_at: float = inf
    next_search_at: float = inf
    searching_since: float = inf
    backoff_s: float = 0.0
    refresh_at: float = inf
    """When to knock at the endpoint in use, so that the translators on the way do not forget us."""
    is_translated: bool = True
    """As far as is known an address translator is on the way to one of the two."""
    assert_at: tuple[float, ...] = ()
    """When to set the endpoint again: packets on their way over the former path turn the device back."""
    knock_back_at: float = -inf
    """Knocks that are heard before are answered, but not returned."""
    call_at: float = inf
    """When the peer is to be called, should nothing have been found by then."""
    called_at: float = -inf
    told_relays: dict[PeerName, float] | None = None
    """What the peer said that it reaches, with round-trip times; None before it said anything."""
    bindings: dict[PeerName, Binding] = field(default_factory=dict)
    avoid: dict[PeerName, float] = field(default_factory=dict)
    """Relays that did not work for this peer, and until when they are not asked again."""
    relay_at: float = inf
    """When a relay is to be chosen, should there be no direct answer by then."""

    @property
    def is_direct(self) -> bool:
        """A direct path is in use and nothing speaks against it."""
        return self.via == DIRECT and self.silent_since is None

    @property
    def is_relayed(self) -> bool:
        """A relay is in use, and nothing speaks against it."""
        return self.via is not None and self.via != DIRECT and self.silent_since is None

    def is_urgent(self, now: float) -> bool:
        """A path was in use and broke a moment ago, or is in use."""
        return self.via is not None and (self.silent_since is None or now - self.silent_since < URGENT_S)

    @property
    def refresh_interval_s(self) -> float:
        """How often the direct path in use is to be knocked at."""
        return REFRESH_INTERVAL_S if self.is_translated else REFRESH_UNTRANSLATED_S

    def candidates(self) -> list[Endpoint]:
        """Where to knock, the most likely first: what is in use, what was heard lately, what the peer says."""
        used = [self.endpoint] if self.via == DIRECT and self.endpoint else []
        newest = list(reversed(self.heard))
        return list(dict.fromkeys((*used, *newest, *self.peer.endpoints)))[:CANDIDATES_MAX]

    def adopt(self, endpoint: Endpoint, now: float) -> None:
        """This direct path works: nothing is searched for any more."""
        if (self.via, self.endpoint) != (DIRECT, endpoint):
            self.via, self.endpoint, self.since = DIRECT, endpoint, now
        self.next_round_at = self.next_search_at = self.relay_at = self.call_at = self.searching_since = inf
        self.backoff_s = 0.0
        self.refresh_at = now + self.refresh_interval_s

    def carried(self, endpoint: Endpoint, now: float) -> None:
        """Packets went both ways there: firewalls remember the flow of the path in use as if we had knocked.

        Where a translator is on the way only a knock tells whether it still gives us the same address.
        """
        if self.is_direct and endpoint == self.endpoint and not self.is_translated:
            self.refresh_at = max(self.refresh_at, now + REFRESH_UNTRANSLATED_S)

    def recover(self, now: float) -> None:
        """It works again as it was: with a relay, we stay bound there."""
        self.silent_since = None
        if self.via is not None and self.via != DIRECT and self.endpoint is not None:
            relay = PeerName(self.via)
            self.avoid.pop(relay, None)
            self.bindings.setdefault(relay, Binding(self.endpoint, began=now, next_at=now))

    def hear(self, endpoint: Endpoint, now: float) -> bool:
        """Remember where it may be; True if that was not known."""
        is_new = endpoint not in self.heard and endpoint not in self.peer.endpoints
        self.heard.pop(endpoint, None)
        self.heard[endpoint] = now
        while len(self.heard) > HEARD_MAX:
            del self.heard[next(iter(self.heard))]
        return is_new

    def bound_at(self) -> tuple[PeerName, ...]:
        """Relays at which we are bound for it: the one in use, then the others, the newest first."""
        newest_first = reversed(self.bindings)
        return tuple(sorted(newest_first, key=lambda relay: relay != self.via))

    def direct_rtt(self) -> float | None:
        """The round-trip time of the direct path in use."""
        return self.rtt.get(self.endpoint) if self.endpoint is not None and self.is_direct else None

    def view(self, own: Collection[IPAddress]) -> PathView:
        """What is shown of it, on a host with these addresses; none while they are not known."""
        if self.is_direct:
            return PathView(DIRECT, self.endpoint, self.since)
        tried = tuple(self.candidates())
        return PathView(self.via, self.endpoint, self.since, tried, self._why_not_direct(tried, own))

    def _why_not_direct(self, tried: tuple[Endpoint, ...], own: Collection[IPAddress]) -> str:
        if self.via == DIRECT:
            return "the direct path no longer answers"
        if not tried:
            return "it does not say where it can be reached, and has not reached us"
        families = {endpoint.address.version for endpoint in tried}
        if own and families.isdisjoint(address.version for address in own):
            return f"it is reached over IPv{families.pop()} only, which this host has not"
        shown = ", ".join(endpoint.text() for endpoint in tried[:4])
        return f"no answer from {shown}{' and others' if len(tried) > 4 else ''}"

    def wake_at(self) -> float:
        """When something is to be done next."""
        soonest = min(self.next_round_at, self.next_search_at, self.refresh_at, self.relay_at, self.call_at)
        if self.assert_at:
            soonest = min(soonest, self.assert_at[0])
        for binding in self.bindings.values():
            soonest = min(soonest, binding.next_at)
        return soonest
