"""One end of a link over TCP and TLS 1.3, from its first byte to its last. Opened by `stream.py` and `listener.py`.

Theory of operation. Both ends shake hands (`tls.py`) and, each when it has verified the other, send `Hello`. A link is
open for an end when the other's Hello has come: only then does a dialer know that it was let in, because in TLS 1.3
its own handshake is done before its certificate was looked at. Then frames flow both ways. An end that closes sends
`Goodbye` with its reason, closes its writing side, and drops what still comes until the other closes too (or
LINGER_S): closing with unread bytes would make the kernel send a reset, which can overtake the reason.

        SHAKING ──Hello came──▶ OPEN ──closed, lost, broken──▶ ENDED
           └───failed, timed out─────────────────────────────▶ ENDED
"""

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import Final, Protocol, cast

from gossip import PeerName
from weavemesh.certificate import TlsContexts
from weavemesh.transport.address import join_address
from weavemesh.transport.failure import Failure, LinkFailed
from weavemesh.transport.frame import (
    Frame,
    FrameDecoder,
    FrameViolation,
    Goodbye,
    Hello,
    decode_message,
    encode_frame,
    encode_message,
)
from weavemesh.transport.link import Inbox
from weavemesh.transport.meter import COST_PER_S, Meter
from weavemesh.transport.tls import TlsChannel

HANDSHAKE_S: Final = 15.0
"""Two round trips and a few ms of computing each; whoever dials in may take so long."""
DIALLED_HANDSHAKE_S: Final = 45.0
"""Whoever was dialled may take longer: a starved host that a hundred others dial at once answers one after the other,
and who gives up only dials again and is one more.
"""
LINGER_S: Final = 2.0
"""How long what was sent before the end may take to go out."""
CONGESTED_BYTES: Final = 256 * 1024
"""With so much waiting in this process the link counts as congested, until a quarter of it is left."""
OUTBOX_BYTES_MAX: Final = 8 * 1024 * 1024
"""Whoever has not taken this much is not reading: eight of the largest frames, far more than a healthy link holds."""
RECEIVED_BYTES_MAX: Final = 64 * 1024
"""Read from the socket at once; four TLS records of full length."""

_FEATURES: Final[tuple[str, ...]] = ()


class _State(Enum):
    SHAKING = auto()
    OPEN = auto()
    ENDED = auto()


class Observer(Protocol):
    """Who follows a connection from its first byte to its last."""

    def made(self, connection: "StreamConnection") -> None:
        """TCP is connected."""

    def settled(self, connection: "StreamConnection") -> None:
        """It is open now, or has failed (`ending`) before it was."""

    def gone(self, connection: "StreamConnection") -> None:
        """Nothing of it is left."""


_received: Final = memoryview(bytearray(RECEIVED_BYTES_MAX))
"""What has just come over a link. One place for all links: it is read before the loop turns to another."""


class StreamConnection(asyncio.BufferedProtocol):
    """One end of a link; see `weavemesh.transport.link.Connection`. The loop calls asyncio.BufferedProtocol's methods.

    Not asyncio.Protocol, for which the loop takes 256 KiB from the system and gives them back for each heartbeat.
    """

    def __init__(self, *, contexts: TlsContexts, outbound: bool, observer: Observer) -> None:
        self.remote_address = ""
        self.local_address = ""
        self.features: frozenset[str] = frozenset()
        self.ending: LinkFailed | None = None
        self._contexts = contexts
        self._outbound = outbound
        self._observer = observer
        self._state = _State.SHAKING
        self._transport: asyncio.Transport | None = None
        self._channel: TlsChannel | None = None
        self._peer: PeerName | None = None
        self._has_heard = False
        self._frames_taken = 0
        self._decoder = FrameDecoder()
        self._inbox = Inbox(hold=self._hold, release=self._release)
        self._meter = Meter(asyncio.get_running_loop().time())
        self._held_by: set[str] = set()
        self._congestion_changed: Callable[[bool], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._gone = asyncio.Event()

    def __repr__(self) -> str:
        return f"StreamConnection({self.remote_address}, {self._state.name})"

    # The face.

    @property
    def peer(self) -> PeerName:
        assert self._peer is not None, "only after the handshake"
        return self._peer

    @property
    def has_heard(self) -> bool:
        """Whether a byte has come."""
        return self._has_heard

    @property
    def queued_bytes(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def send(self, frame: bytes) -> None:
        if self._state is not _State.OPEN:
            return
        self._write(encode_frame(frame))
        if self.queued_bytes > OUTBOX_BYTES_MAX:
            self._end(
                LinkFailed(f"it did not take what was sent to it ({self.queued_bytes} bytes wait)", Failure.OVERFLOW)
            )
            self.abort()

    def close(self, reason: str) -> None:
        self._end(LinkFailed(reason, Failure.CLOSED))

    def watch_congestion(self, changed: Callable[[bool], None]) -> None:
        self._congestion_changed = changed

    async def wait_closed(self) -> None:
        await self._gone.wait()

    async def read(self, hear: Callable[[bytes], None]) -> None:
        await self._inbox.read(hear)

    # For whoever opened it.

    def fail(self, failure: LinkFailed) -> None:
        """End it for a reason that is not its own."""
        self._end(failure)

    def abort(self) -> None:
        """Drop it without a word."""
        if self._transport is not None:
            self._transport.abort()

    # asyncio.BufferedProtocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=CONGESTED_BYTES)
        self.remote_address = _address_of(transport, "peername")
        self.local_address = _address_of(transport, "sockname")
        patience_s = DIALLED_HANDSHAKE_S if self._outbound else HANDSHAKE_S
        self._timer = asyncio.get_running_loop().call_later(patience_s, self._handshake_expired, patience_s)
        self._observer.made(self)
        if self._outbound and self._state is _State.SHAKING:
            self._channel = TlsChannel(self._contexts.dial, outbound=True)
            self._channel.start()
            self._flush()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - its face
        return _received

    def buffer_updated(self, nbytes: int) -> None:
        self._has_heard = True
        if self._state is _State.ENDED:
            return
        if self._channel is None:
            # Not before: an idle connection costs no TLS state.
            self._channel = TlsChannel(self._contexts.accept, outbound=False)
        try:
            plaintext = self._channel.receive(_received[:nbytes])
            if self._peer is None and self._channel.peer is not None:
                self._peer = self._channel.peer
                self._channel.write(encode_message(Hello(_FEATURES)))
            self._flush()
            self._take(plaintext)
            self._measure(nbytes)
        except LinkFailed as failure:
            self._end(failure)
        self._inbox.hand_over()

    def pause_writing(self) -> None:
        self._tell_congestion(True)

    def resume_writing(self) -> None:
        self._tell_congestion(False)

    def eof_received(self) -> bool:
        when = "during the handshake" if self._state is _State.SHAKING else "without saying why"
        self._end(LinkFailed(f"it closed the connection {when}", Failure.LOST))
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        when = " during the handshake" if self._state is _State.SHAKING else ""
        detail = f" ({exc.strerror or exc})" if isinstance(exc, OSError) else ""
        self._end(LinkFailed(f"the connection was lost{when}{detail}", Failure.LOST))
        if self._timer is not None:
            self._timer.cancel()
        self._channel = self._transport = self._timer = None
        self._gone.set()
        self._observer.gone(self)

    # Inside.

    def _take(self, plaintext: bytes) -> None:
        if not plaintext:
            return
        try:
            for frame in self._decoder.feed(plaintext):
                self._take_frame(frame)
        except FrameViolation as error:
            raise LinkFailed(f"it broke the rules of the wire: {error}", Failure.VIOLATION) from error

    def _measure(self, size: int) -> None:
        """Read nothing for a while if too much came."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        frames, self._frames_taken = self._frames_taken, 0
        pause_s = self._meter.take(size=size, frames=frames, now=now)
        if self._meter.floods(now):
            raise LinkFailed(
                f"it floods: more than {COST_PER_S >> 20} MiB a second, without a pause", Failure.VIOLATION
            )
        if pause_s > 0 and "meter" not in self._held_by:
            self._hold_by("meter")
            loop.call_later(pause_s, self._release_by, "meter")

    def _tell_congestion(self, is_congested: bool) -> None:  # noqa: FBT001 - one value, in the face's own order
        # Later: it may be our own writing that is being told of.
        if self._congestion_changed is not None:
            asyncio.get_running_loop().call_soon(self._congestion_changed, is_congested)

    def _take_frame(self, frame: Frame) -> None:
        self._frames_taken += 1
        if self._state is _State.ENDED:
            return
        if frame.is_message:
            self._take_message(frame.content)
        elif self._state is _State.OPEN:
            self._inbox.put(frame.content)
        else:
            raise LinkFailed("it broke the rules of the wire: a frame before its hello", Failure.VIOLATION)

    def _take_message(self, content: bytes) -> None:
        match decode_message(content):
            case Hello(features=features) if self._state is _State.SHAKING:
                self.features = frozenset(features)
                self._state = _State.OPEN
                if self._timer is not None:
                    self._timer.cancel()
                self._observer.settled(self)
            case Goodbye(reason=reason):
                raise LinkFailed(f"it closed the link: {reason}", Failure.CLOSED_BY_PEER)
            case _:
                pass  # of a later release, or a second hello: no harm

    def _end(self, failure: LinkFailed) -> None:
        if self._state is _State.ENDED:
            return
        before, self._state = self._state, _State.ENDED
        self.ending = failure
        self._inbox.end(discard=failure.code is Failure.CLOSED)
        if self._transport is not None:
            self._part(self._transport, failure)
        if before is _State.SHAKING:
            self._observer.settled(self)

    def _part(self, transport: asyncio.Transport, failure: LinkFailed) -> None:
        """Say what is still to be said and leave in good order, or at once where nobody listens."""
        if self._timer is not None:
            self._timer.cancel()
        if self._channel is not None and self._channel.peer is not None and failure.code is not Failure.LOST:
            if failure.code is not Failure.CLOSED_BY_PEER:
                self._channel.write(encode_message(Goodbye(_said(failure))))
            self._channel.end()
        farewell = self._channel.outgoing() if self._channel is not None else b""
        self._channel = None  # frees some 30 KiB now and not when the garbage collector finds the cycle
        if not farewell or transport.is_closing() or failure.code is Failure.LOST:
            transport.abort()
            return
        transport.write(farewell)
        transport.resume_reading()
        transport.write_eof()
        self._timer = asyncio.get_running_loop().call_later(LINGER_S, transport.abort)

    def _write(self, plaintext: bytes) -> None:
        assert self._channel is not None
        self._channel.write(plaintext)
        self._flush()

    def _flush(self) -> None:
        if self._channel is None or self._transport is None or self._transport.is_closing():
            return  # the loop knows that it broke, and will say so in its turn
        if waiting := self._channel.outgoing():
            self._transport.write(waiting)

    def _hold(self) -> None:
        self._hold_by("inbox")

    def _release(self) -> None:
        self._release_by("inbox")

    def _hold_by(self, holder: str) -> None:
        self._held_by.add(holder)
        if self._transport is not None:
            self._transport.pause_reading()

    def _release_by(self, holder: str) -> None:
        self._held_by.discard(holder)
        if self._transport is not None and not self._held_by:
            self._transport.resume_reading()

    def _handshake_expired(self, patience_s: float) -> None:
        self._end(LinkFailed(f"no handshake within {patience_s:.0f} s", Failure.TIMEOUT))


def _address_of(transport: asyncio.BaseTransport, which: str) -> str:
    """`ip:port`; empty if the connection is gone already."""
    address = transport.get_extra_info(which)
    return join_address(str(address[0]), int(address[1])) if address else ""


def _said(failure: LinkFailed) -> str:
    """What we tell the other end about this end of the link."""
    return failure.reason if failure.code is Failure.CLOSED else f"{failure.code.value}: {failure.reason}"
