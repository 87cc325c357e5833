"""Passes connections of the API server on to a kubelet that it has no route to, as konnectivity does in real clusters.

A thread accepts on the API server's machine and connects on the node: a socket belongs to the network namespace in
which it was made, whoever uses it later. No interface, address or route of the node has to do with it.
"""

import contextlib
import os
import socket
import threading
from collections.abc import Callable

from pyroute2 import netns

KUBELET_PORT = 10250
_CHUNK_BYTES = 65536


class KubeletTunnel:
    """Listens until it is closed."""

    def __init__(self, listen_pid: int, listen_address: str, node_pid: int) -> None:
        """Process ids tell the machines."""
        self._node = os.open(f"/proc/{node_pid}/ns/net", os.O_RDONLY)
        self._listener = socket_in(
            f"/proc/{listen_pid}/ns/net", lambda: socket.create_server((listen_address, KUBELET_PORT))
        )
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def close(self) -> None:
        """Stop listening; connections that are open end with their ends."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()
        os.close(self._node)

    def _accept(self) -> None:
        while True:
            try:
                ours, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(ours,), daemon=True).start()

    def _pass_on(self, ours: socket.socket) -> None:
        try:
            theirs = socket_in(
                f"/proc/self/fd/{self._node}", lambda: socket.create_connection(("127.0.0.1", KUBELET_PORT), 5)
            )
        except OSError:
            ours.close()
            return
        theirs.settimeout(None)
        threading.Thread(target=_copy, args=(theirs, ours), daemon=True).start()
        _copy(ours, theirs)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    """Until the source ends; the end is passed on."""
    with contextlib.suppress(OSError):
        while chunk := source.recv(_CHUNK_BYTES):
            sink.sendall(chunk)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def socket_in(namespace: str, make: Callable[[], socket.socket]) -> socket.socket:
    """A socket that a thread makes inside a network namespace, in which it ends."""
    made: list[socket.socket] = []
    failed: list[OSError] = []

    def work() -> None:
        descriptor = os.open(namespace, os.O_RDONLY)
        try:
            netns.setns(descriptor)
            made.append(make())
        except OSError as error:
            failed.append(error)
        finally:
            os.close(descriptor)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]
