"""Makes this host answer under one more address, as a route to itself: no device has it, and our mark is on it.

Blocking, in microseconds; in the network namespace of the calling thread. Which address, and whether, is
`weavemesh.podside`'s.
"""

import errno

from weavemesh.kernel import podmessage
from weavemesh.kernel.podlink import RouteSocket
from weavemesh.kernel.podmodel import PodAddress, WiringFailed

_WITHOUT_IPV6 = (errno.EACCES, errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.EINVAL)


def expose(address: PodAddress) -> None:
    """The host takes packets to this address from now on; nothing if it does. WiringFailed."""
    _perform([podmessage.add_local_route(one) for one in address.all()], tolerated=_WITHOUT_IPV6)


def hide(address: PodAddress) -> None:
    """No longer; nothing if it did not. WiringFailed."""
    _perform([podmessage.remove_local_route(one) for one in address.all()], tolerated=(errno.ESRCH, *_WITHOUT_IPV6))


def _perform(messages: list[podmessage.Message], *, tolerated: tuple[int, ...]) -> None:
    try:
        with RouteSocket() as outside:
            failures = outside.attempt(*messages)
    except OSError as error:
        raise WiringFailed(f"cannot {error}") from error
    for number, failure in enumerate(failures):
        allowed = tolerated if number or errno.ESRCH in tolerated else ()
        if failure and failure.errno not in allowed:
            raise WiringFailed(f"cannot {failure}") from failure
