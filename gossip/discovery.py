"""Discovery: which of the peers that we heard of are dialled, so that each has a few links and the mesh holds together.

Theory of operation. Two wishes, looked at every DISCOVERY_INTERVAL_S while one of them is open:

- fewer links than `links_wanted(N)`, about log2 N: dial peers drawn at random, of those drawn the ones with the fewest
  links. The first LINKS_WANTED_MIN at once, the others one by one: meanwhile others dial us, and that counts as well;
- enough links, yet known peers that cannot be reached: every EXPLORE_INTERVAL_S dial one of those. Without it the
  halves of a healed partition, each content with its own links, would never meet.

One dialler per pair: the smaller name dials at once, the larger only when DIAL_FALLBACK_S went by without a link (the
smaller may be content, or unable to reach the other). Each peer has its own back-off, and its addresses are tried in
turn. Who has no room names others: these *hints* are dialled first, as who is only joining knows nobody else yet.
Counterparts: `gossip.target`, and `gossip.trimmer`, which gives links up where there are too many.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from msgspec import Struct

from gossip.backoff import Backoff
from gossip.name import PeerName, Target

LINKS_WANTED_MIN = 3
"""Two may fail at once and a peer is still in the mesh."""

DISCOVERY_INTERVAL_S = 0.5
"""Between two looks: often enough for a mesh to stand in seconds."""

EXPLORE_INTERVAL_S = 2.0
"""Pace of dials to unreachable peers while nothing else is wanted: many peers share the work when halves have parted.
"""

DIAL_FALLBACK_S = 5.0
"""How long the larger name leaves the dialling to the smaller."""

DIALS_MAX = 8
"""Dials under way at once: each holds a socket, and a handshake costs milliseconds."""

LOOKED_AT_MAX = 32
"""Peers drawn at random at each look, so that it costs the same in any mesh; half of them or more may be dialled."""

DRAWN_PER_DIAL = 4
"""Of so many that may be dialled the one with the fewest links is."""

HINTS_MAX = 16
"""Addresses remembered of those that peers without room named."""


def links_wanted(peer_count: int) -> int:
    """Return how many links a peer wants in a mesh of `peer_count`: max(3, ⌊log2 N⌋).

    As others dial us as well, most have one or two more.

    >>> [links_wanted(count) for count in (1, 8, 16, 1000)]
    [3, 3, 4, 9]
    """
    return max(LINKS_WANTED_MIN, peer_count.bit_length() - 1)


class _Acquaintance(Struct):
    without_link_since: float
    backoff: Backoff
    failure: str | None = None


class Discovery:
    """What we know of dialling the peers we heard of."""

    def __init__(self, *, me: PeerName, rng: random.Random, is_enabled: bool, now: float) -> None:
        self._me = me
        self._rng = rng
        self._is_enabled = is_enabled
        self._acquaintances: dict[PeerName, _Acquaintance] = {}
        self._names: list[PeerName] = []
        """The acquaintances, to draw from."""
        self._dialling: dict[Target, PeerName | None] = {}
        """Address being dialled → whom we expect there; None for a hint."""
        self._hints: dict[Target, None] = {}
        self._look_at = now
        self._explore_at = now + EXPLORE_INTERVAL_S

    def meet(self, peer: PeerName, now: float) -> None:
        """Note that `peer` exists; again does nothing."""
        if peer != self._me and peer not in self._acquaintances:
            self._acquaintances[peer] = _Acquaintance(now, Backoff(now))
            self._names.append(peer)

    def forget(self, peer: PeerName) -> None:
        """Note that `peer` is not to be dialled any more."""
        if self._acquaintances.pop(peer, None) is not None:
            self._names.remove(peer)

    def renewed(self, peer: PeerName, now: float) -> None:
        """Note that `peer` says something new of itself, perhaps another address: its failures count no more."""
        acquaintance = self._acquaintances.get(peer)
        if acquaintance is not None:
            acquaintance.backoff.reset(now)
            acquaintance.failure = None

    def hint(self, targets: tuple[Target, ...]) -> bool:
        """Note that somebody without room for us named these addresses; return whether any are dialled instead."""
        if self._is_enabled:
            for target in targets[: HINTS_MAX - len(self._hints)]:
                self._hints[target] = None
        return self._is_enabled and bool(targets)

    def has_hope(self) -> bool:
        """Tell whether somebody is being dialled, or will be as soon as it is time because he was named."""
        return bool(self._dialling or self._hints)

    def failure(self, peer: PeerName) -> str | None:
        """Return why the last dial of `peer`, or the last link with it, failed; None if none did since it spoke."""
        acquaintance = self._acquaintances.get(peer)
        return None if acquaintance is None else acquaintance.failure

    def choose(
        self,
        *,
        linked_count: int,
        unreachable_count: int,
        is_linked: Callable[[PeerName], bool],
        is_reachable: Callable[[PeerName], bool],
        addresses: Callable[[PeerName], tuple[Target, ...]],
        load: Callable[[PeerName], int],
        room: int,
        now: float,
    ) -> list[Target]:
        """Return what to dial now; each is under way from here on."""
        if not self._is_enabled or now < self._look_at:
            return []
        self._look_at = now + DISCOVERY_INTERVAL_S
        missing = links_wanted(len(self._acquaintances) + 1) - linked_count - len(self._dialling)
        is_exploring = missing <= 0 and unreachable_count > 0 and now >= self._explore_at
        if missing <= 0 and not is_exploring:
            return []
        urgent = LINKS_WANTED_MIN - linked_count - len(self._dialling)
        count = min(max(urgent, 1), room, DIALS_MAX - len(self._dialling))
        hinted = [] if is_exploring else self._start_hints(count)
        if is_exploring:
            self._explore_at = now + EXPLORE_INTERVAL_S
        underway = dict.fromkeys(self._dialling.values())
        candidates = [
            peer
            for peer in self._rng.sample(self._names, min(LOOKED_AT_MAX, len(self._names)))
            if self._is_due(peer, self._acquaintances[peer], now)
            and peer not in underway
            and not is_linked(peer)
            and not (is_exploring and is_reachable(peer))
        ]
        count = max(0, count - len(hinted))
        drawn = sorted(candidates[: count * DRAWN_PER_DIAL], key=load)
        return hinted + self._start(drawn, addresses, count, now)

    def failed(self, target: Target, reason: str, now: float) -> None:
        """Note that a dial failed, if it was one of ours."""
        peer = self._dialling.pop(target, None)
        if peer is not None:
            self._put_off(peer, reason, now)

    def found(self, target: Target, peer: PeerName, now: float) -> None:
        """Note that a dial led to `peer`, who may be another than we thought."""
        expected = self._dialling.pop(target, None)
        if expected is not None and expected != peer:
            self._put_off(expected, f"{target} leads to another peer, {peer}", now)

    def unlinked(self, peer: PeerName, failure: str | None, *, lived_s: float, now: float) -> None:
        """Note that the last link to `peer` ended, after `lived_s` seconds; None if that was no failure."""
        acquaintance = self._acquaintances.get(peer)
        if acquaintance is not None:
            acquaintance.without_link_since = now
            acquaintance.backoff.end(now, lived_s, self._rng)
            acquaintance.failure = failure

    def deadline(self, *, linked_count: int, unreachable_count: int) -> float | None:
        """Return when to look again; None while no wish is open."""
        if not self._is_enabled:
            return None
        known_count = len(self._acquaintances)
        wanted = links_wanted(known_count + 1)
        if linked_count < wanted and (self._hints or linked_count < known_count):
            return self._look_at
        return max(self._look_at, self._explore_at) if unreachable_count > 0 else None

    def _put_off(self, peer: PeerName, reason: str, now: float) -> None:
        acquaintance = self._acquaintances.get(peer)
        if acquaintance is not None:
            acquaintance.backoff.fail(now, self._rng)
            acquaintance.failure = reason

    def _is_due(self, peer: PeerName, acquaintance: _Acquaintance, now: float) -> bool:
        if acquaintance.backoff.next_at > now:
            return False
        return self._me < peer or now - acquaintance.without_link_since >= DIAL_FALLBACK_S

    def _start_hints(self, count: int) -> list[Target]:
        started = [target for target in self._hints if target not in self._dialling][: max(0, count)]
        for target in started:
            del self._hints[target]
            self._dialling[target] = None
        return started

    def _start(
        self, candidates: list[PeerName], addresses: Callable[[PeerName], tuple[Target, ...]], count: int, now: float
    ) -> list[Target]:
        started: list[Target] = []
        for peer in candidates:
            if len(started) >= count:
                break
            backoff = self._acquaintances[peer].backoff
            known = addresses(peer)
            target = known[backoff.attempts % len(known)] if known else None
            if target is None or target in self._dialling:
                # Not to be dialled, or its address is being dialled for another: look again later.
                backoff.fail(now, self._rng)
                continue
            self._dialling[target] = peer
            started.append(target)
        return started
