"""What the path machine (`path.py`) says: knocks, of which it remembers which are not answered yet, and calls. Pure."""

from collections.abc import Callable, Mapping

from gossip import PeerName
from weavemesh.overlay import pathtime
from weavemesh.overlay.pathevent import Call, Knock, PathOutput, SendCall
from weavemesh.overlay.patience import Patience
from weavemesh.overlay.relaychoice import reached_relays
from weavemesh.overlay.state import Endpoint
from weavemesh.overlay.way import Way


class PathVoice:
    """Collects outputs."""

    def __init__(self, seen_as: Callable[[], tuple[Endpoint, ...]], patience: Patience, *, nonce: int) -> None:
        self._seen_as, self._patience = seen_as, patience
        self._nonce = nonce
        self._knocks: dict[int, tuple[PeerName, Endpoint, PeerName | None, float]] = {}
        """By number: who was asked, where, for whom it is to forward, when."""
        self._outputs: list[PathOutput] = []

    def outputs(self) -> list[PathOutput]:
        """What was said since the last time."""
        outputs, self._outputs = self._outputs, []
        return outputs

    def say(self, output: PathOutput) -> None:
        """Anything else."""
        self._outputs.append(output)

    def knock(
        self,
        peer: PeerName,
        endpoint: Endpoint | None,
        now: float,
        *,
        bind_for: PeerName | None = None,
        uses: bool = False,
    ) -> None:
        """Knock there, or bind; nothing where there is no endpoint."""
        if endpoint is None:
            return
        self._forget_old_knocks(now)
        self._nonce += 1
        self._knocks[self._nonce] = (peer, endpoint, bind_for, now)
        self._outputs.append(Knock(peer, endpoint, self._nonce, bind_for, uses))

    def answered(self, peer: PeerName, nonce: int, now: float) -> tuple[Endpoint, PeerName | None, float] | None:
        """Where this knock was, for whom, and how long ago in seconds; None if it was none of ours to this peer.

        The same again is None.
        """
        self._forget_old_knocks(now)
        asked, endpoint, bound_for, sent = self._knocks.get(nonce, (None, None, None, 0.0))
        if asked != peer or endpoint is None:
            return None
        del self._knocks[nonce]
        return endpoint, bound_for, now - sent

    def _forget_old_knocks(self, now: float) -> None:
        """Nothing that is answered later counts."""
        limit_s = self._patience.stretch(pathtime.ANSWER_TIMEOUT_S, now)
        while self._knocks:
            nonce, (*_, sent) = next(iter(self._knocks.items()))
            if now <= sent + limit_s:
                break
            del self._knocks[nonce]

    def call(
        self, ways: Mapping[PeerName, Way], peer: PeerName, now: float, *, reply: bool, at_once: bool = False
    ) -> None:
        """Call the peer, unless it cannot be, or was a moment ago and this is not to be said at once.

        Each call names the relays at which we are bound: the other may not have heard of them, or have started anew.
        """
        way = ways[peer]
        if not way.peer.in_touch or (not at_once and now - way.called_at < pathtime.CALL_INTERVAL_S):
            return
        way.called_at = now
        lost = not (way.is_direct or way.is_relayed)
        use = way.bound_at()[: pathtime.RELAYS_AT_ONCE]
        call = Call(self._seen_as(), reached_relays(ways, but=peer), use, lost, reply)
        self._outputs.append(SendCall(peer, call))
