"""Calls between path machines as bytes, for the mesh's unicasts. Pure.

MessagePack maps by field names: later releases may add fields. What cannot be read is None: the caller calls again.
"""

from typing import Annotated, Final

import msgspec

from gossip import PeerName
from weavemesh.overlay.pathevent import Call
from weavemesh.summary import endpoint_of

CALL_BYTES_MAX: Final = 4096

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=60)]


class _Call(msgspec.Struct, frozen=True):
    endpoints: Annotated[tuple[_Text, ...], msgspec.Meta(max_length=8)]
    relays: Annotated[tuple[tuple[_Text, _Seconds], ...], msgspec.Meta(max_length=16)]
    use: Annotated[tuple[_Text, ...], msgspec.Meta(max_length=4)]
    lost: bool
    reply: bool


def encode_call(call: Call) -> bytes:
    """At most CALL_BYTES_MAX bytes."""
    endpoints = tuple(endpoint.text() for endpoint in call.endpoints)
    relays = tuple((str(relay), min(60.0, rtt_s)) for relay, rtt_s in call.relays)
    return msgspec.msgpack.encode(_Call(endpoints, relays, tuple(call.use), call.lost, call.reply))


def decode_call(content: bytes) -> Call | None:
    """What `encode_call` wrote, in this release or a later one; None for anything else."""
    if len(content) > CALL_BYTES_MAX:
        return None
    try:
        call = msgspec.msgpack.decode(content, type=_Call)
        endpoints = tuple(endpoint_of(text) for text in call.endpoints)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors, as are addresses that are none
        return None
    relays = tuple((PeerName(relay), rtt_s) for relay, rtt_s in call.relays)
    return Call(endpoints, relays, tuple(map(PeerName, call.use)), call.lost, call.reply)


class NothingKept:
    """The channel of calls as gossip sees it: there are only unicasts, and no state to repair."""

    def digest(self) -> bytes:
        """The same everywhere."""
        return b""

    def state(self) -> bytes:
        """Nothing."""
        return b""
