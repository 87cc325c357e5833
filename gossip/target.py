"""The targets: addresses that people or Kubernetes gave, dialled for ever.

Theory of operation. Each target is in one phase (`gossip.view.TargetPhase`):

    WAITING    its time has come                    -> DIALLING
    WAITING    the peer last found there is linked  -> LINKED     (whoever dialled)
    DIALLING   dial failed                          -> WAITING    (back-off)
    DIALLING   link opened                          -> LINKED     (and the peer is remembered)
    DIALLING   link opened to ourselves             -> OURSELVES
    LINKED     last link to that peer ended         -> WAITING    (back-off)
    LINKED     link to that peer given up: enough   -> REACHED, if discovery finds ways to all; else WAITING
    REACHED    that peer can no longer be reached   -> WAITING, due soon
    REACHED    a link to that peer comes            -> LINKED
    any        connect                              -> WAITING, due now; LINKED and DIALLING stay
    any        forget                               -> gone

That a target remembers its peer is what keeps two names for one peer from churning: as long as the peer is linked in
any way, none of its targets is dialled. Counterpart: `gossip.discovery`, which dials peers that nobody gave.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from msgspec import Struct

from gossip.backoff import BACKOFF_LONGEST_S, Backoff
from gossip.error import LocalMisuse
from gossip.name import PeerName, Target
from gossip.view import TargetPhase, TargetView

DIALS_MAX = 8
"""Dials under way at once: each holds a socket, and a handshake costs milliseconds."""

ROOM_INTERVAL_S = 0.5
"""When a target that had to wait for others looks again."""

REFERRED_S = 30.0
"""Who had no room for us and named others is left alone for so long, or until all of these have failed: a hub that all
are told to join has more to do than to refuse each of them again and again, and where all begin at once, the others
take their time to answer.
"""

LOST_DIALS_PER_SECOND = 10.0
"""A peer that cannot be reached any more is dialled by so many, if it is everybody's target: each draws its turn.
All at once would keep a hub that was only slow from getting up again.
"""

TARGETS_MAX = 1024
"""As many as peers we build for; more are a mistake in somebody's configuration."""


class _State(Struct):
    backoff: Backoff
    phase: TargetPhase = TargetPhase.WAITING
    peer: PeerName | None = None
    reason: str | None = None
    is_spared: bool = False
    """The last link to its peer was given up, or refused, because there are links enough."""
    is_referred: bool = False
    """It was refused, and others were named, which are dialled instead."""


class TargetTable:
    """All targets and their phases."""

    def __init__(self, rng: random.Random, *, may_rest: bool) -> None:
        """`may_rest`: a target whose peer is reached over others may go without a link, see REACHED."""
        self._may_rest = may_rest
        self._rng = rng
        self._states: dict[Target, _State] = {}
        self._due_at: float | None = None

    def __contains__(self, target: object) -> bool:
        return target in self._states

    def names(self) -> tuple[Target, ...]:
        """Return all targets, in the order in which they were given."""
        return tuple(self._states)

    def connect(self, targets: tuple[Target, ...], *, replace: bool, now: float) -> bool:
        """Take up `targets`, due now; return whether the list has changed."""
        wanted = dict.fromkeys(targets)
        kept = {} if replace else dict.fromkeys(self._states)
        if len(wanted | kept) > TARGETS_MAX:
            raise LocalMisuse(f"more than {TARGETS_MAX} targets")
        before = self.names()
        self._states = {target: state for target, state in self._states.items() if target in wanted or target in kept}
        for target in wanted:
            state = self._states.setdefault(target, _State(Backoff(now)))
            if state.phase in (TargetPhase.WAITING, TargetPhase.OURSELVES, TargetPhase.REACHED):
                state.phase = TargetPhase.WAITING
                state.is_spared = False
                state.backoff.reset(now)
        self._reckon()
        return self.names() != before

    def forget(self, targets: tuple[Target, ...]) -> bool:
        """Drop `targets`; return whether the list has changed."""
        dropped = [target for target in targets if self._states.pop(target, None) is not None]
        self._reckon()
        return bool(dropped)

    def start_due(
        self,
        is_linked: Callable[[PeerName], bool],
        is_reachable: Callable[[PeerName], bool],
        room: int,
        now: float,
    ) -> list[Target]:
        """Return the targets to dial now, at most `room` of them; they are DIALLING from here on."""
        if self._due_at is None or now < self._due_at:
            return []
        started: list[Target] = []
        room = min(room, DIALS_MAX - sum(state.phase is TargetPhase.DIALLING for state in self._states.values()))
        for target, state in self._states.items():
            if state.phase is not TargetPhase.WAITING or state.backoff.next_at > now:
                continue
            if state.peer is not None and is_linked(state.peer):
                state.phase = TargetPhase.LINKED
            elif self._may_rest and state.is_spared and state.peer is not None and is_reachable(state.peer):
                state.phase = TargetPhase.REACHED
            elif len(started) < room:
                state.phase = TargetPhase.DIALLING
                started.append(target)
            else:
                state.reason = "other targets are tried first"
                state.backoff.next_at = now + ROOM_INTERVAL_S
        self._reckon()
        return started

    def failed(self, target: Target, reason: str, now: float) -> bool:
        """Note that a dial failed; return whether it was one of ours."""
        state = self._states.get(target)
        if state is None or state.phase is not TargetPhase.DIALLING:
            return False
        self._wait(state, reason)
        state.backoff.fail(now, self._rng)
        self._reckon()
        return True

    def found(self, target: Target, peer: PeerName, *, ourselves: bool) -> bool:
        """Note that a dial led to `peer`; return whether it was one of ours."""
        state = self._states.get(target)
        if state is None or state.phase is not TargetPhase.DIALLING:
            return False
        state.peer = peer
        state.phase = TargetPhase.OURSELVES if ourselves else TargetPhase.LINKED
        state.reason = "this is ourselves" if ourselves else None
        return True

    def linked(self, peer: PeerName) -> None:
        """Note that there is a link to `peer`: its targets need no dial."""
        for state in self._states.values():
            if state.peer == peer and state.phase in (TargetPhase.WAITING, TargetPhase.REACHED):
                state.phase = TargetPhase.LINKED
                state.reason = None
                state.is_spared = False
        self._reckon()

    def unlinked(
        self,
        peer: PeerName,
        reason: str,
        *,
        is_spared: bool,
        is_referred: bool,
        is_reachable: bool,
        lived_s: float,
        now: float,
    ) -> None:
        """Note that the last link to `peer` ended, after `lived_s` seconds.

        `is_spared`: only because there are links enough; `is_referred`: others are dialled instead; `is_reachable`: it
        is reached over others.
        """
        for state in self._states.values():
            if state.peer != peer or state.phase is not TargetPhase.LINKED:
                continue
            self._wait(state, reason)
            state.backoff.end(now, lived_s, self._rng)
            if is_referred:
                state.backoff.next_at = max(state.backoff.next_at, now + REFERRED_S)
            state.is_spared, state.is_referred = is_spared, is_referred
            if self._may_rest and state.is_spared and is_reachable:
                state.phase = TargetPhase.REACHED
        self._reckon()

    def hasten(self, now: float) -> None:
        """Note that there is nobody left who was named instead of a target: those targets are due."""
        for state in self._states.values():
            if state.is_referred and state.phase is TargetPhase.WAITING:
                state.is_referred = False
                state.backoff.next_at = now
        self._reckon()

    def lost(self, peers: tuple[PeerName, ...], now: float, *, mesh_size: int) -> None:
        """Note that these peers of a mesh of so many cannot be reached any more: their targets are dialled."""
        turns_s = min(BACKOFF_LONGEST_S, mesh_size / LOST_DIALS_PER_SECOND)
        for state in self._states.values():
            if state.phase is TargetPhase.REACHED and state.peer in peers:
                self._wait(state, "no longer reached over others")
                state.backoff.reset(now + self._rng.uniform(0.0, turns_s))
        self._reckon()

    def leads_to(self, peer: PeerName) -> bool:
        """Tell whether `peer` was found at a target."""
        return any(state.peer == peer for state in self._states.values())

    def cloned(self, target: Target) -> None:
        """Note that who was found there is not ourselves but another machine with our identity."""
        state = self._states.get(target)
        if state is not None and state.phase is TargetPhase.OURSELVES:
            state.reason = "another machine with this peer's identity is there"

    def deadline(self) -> float | None:
        """Return when the next target is due; None if none waits."""
        return self._due_at

    def views(self) -> tuple[TargetView, ...]:
        """Return all targets, in the order in which they were given."""
        return tuple(
            TargetView(
                target=target,
                phase=state.phase,
                peer=state.peer,
                attempts=state.backoff.attempts,
                reason=state.reason,
                next_dial_at=state.backoff.next_at if state.phase is TargetPhase.WAITING else None,
            )
            for target, state in self._states.items()
        )

    @staticmethod
    def _wait(state: _State, reason: str) -> None:
        state.phase = TargetPhase.WAITING
        state.reason = reason

    def _reckon(self) -> None:
        waiting = (s.backoff.next_at for s in self._states.values() if s.phase is TargetPhase.WAITING)
        self._due_at = min(waiting, default=None)
