"""Frames on a link's byte stream: four bytes of length, big-endian, then so many bytes.

Two kinds: frames of the mesh, opaque here, and (highest bit of the length set) the link's own messages, a MessagePack
map each: `Hello` first in both directions, `Goodbye` last. Links skip messages of their own that they do not know.
Pure: bytes in, frames out.
"""

from collections.abc import Iterator
from typing import Final

import msgspec
from msgspec import Struct

FRAME_BYTES_MAX: Final = 1024 * 1024 + 4096
"""1 MiB of content, the limit of `gossip`, and room for what is around it."""
MESSAGE_BYTES_MAX: Final = 4096
"""A link's own message; none is near."""
FEATURES_MAX: Final = 64
REASON_CHARACTERS_MAX: Final = 300

_HEAD_BYTES: Final = 4
_MESSAGE_BIT: Final = 1 << 31


class FrameViolation(ValueError):
    """The bytes are no frames: a length is beyond its limit."""


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """The first message each way: the sender has let the other in. Nothing else may come before it."""

    features: tuple[str, ...] = ()
    """What the sender can do beyond the wire version; unknown ones are ignored."""


class Goodbye(msgspec.Struct, frozen=True, tag="goodbye"):
    """The last message: why the sender closes the link."""

    reason: str


Message = Hello | Goodbye
_messages: Final = msgspec.msgpack.Decoder(Message)


class Frame(Struct, frozen=True):
    """One frame as it came."""

    content: bytes
    is_message: bool
    """Of the link's own, see `decode_message`; otherwise of the mesh."""


def encode_frame(content: bytes) -> bytes:
    """A frame of the mesh. The caller keeps to FRAME_BYTES_MAX."""
    assert len(content) <= FRAME_BYTES_MAX, f"a frame of {len(content)} bytes"
    return len(content).to_bytes(_HEAD_BYTES, "big") + content


def encode_message(message: Message) -> bytes:
    """A frame of the link's own; the reason of a goodbye is cut to REASON_CHARACTERS_MAX."""
    if isinstance(message, Goodbye):
        message = Goodbye(message.reason[:REASON_CHARACTERS_MAX])
    content = msgspec.msgpack.encode(message)
    return (_MESSAGE_BIT | len(content)).to_bytes(_HEAD_BYTES, "big") + content


def decode_message(content: bytes) -> Message | None:
    """A message of the link's own; None if this release does not know it or it is garbage.

    What is kept of it is within limits and printable.
    """
    try:
        message = _messages.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(message, Goodbye):
        reason = "".join(c if c.isprintable() else " " for c in message.reason[:REASON_CHARACTERS_MAX])
        return Goodbye(reason.strip() or "no reason given")
    return Hello(tuple(f for f in message.features if f.isprintable())[:FEATURES_MAX])


class FrameDecoder:
    """Cuts a stream of bytes into frames; holds back what is not yet a whole frame (at most one)."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """The frames that are whole now, to be read to the end before more is fed.

        FrameViolation, after the frames before it, as soon as a length beyond its limit is seen.
        """
        buffer = self._buffer
        buffer += chunk
        at = 0
        try:
            while len(buffer) - at >= _HEAD_BYTES:
                head = int.from_bytes(buffer[at : at + _HEAD_BYTES], "big")
                is_message, length = bool(head & _MESSAGE_BIT), head & ~_MESSAGE_BIT
                if length > (MESSAGE_BYTES_MAX if is_message else FRAME_BYTES_MAX):
                    raise FrameViolation(f"a frame of {length} bytes")
                start, end = at + _HEAD_BYTES, at + _HEAD_BYTES + length
                if len(buffer) < end:
                    return
                at = end
                yield Frame(bytes(buffer[start:end]), is_message)
        finally:
            del buffer[:at]
