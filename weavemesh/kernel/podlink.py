"""A blocking rtnetlink socket: does batches of `weavemesh.kernel.podmessage`, answers the few questions of a check.

Not for the event loop's thread: sending *is* the kernel's work, and deleting a veth takes it 15 ms. Its counterpart is
`weavemesh.kernel.pod`.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from weavemesh.kernel import podmessage
from weavemesh.kernel.podmessage import IPAddress, IPNetwork, Link, Message

REPLY_TIMEOUT_S = 10.0
"""The kernel answers before `send` returns; waiting longer means a broken socket, and nothing may hang."""
_RECEIVE_BYTES = 1 << 17
"""More than the 32 KiB in which the kernel sends dumps."""
_DUMP_ATTEMPTS = 5
"""A dump that changed under the reader (NLM_F_DUMP_INTR) is read again, then taken as it is."""


_TIMEVAL = struct.Struct("@ll")
_NLMSG_ERROR, _NLMSG_DONE = podmessage.ERROR, 3
_ACK, _DUMP_INTERRUPTED = podmessage.ACKNOWLEDGE, 0x10
_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11


class NetlinkError(OSError):
    """The kernel refused a message: `errno`, `strerror` (its own sentence if it gave one), and `what` was tried."""

    def __init__(self, code: int, sentence: str, what: str) -> None:
        super().__init__(code, sentence or os.strerror(code))
        self.what = what

    def __str__(self) -> str:
        return f"{self.what}: {self.strerror}"


class RouteSocket:
    """Belongs to the network namespace of the thread that made it; usable from any thread, by one at a time."""

    def __init__(self) -> None:
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
        # Not settimeout, which asks the kernel before each call whether there is anything to do.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL.pack(int(REPLY_TIMEOUT_S), 0))
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the socket; nothing if it is closed."""
        self._socket.close()

    def perform(self, *messages: Message) -> None:
        """Has the kernel do all in order, in one system call; after a failure it still tries the later ones.

        NetlinkError: the first that failed. TimeoutError: the kernel did not answer.
        """
        for failure in self.attempt(*messages):
            if failure:
                raise failure

    def attempt(self, *messages: Message) -> tuple[NetlinkError | None, ...]:
        """As `perform`, but for each message how it failed, or None. TimeoutError: the kernel did not answer."""
        return self._exchange(messages)[0]

    def attempt_and_look(self, *messages: Message, name: str) -> tuple[tuple[NetlinkError | None, ...], Link | None]:
        """As `attempt`, and after that the device of that name, all in one system call."""
        failures, answers = self._exchange((*messages, podmessage.get_link(name)))
        return failures[:-1], podmessage.decode_link(answers[-1]) if answers else None

    def _exchange(self, messages: Sequence[Message]) -> tuple[tuple[NetlinkError | None, ...], list[bytes]]:
        """How each message failed, and what the kernel told besides."""
        first, last = self._sequence + 1, self._sequence + len(messages)
        self._sequence = last
        # The kernel tells failures unasked and in order: the last one's acknowledgement stands for all.
        packed = [podmessage.pack(m, first + i, flags=_ACK if first + i == last else 0) for i, m in enumerate(messages)]
        self._socket.send(b"".join(packed))
        failures: list[NetlinkError | None] = [None] * len(messages)
        answers: list[bytes] = []
        sequence = 0
        while sequence != last:
            for kind, _, number, body in self._receive():
                if not first <= number <= last:
                    continue
                if kind == _NLMSG_ERROR:
                    sequence = number
                    failures[number - first] = failure_of(messages[number - first], body)
                else:
                    answers.append(body)
        return tuple(failures), answers

    def link(self, name: str) -> Link | None:
        """The device of that name, or None. Asking makes the kernel finish a carrier change of it (rtnl_getlink)."""
        try:
            (answer,) = self._ask(podmessage.get_link(name))
        except NetlinkError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
        return podmessage.decode_link(answer)

    def links(self) -> tuple[Link, ...]:
        """All devices of the namespace."""
        return tuple(podmessage.decode_link(body) for body in self._dump(podmessage.LIST_LINKS))

    def addresses(self, index: int) -> frozenset[IPAddress]:
        """The addresses of a device."""
        found = [podmessage.decode_address(body) for body in self._dump(podmessage.LIST_ADDRESSES)]
        return frozenset(pair[1] for pair in found if pair and pair[0] == index)

    def gateway_routes(self, index: int) -> frozenset[tuple[IPAddress, IPNetwork]]:
        """Gateway and network of the main table's routes by a gateway through a device."""
        found = [podmessage.decode_gateway_route(body) for body in self._dump(podmessage.LIST_ROUTES)]
        return frozenset(route[1:] for route in found if route and route[0] == index)

    def device_towards(self, destination: IPAddress) -> int | None:
        """The index of the device by which the namespace would reach an address now; None if it would not."""
        try:
            answers = self._ask(podmessage.get_route(destination))
        except NetlinkError:
            return None
        return podmessage.decode_route_device(answers[0])

    def _ask(self, message: Message) -> list[bytes]:
        self._sequence += 1
        self._socket.send(podmessage.pack(message, self._sequence, flags=_ACK))
        answers: list[bytes] = []
        while True:
            for kind, _, sequence, body in self._receive():
                if sequence != self._sequence:
                    continue
                if kind != _NLMSG_ERROR:
                    answers.append(body)
                elif failure := failure_of(message, body):
                    raise failure
                else:
                    return answers

    def _dump(self, message: Message) -> list[bytes]:
        for _ in range(_DUMP_ATTEMPTS):
            answers, interrupted = self._dump_once(message)
            if not interrupted:
                break
        return answers

    def _dump_once(self, message: Message) -> tuple[list[bytes], bool]:
        self._sequence += 1
        self._socket.send(podmessage.pack(message, self._sequence, flags=0))
        answers: list[bytes] = []
        interrupted = False
        while True:
            for kind, flags, sequence, body in self._receive():
                if sequence != self._sequence:
                    continue
                interrupted = interrupted or bool(flags & _DUMP_INTERRUPTED)
                if kind == _NLMSG_DONE:
                    return answers, interrupted
                if kind == _NLMSG_ERROR and (failure := failure_of(message, body)):
                    raise failure
                answers.append(body)

    def _receive(self) -> Iterator[tuple[int, int, int, bytes]]:
        """The messages of one datagram: type, flags, sequence, body."""
        try:
            return podmessage.unpack(self._socket.recv(_RECEIVE_BYTES))
        except BlockingIOError:
            raise TimeoutError("the kernel does not answer") from None


def failure_of(message: Message, body: bytes) -> NetlinkError | None:
    """How a message went, by the body of the reply that tells it."""
    code, sentence = podmessage.decode_failure(body)
    return NetlinkError(code, sentence, message.what) if code else None
