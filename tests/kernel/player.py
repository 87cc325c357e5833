"""Stands in for the CNI executable in what an agent has it play: stops where it is told to, as if it were killed."""

import os
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Self

from tests.kernel.cni_lab import Pod, config
from weavemesh.cni.frame import ANSWER_HEADER
from weavemesh.kernel import podmessage
from weavemesh.kernel.netns import call_in
from weavemesh.kernel.podlink import RouteSocket
from weavemesh.kernel.podplan import Batch

REQUEST_TIMEOUT_S = 10


def play(batches: Sequence[Batch], *, outside: RouteSocket, inside: RouteSocket) -> bytes:
    """The kernel's replies; they end with the first batch of which anything failed."""
    replies = b""
    for batch in batches:
        route = (inside if batch.is_inside else outside)._socket  # bytes that are packed already
        route.send(batch.packed)
        failed = False
        number = 0
        while number != batch.last:
            chunk = route.recv(1 << 16)
            replies += chunk
            for kind, _, sequence, body in podmessage.unpack(chunk):
                if kind == podmessage.ERROR:
                    number, failed = sequence, failed or podmessage.decode_failure(body)[0] != 0
        if failed:
            break
    return replies


class FakeExecutable:
    """A connection to an agent with an ADD for a pod, up to the end of the plan."""

    def __init__(self, pod: Pod) -> None:
        self._stack = ExitStack()
        self._pod = pod
        self.batches: list[Batch] = []

    def __enter__(self) -> Self:
        host_fd, pod_fd = (
            os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in (f"/run/netns/{self._pod.host.name}", self._pod.netns)
        )
        self._stack.callback(os.close, host_fd)
        self._stack.callback(os.close, pod_fd)
        self._outside = self._stack.enter_context(call_in(host_fd, RouteSocket))
        self._inside = self._stack.enter_context(call_in(pod_fd, RouteSocket))
        self.connection = self._stack.enter_context(socket.socket(socket.AF_UNIX))
        self.connection.settimeout(REQUEST_TIMEOUT_S)
        self.connection.connect(str(self._pod.host.socket))
        variables = {"CNI_COMMAND": "ADD", **self._pod.variables(), "WEAVEMESH_PLAYS_PARTS": str(pod_fd)}
        block = b"".join(f"{name}={value}".encode() + b"\0" for name, value in variables.items())
        stdin = config().encode()
        frame = b"WMC1" + b"".join(number.to_bytes(4, "big") for number in (3, len(block), len(stdin))) + block + stdin
        socket.send_fds(self.connection, [frame], [host_fd, pod_fd])
        self._read_plan()
        return self

    def __exit__(self, *_: object) -> None:
        """As the kernel does for a process that is killed."""
        self._stack.close()

    def play(self, count: int) -> bytes:
        """The first so many batches."""
        return play(self.batches[:count], outside=self._outside, inside=self._inside)

    def _read_plan(self) -> None:
        while True:
            magic, _, size = ANSWER_HEADER.unpack(self._read(ANSWER_HEADER.size))
            body = self._read(size)
            if magic == b"WME2":
                return
            assert magic == b"WMP2"
            self._read_batches(body)

    def _read_batches(self, body: bytes) -> None:
        while body:
            is_inside, last, length = (int.from_bytes(body[at : at + 4], "big") for at in (0, 4, 8))
            self.batches.append(Batch(bool(is_inside), last, body[12 : 12 + length]))
            body = body[12 + length :]

    def _read(self, size: int) -> bytes:
        chunks = b""
        while len(chunks) < size:
            chunks += self.connection.recv(size - len(chunks))
        return chunks
