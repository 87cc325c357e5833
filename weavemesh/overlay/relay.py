"""The forwarding end of relayed paths: who is bound with whom, at which ports. Pure.

Theory of operation. Two peers that do not reach each other both *bind* here: each knocks at one of our relay ports,
proves who it is, and names the other. What is known of a pair is only what its ends keep saying (soft state): an end
that says nothing for `LEASE_S` is forgotten, and a relay that has been restarted knows all again after the next
bindings. When both ends are bound, packets from exactly where the one was seen to knock, at the port it knocked at, are
forwarded to the other, and vice versa; nothing else ever is. Its counterparts are `path.py`, and those that do it:
`weavemesh.kernel.forwarding`, and for two ends of different versions of IP `weavemesh.transport.carrier`.
"""

from msgspec import Struct

from gossip import PeerName
from weavemesh.overlay.state import Endpoint

LEASE_S = 30.0
USES_S = 2.0
"""That an end sends over this relay is told the other for so long: it may go over to another without a word here."""
PAIRS_MAX = 512
PAIRS_OF_ONE_MAX = 128
"""One peer cannot use up all."""


class End(Struct, frozen=True):
    """One end of a pair."""

    source: Endpoint
    """Where its packets come from."""
    local: Endpoint
    """Our address and port at which they arrive."""


class Forwarding(Struct, frozen=True):
    """A pair that is forwarded; `one` has the smaller name."""

    one_name: PeerName
    other_name: PeerName
    one: End
    other: End

    @property
    def is_one_family(self) -> bool:
        """Both ends have the same version of IP: the kernel can forward, which rewrites headers and exchanges none."""
        return self.one.source.address.version == self.other.source.address.version


class BindHeard(Struct, frozen=True):
    """Input: this peer wants to be bound with `other`, proven, by the knock of this number."""

    peer: PeerName
    other: PeerName
    end: End
    nonce: int
    uses: bool


class BindAnswer(Struct, frozen=True):
    """Output: tell it where it was seen and how things stand."""

    peer: PeerName
    other: PeerName
    end: End
    nonce: int
    both_bound: bool
    other_uses: bool
    refused: bool


class ForwardingsChanged(Struct, frozen=True):
    """Output: `forwardings` is another now."""


RelayOutput = BindAnswer | ForwardingsChanged


class _Bound(Struct):
    end: End
    nonce: int
    uses: bool
    until: float


class Relay:
    """All pairs that bind here. With `willing` off, every one is refused."""

    def __init__(self, *, willing: bool) -> None:
        self._willing = willing
        self._bound: dict[tuple[PeerName, PeerName], _Bound] = {}
        """By who is bound and with whom."""
        self._forwardings: tuple[Forwarding, ...] = ()
        self._outputs: list[RelayOutput] = []

    def receive(self, event: BindHeard, now: float) -> None:
        key = (event.peer, event.other)
        before = self._bound.get(key)
        if before is not None and event.nonce <= before.nonce:
            return  # doubled, overtaken, or played back by somebody from elsewhere
        refused = not self._willing or (before is None and self._is_full(event.peer, event.other))
        if not refused:
            # Who names another at this port has given up whom it named before: an end is of one pair only.
            for former in [other for other, bound in self._bound.items() if bound.end == event.end and other != key]:
                del self._bound[former]
            self._bound[key] = _Bound(event.end, event.nonce, event.uses, now + LEASE_S)
            self._compare()
        opposite = self._bound.get((event.other, event.peer))
        both = not refused and opposite is not None
        uses = both and opposite is not None and opposite.uses and opposite.until > now + LEASE_S - USES_S
        self._outputs.append(BindAnswer(event.peer, event.other, event.end, event.nonce, both, uses, refused))

    def tick(self, now: float) -> None:
        for key in [key for key, bound in self._bound.items() if bound.until <= now]:
            del self._bound[key]
        self._compare()

    def deadline(self) -> float | None:
        return min((bound.until for bound in self._bound.values()), default=None)

    def outputs(self) -> list[RelayOutput]:
        outputs, self._outputs = self._outputs, []
        return outputs

    def forwardings(self) -> tuple[Forwarding, ...]:
        """All pairs of which both ends are bound."""
        return self._forwardings

    def _is_full(self, peer: PeerName, other: PeerName) -> bool:
        if peer == other or (other, peer) in self._bound:
            return peer == other  # half of it is here already
        pairs = {tuple(sorted(key)) for key in self._bound}
        return len(pairs) >= PAIRS_MAX or sum(peer in pair for pair in pairs) >= PAIRS_OF_ONE_MAX

    def _compare(self) -> None:
        found = tuple(
            Forwarding(one, other, bound.end, opposite.end)
            for (one, other), bound in sorted(self._bound.items())
            if one < other and (opposite := self._bound.get((other, one))) is not None
        )
        if found != self._forwardings:
            self._forwardings = found
            self._outputs.append(ForwardingsChanged())
