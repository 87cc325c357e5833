"""What goes into the allocator and what comes out: frozen values in two closed unions. No behaviour.

Times are seconds on the caller's monotonic clock, the same that it passes as `now`.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from ipam_crdt.roster import Owner


@dataclass(frozen=True, slots=True)
class Allocate:
    """Any address for this ident. Answered once, with `Allocated` or `Refused`, at the deadline at the latest.

    An ident that has an address is given the same again. One that waits already goes on waiting, to the new deadline.
    """

    ident: str
    deadline: float


@dataclass(frozen=True, slots=True)
class Claim:
    """This very address for this ident. Answered as `Allocate` is; refused at once if somebody else has it."""

    ident: str
    address: IPv4Address
    deadline: float


@dataclass(frozen=True, slots=True)
class Release:
    """The ident needs its address no longer. One that still waits is refused; one that is not known is ignored."""

    ident: str


@dataclass(frozen=True, slots=True)
class RingReceived:
    """Ring knowledge from a peer: the payload of an `Announce`, or a peer's `state()`."""

    source: Owner
    """Who sent it to us, not who first knew it."""
    payload: bytes


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """The payload of a `Send` of that peer to us."""

    source: Owner
    payload: bytes


@dataclass(frozen=True, slots=True)
class PeersReachable:
    """Exactly these peers can be sent a message now, as far as is known."""

    owners: tuple[Owner, ...]


@dataclass(frozen=True, slots=True)
class Remove:
    """This peer is gone for ever, says a person: what it owns falls to others. Ignored if it is ourselves.

    It need not have taken part in the ring yet; its name is refused from then on.
    """

    owner: Owner


@dataclass(frozen=True, slots=True)
class Fenced:
    """A member told us that we were removed. There is no way back for this name."""

    source: Owner


@dataclass(frozen=True, slots=True)
class Leave:
    """Hand all that we own to others who can be reached, and be removed. Ignored while nobody can be reached."""


@dataclass(frozen=True, slots=True)
class Clear:
    """Hand out again what was isolated of this range because of a conflict, says a person who has looked."""

    network: IPv4Network


@dataclass(frozen=True, slots=True)
class InitialPeers:
    """These are at the addresses that were given as those of initial peers, as far as has been found out by now."""

    owners: tuple[Owner, ...]


Input = (
    Allocate
    | Claim
    | Release
    | RingReceived
    | MessageReceived
    | PeersReachable
    | InitialPeers
    | Remove
    | Fenced
    | Leave
    | Clear
)


@dataclass(frozen=True, slots=True)
class Persist:
    """Must be durable before the outputs after it are performed. Always the first; replaces all snapshots before it."""

    snapshot: bytes


@dataclass(frozen=True, slots=True)
class Announce:
    """Ring news for every peer."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Send:
    """A message for one peer. It may be lost or come twice."""

    destination: Owner
    payload: bytes


@dataclass(frozen=True, slots=True)
class Allocated:
    """The ident has this address until it is released."""

    ident: str
    address: IPv4Address


@dataclass(frozen=True, slots=True)
class Refused:
    """The ident gets no address. Ask again if the reason may have gone."""

    ident: str
    reason: str
    """A sentence that names the cause and the remedy."""


@dataclass(frozen=True, slots=True)
class OwnershipChanged:
    """Some block has another owner than before; `owned()` tells."""


Output = Persist | Announce | Send | Allocated | Refused | OwnershipChanged
