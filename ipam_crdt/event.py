"""What goes into the allocator and what comes out: frozen values in two closed unions. No behaviour.

Times are seconds on the caller's monotonic clock, the same that it passes as `now`.
"""

from ipaddress import IPv4Address, IPv4Network

from msgspec import Struct

from ipam_crdt.roster import Owner


class Allocate(Struct, frozen=True):
    """Any address for this ident. Answered once, with `Allocated` or `Refused`, at the deadline at the latest.

    An ident that has an address is given the same again. One that waits already goes on waiting, to the new deadline.
    """

    ident: str
    deadline: float


class Claim(Struct, frozen=True):
    """This very address for this ident. Answered as `Allocate` is; refused at once if somebody else has it."""

    ident: str
    address: IPv4Address
    deadline: float


class Release(Struct, frozen=True):
    """The ident needs its address no longer. One that still waits is refused; one that is not known is ignored."""

    ident: str


class RingReceived(Struct, frozen=True):
    """Ring knowledge from a peer: the payload of an `Announce`, or a peer's `state()`."""

    source: Owner
    """Who sent it to us, not who first knew it."""
    payload: bytes


class MessageReceived(Struct, frozen=True):
    """The payload of a `Send` of that peer to us."""

    source: Owner
    payload: bytes


class PeersReachable(Struct, frozen=True):
    """Exactly these peers can be sent a message now, as far as is known."""

    owners: tuple[Owner, ...]


class Remove(Struct, frozen=True):
    """This peer is gone for ever, says a person: what it owns falls to others. Ignored if it is ourselves.

    It need not have taken part in the ring yet; its name is refused from then on.
    """

    owner: Owner


class Fenced(Struct, frozen=True):
    """A member told us that we were removed. There is no way back for this name."""

    source: Owner


class Leave(Struct, frozen=True):
    """Hand all that we own to others who can be reached, and be removed. Ignored while nobody can be reached."""


class Clear(Struct, frozen=True):
    """Hand out again what was isolated of this range because of a conflict, says a person who has looked."""

    network: IPv4Network


class InitialPeers(Struct, frozen=True):
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


class Persist(Struct, frozen=True):
    """Must be durable before the outputs after it are performed. Always the first; replaces all snapshots before it."""

    snapshot: bytes


class Announce(Struct, frozen=True):
    """Ring news for every peer."""

    payload: bytes


class Send(Struct, frozen=True):
    """A message for one peer. It may be lost or come twice."""

    destination: Owner
    payload: bytes


class Allocated(Struct, frozen=True):
    """The ident has this address until it is released."""

    ident: str
    address: IPv4Address


class Refused(Struct, frozen=True):
    """The ident gets no address. Ask again if the reason may have gone."""

    ident: str
    reason: str
    """A sentence that names the cause and the remedy."""


class OwnershipChanged(Struct, frozen=True):
    """Some block has another owner than before; `owned()` tells."""


Output = Persist | Announce | Send | Allocated | Refused | OwnershipChanged
