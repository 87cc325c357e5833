"""What goes into the path machine (`path.py`) and what comes out of it, and what it shows.

A *knock* is a datagram outside the tunnels, from and to the very ports of the WireGuard devices: so whatever stands
between two hosts treats both alike. It carries a name, a number and a proof; its answer says where it was seen to come
from. A *binding* is a knock at a port of a relay: "forward between me and that one".
"""

from collections.abc import Mapping

from msgspec import Struct

from gossip import PeerName
from weavemesh.overlay.state import Endpoint, IPAddress

DIRECT = "direct"
"""In the place of a relay's name."""


class PathPeer(Struct, frozen=True):
    """Another peer as the mesh knows it."""

    endpoints: tuple[Endpoint, ...]
    """Where it may be reached, the most likely first."""
    relay_ports: range
    """At which it forwards for others; empty if it does not."""
    in_touch: bool
    """Whether its agent can be called over the mesh's control links now."""
    own: tuple[Endpoint, ...] = ()
    """Those of its endpoints that it says are its own: whoever is reached there is not behind a translator."""


class Call(Struct, frozen=True):
    """Said by one peer to another over the mesh, not over the path that is looked for."""

    endpoints: tuple[Endpoint, ...]
    """Where the caller may be reached now, as others see it."""
    relays: tuple[tuple[PeerName, float], ...]
    """Peers that the caller reaches directly and that forward, with the round-trip time in seconds."""
    use: tuple[PeerName, ...]
    """Relays at which the caller is bound, the one in use first: where the elder of the two is, the other binds too."""
    lost: bool
    """The caller has no path that works; the other's may not either."""
    reply: bool
    """The caller has not heard what the other has to say."""


# -- inputs -------------------------------------------------------------------------------------------


class PathPeers(Struct, frozen=True):
    """The peers to have paths to; replaces the set before."""

    peers: Mapping[PeerName, PathPeer]


class KnockHeard(Struct, frozen=True):
    """This peer knocked, from there."""

    peer: PeerName
    source: Endpoint


class KnockAnswered(Struct, frozen=True):
    """This peer answered the knock of this number."""

    peer: PeerName
    nonce: int
    seen_as: Endpoint
    """Where it saw the knock come from."""
    both_bound: bool = False
    """At a relay: the other end is bound, too."""
    other_uses: bool = False
    """At a relay: the other end sends over it."""
    refused: bool = False
    """At a relay: it forwards nothing for us."""


class CallHeard(Struct, frozen=True):
    """This peer called."""

    peer: PeerName
    call: Call


class TunnelAnswered(Struct, frozen=True):
    """An answer came through the tunnel to this peer."""

    peer: PeerName
    rtt_s: float


class TunnelSilent(Struct, frozen=True):
    """Several questions through the tunnel to this peer had no answer."""

    peer: PeerName


class DeviceSeen(Struct, frozen=True):
    """Where the device sends now, by peer: it follows a peer's packets by itself."""

    endpoints: Mapping[PeerName, Endpoint]


class AddressesChanged(Struct, frozen=True):
    """This host has other addresses than before: every path may have broken."""

    addresses: tuple[IPAddress, ...] = ()
    """These are known now."""


OfOnePeer = KnockHeard | KnockAnswered | CallHeard | TunnelAnswered | TunnelSilent

PathInput = PathPeers | OfOnePeer | DeviceSeen | AddressesChanged

# -- outputs ------------------------------------------------------------------------------------------


class Knock(Struct, frozen=True):
    """Knock at this endpoint of this peer."""

    peer: PeerName
    endpoint: Endpoint
    nonce: int
    bind_for: PeerName | None = None
    """At a relay: whom to forward to and from."""
    uses: bool = False
    """At a relay: we send over it."""


class SetEndpoint(Struct, frozen=True):
    """Have the device send to this peer there."""

    peer: PeerName
    endpoint: Endpoint
    greet: bool
    """Say something at once, so that the other end's device learns of it; where the session has ended, begin a new one
    without waiting for the attempt at another endpoint to time out."""


class SendCall(Struct, frozen=True):
    """Say this to that peer over the mesh."""

    peer: PeerName
    call: Call


class PathsChanged(Struct, frozen=True):
    """Some path has become another: what is said of it in the mesh may have, too."""


class SeenAsChanged(Struct, frozen=True):
    """Others see us elsewhere than before: `Paths.seen` has news."""


PathOutput = Knock | SetEndpoint | SendCall | PathsChanged | SeenAsChanged

# -- what is shown ------------------------------------------------------------------------------------


class PathView(Struct, frozen=True):
    """The path to one peer."""

    via: str | None
    """DIRECT, the name of a relay, or None without any."""
    endpoint: Endpoint | None
    since: float | None
    """When it became so, on the clock of `now`."""
    tried: tuple[Endpoint, ...] = ()
    """Where no direct answer came from."""
    reason: str = ""
    """Why it is not direct; empty if it is."""
