"""The targets: addresses that people or Kubernetes gave, dialled for ever.

Theory of operation. Each target is in one phase (`gossip.view.TargetPhase`):

    WAITING    its time has come                    -> DIALLING
    WAITING    the peer last found there is linked  -> LINKED     (whoever dialled)
    DIALLING   dial failed                          -> WAITING    (back-off)
    DIALLING   link opened                          -> LINKED     (and the peer is remembered)
    DIALLING   link opened to ourselves             -> OURSELVES
    LINKED     last link to that peer ended         -> WAITING    (back-off)
    any        connect                              -> WAITING, due now; LINKED and DIALLING stay
    any        forget                               -> gone

That a target remembers its peer is what keeps two names for one peer from churning: as long as the peer is linked in
any way, none of its targets is dialled. Counterpart: `gossip.discovery`, which dials peers that nobody gave.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from gossip.backoff import Backoff
from gossip.error import LocalMisuse
from gossip.name import PeerName, Target
from gossip.view import TargetPhase, TargetView

TARGETS_MAX = 1024
"""As many as peers we build for; more are a mistake in somebody's configuration."""


@dataclass(slots=True)
class _State:
    backoff: Backoff
    phase: TargetPhase = TargetPhase.WAITING
    peer: PeerName | None = None
    reason: str | None = None


class TargetTable:
    """All targets and their phases."""

    def __init__(self, rng: random.Random) -> None:
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
            if state.phase in (TargetPhase.WAITING, TargetPhase.OURSELVES):
                state.phase = TargetPhase.WAITING
                state.backoff.reset(now)
        self._reckon()
        return self.names() != before

    def forget(self, targets: tuple[Target, ...]) -> bool:
        """Drop `targets`; return whether the list has changed."""
        dropped = [target for target in targets if self._states.pop(target, None) is not None]
        self._reckon()
        return bool(dropped)

    def start_due(self, is_linked: Callable[[PeerName], bool], room: int, now: float) -> list[Target]:
        """Return the targets to dial now, at most `room` of them; they are DIALLING from here on."""
        if self._due_at is None or now < self._due_at:
            return []
        started: list[Target] = []
        for target, state in self._states.items():
            if state.phase is not TargetPhase.WAITING or state.backoff.next_at > now:
                continue
            if state.peer is not None and is_linked(state.peer):
                state.phase = TargetPhase.LINKED
            elif len(started) < room:
                state.phase = TargetPhase.DIALLING
                started.append(target)
            else:
                state.reason = "no room for another link"
                state.backoff.fail(now, self._rng)
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
            if state.peer == peer and state.phase is TargetPhase.WAITING:
                state.phase = TargetPhase.LINKED
                state.reason = None
        self._reckon()

    def unlinked(self, peer: PeerName, reason: str, *, lived_s: float, now: float) -> None:
        """Note that the last link to `peer` ended, after `lived_s` seconds."""
        for state in self._states.values():
            if state.peer == peer and state.phase is TargetPhase.LINKED:
                self._wait(state, reason)
                state.backoff.end(now, lived_s, self._rng)
        self._reckon()

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
