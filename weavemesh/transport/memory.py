"""Links without a network, for tests and simulation: the same face as the real ones, on whatever clock the loop has.

A `MemoryNetwork` is the world between hosts; each host's `MemoryTransport` opens and accepts links in it. Frames keep
their order within a link. A cut holds frames back, as TCP does, until it is healed. No TLS: who has which secret is
compared plainly. Counterpart: `weavemesh.transport.stream`.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Self

from gossip import PeerName
from weavemesh.error import UserError
from weavemesh.transport.address import join_address
from weavemesh.transport.connection import CONGESTED_BYTES, OUTBOX_BYTES_MAX
from weavemesh.transport.failure import Failure, LinkFailed
from weavemesh.transport.frame import FRAME_BYTES_MAX
from weavemesh.transport.link import Inbox
from weavemesh.transport.listener import ACCEPTED_MAX
from weavemesh.transport.stream import DIAL_S

_EPHEMERAL_PORT: Final = 49152

Delay = Callable[[str, str], float]
"""Seconds that a frame takes from one host to another; called for each."""


class MemoryNetwork:
    """Hosts, and what lies between them."""

    def __init__(self, *, delay: Delay = lambda _source, _destination: 0.0) -> None:
        self._delay = delay
        self._listeners: dict[tuple[str, int], MemoryListener] = {}
        self._cut: set[tuple[str, str]] = set()
        self._held: list[tuple[str, str, Callable[[], None]]] = []
        self._next_port = _EPHEMERAL_PORT

    def transport(self, host: str, *, peer: PeerName, secret: str = "the secret") -> "MemoryTransport":
        """The transport of one peer on one host."""
        return MemoryTransport(self, host=host, peer=peer, secret=secret)

    def cut(self, source: str, destination: str) -> None:
        """From now nothing gets from one host to another; the other way is not touched."""
        self._cut.add((source, destination))

    def heal(self, source: str, destination: str) -> None:
        """End a cut: what was held back is delivered."""
        self._cut.discard((source, destination))
        held, self._held = self._held, []
        for of, to, deliver in held:
            self._carry(of, to, deliver)

    def is_quiet(self) -> bool:
        """Tell whether nobody listens any more."""
        return not self._listeners

    def _carry(self, source: str, destination: str, deliver: Callable[[], None]) -> None:
        if (source, destination) in self._cut:
            self._held.append((source, destination, deliver))
        else:
            asyncio.get_running_loop().call_later(self._delay(source, destination), deliver)

    def _free_port(self) -> int:
        self._next_port += 1
        return self._next_port


class MemoryConnection:
    """One end of a link in memory; see `weavemesh.transport.link.Connection`."""

    def __init__(
        self, network: MemoryNetwork, *, peer: PeerName, local: tuple[str, int], remote: tuple[str, int]
    ) -> None:
        self.peer = peer
        self.local_address = join_address(*local)
        self.remote_address = join_address(*remote)
        self.features: frozenset[str] = frozenset()
        self.ending: LinkFailed | None = None
        self.queued_bytes = 0
        self._network = network
        self._hosts = (local[0], remote[0])
        self._other: MemoryConnection | None = None
        self._outbox: deque[bytes | LinkFailed] = deque()
        self._due = 0
        self._holds_back = False
        self._is_congested = False
        self._congestion_changed: Callable[[bool], None] | None = None
        self._inbox = Inbox(hold=self._pause, release=self._resume)

    def join(self, other: Self) -> None:
        """Make two ends one link."""
        self._other, other._other = other, self

    def send(self, frame: bytes) -> None:
        assert len(frame) <= FRAME_BYTES_MAX, f"a frame of {len(frame)} bytes"
        if self.ending is not None:
            return
        self.queued_bytes += len(frame)
        if self.queued_bytes > OUTBOX_BYTES_MAX:
            self._end(LinkFailed("it did not take what was sent to it", Failure.OVERFLOW), farewell="overflow")
            return
        self._post(frame)
        self._weigh()

    def close(self, reason: str) -> None:
        self._end(LinkFailed(reason, Failure.CLOSED), farewell=reason)

    def watch_congestion(self, changed: Callable[[bool], None]) -> None:
        self._congestion_changed = changed

    async def wait_closed(self) -> None:
        """The end is the end: nothing lingers here."""

    async def read(self, hear: Callable[[bytes], None]) -> None:
        await self._inbox.read(hear)

    def _end(self, failure: LinkFailed, *, farewell: str | None) -> None:
        if self.ending is not None:
            return
        self.ending = failure
        self._inbox.end(discard=failure.code is Failure.CLOSED)
        if farewell is not None:
            self._post(LinkFailed(f"it closed the link: {farewell}", Failure.CLOSED_BY_PEER))

    def _post(self, item: bytes | LinkFailed) -> None:
        self._outbox.append(item)
        source, destination = self._hosts
        self._network._carry(source, destination, self._deliver)

    def _deliver(self) -> None:
        """One more item is due; which one does not matter: the order within a link is kept."""
        self._due += 1
        self._hand_over()

    def _hand_over(self) -> None:
        other = self._other
        assert other is not None, "send before join"
        while self._due and not other._holds_back:
            self._due -= 1
            item = self._outbox.popleft()
            if isinstance(item, LinkFailed):
                other._end(item, farewell=None)
                continue
            self.queued_bytes -= len(item)
            other._inbox.put(item)
            self._weigh()
            other._inbox.hand_over()

    def _weigh(self) -> None:
        is_congested = self.queued_bytes > (CONGESTED_BYTES // 4 if self._is_congested else CONGESTED_BYTES)
        if is_congested is not self._is_congested:
            self._is_congested = is_congested
            if self._congestion_changed is not None:
                asyncio.get_running_loop().call_soon(self._congestion_changed, is_congested)

    def _pause(self) -> None:
        self._holds_back = True

    def _resume(self) -> None:
        """The reader has caught up: what came due in the meantime comes now."""
        self._holds_back = False
        if self._other is not None:
            self._other._hand_over()


class MemoryListener:
    """Accepts links in memory; see `weavemesh.transport.link.Listener`."""

    def __init__(self, network: MemoryNetwork, *, owner: "MemoryTransport", port: int) -> None:
        self.port = port
        self.owner = owner
        self._network = network
        self._accepted: asyncio.Queue[MemoryConnection] = asyncio.Queue(ACCEPTED_MAX)

    async def accept(self) -> MemoryConnection:
        return await self._accepted.get()

    def close(self) -> None:
        self._network._listeners.pop((self.owner.host, self.port), None)

    def offer(self, connection: MemoryConnection) -> bool:
        """Queue a link; false if too many wait already."""
        if self._accepted.full():
            return False
        self._accepted.put_nowait(connection)
        return True


class MemoryTransport:
    """Opens and accepts links in memory; see `weavemesh.transport.link.Transport`."""

    def __init__(self, network: MemoryNetwork, *, host: str, peer: PeerName, secret: str) -> None:
        self.host = host
        self.peer = peer
        self.secret = secret
        self._network = network

    async def listen(self, port: int) -> MemoryListener:
        port = port or self._network._free_port()
        if (self.host, port) in self._network._listeners:
            raise UserError(f"TCP port {port} is taken by another program", remedy="choose another with --port")
        listener = MemoryListener(self._network, owner=self, port=port)
        self._network._listeners[(self.host, port)] = listener
        return listener

    async def dial(self, host: str, port: int, *, timeout_s: float = DIAL_S) -> MemoryConnection:
        network = self._network
        try:
            async with asyncio.timeout(timeout_s):
                await self._pass(self.host, host)
                listener = network._listeners.get((host, port))
                await self._pass(host, self.host)
        except TimeoutError as error:
            raise LinkFailed(f"no answer within {timeout_s:.1f} s", Failure.TIMEOUT) from error
        if listener is None or network._listeners.get((host, port)) is not listener:
            raise LinkFailed("connection refused: no weavemesh listens there", Failure.REFUSED)
        if listener.owner.secret != self.secret:
            raise LinkFailed("it has another cluster secret", Failure.WRONG_SECRET)
        near, far = (self.host, network._free_port()), (host, port)
        mine = MemoryConnection(network, peer=listener.owner.peer, local=near, remote=far)
        theirs = MemoryConnection(network, peer=self.peer, local=far, remote=near)
        mine.join(theirs)
        if not listener.offer(theirs):
            raise LinkFailed("it is too busy to take over more links", Failure.BUSY)
        return mine

    async def _pass(self, source: str, destination: str) -> None:
        """Let one packet get from one host to another."""
        arrived = asyncio.Event()
        self._network._carry(source, destination, arrived.set)
        await arrived.wait()
