"""Pods that are made through a node's container runtime, past the kubelet and the API server."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.cri import Cri, Sandbox
from tests.kubernetes.node import Node


@contextmanager
def made_directly(node: Node, count: int) -> Iterator[list[Sandbox]]:
    """So many sandboxes with their addresses, removed afterwards.

    The kubelet rests meanwhile: it removes what the API server does not know.
    """
    made: list[Sandbox] = []
    node.services.stop("kubelet")
    try:
        with Cri(node.socket) as runtime:
            try:
                for number in range(count):
                    made.append(runtime.run_sandbox(f"direct{number}", parent=node.cgroup))  # noqa: PERF401 - one by one
                yield made
            finally:
                for sandbox in made:
                    runtime.stop_sandbox(sandbox)
                    runtime.remove_sandbox(sandbox)
    finally:
        node.services.start_again("kubelet")
