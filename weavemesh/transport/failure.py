"""Why a link ended or did not come to be: a value, and the only exception of `weavemesh.transport`."""

from enum import Enum, unique


@unique
class Failure(Enum):
    """Kinds of failure, from what tells least about the other side to what tells most."""

    UNREACHABLE = "unreachable"
    """No route, or the network says that it does not get there."""
    DNS = "dns"
    """The host's name has no address."""
    TIMEOUT = "timeout"
    """No answer in time."""
    REFUSED = "refused"
    """Nobody listens on that port, or a firewall says so."""
    BUSY = "busy"
    """Too many unfinished handshakes or links at the accepting side."""
    LOST = "lost"
    """The connection broke without a word."""
    NOT_WEAVEMESH = "not-weavemesh"
    """Something else is at the other end."""
    WRONG_VERSION = "wrong-version"
    """A weavemesh without a wire version that we speak."""
    EXPIRED = "expired"
    """A certificate is not valid now: a clock is wrong."""
    WRONG_SECRET = "wrong-secret"
    """The two sides have different cluster secrets."""
    WRONG_IDENTITY = "wrong-identity"
    """A member of the mesh whose certificate names another peer."""
    VIOLATION = "violation"
    """A member of the mesh that broke the rules of the wire."""
    OVERFLOW = "overflow"
    """It did not take what was sent to it."""
    CLOSED_BY_PEER = "closed-by-peer"
    """It said goodbye; the reason is its own."""
    CLOSED = "closed"
    """We closed it."""


class LinkFailed(Exception):
    """A link that could not be opened, or why an open one ended."""

    def __init__(self, reason: str, code: Failure) -> None:
        super().__init__(reason, code)
        self.reason = reason
        """For people: a phrase that fits after "host:port: ", with the remedy where there is one."""
        self.code = code

    def __str__(self) -> str:
        return self.reason
