"""Work inside another network namespace without moving the agent there.

A thread that exists for the one call enters the namespace and ends. pyroute2's own `netns=` is not used: it
forks the whole process, and creates namespaces whose name was misspelt (0.9.7).
"""

import ctypes
import os
import threading
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

_CLONE_NEWNET: Final = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def call_in(netns_fd: int, function: Callable[[], T]) -> T:
    """The result of `function`, called inside the namespace; what it raises is raised here.

    Blocks for the time of the call (about 0.06 ms besides `function`). Raises OSError if `netns_fd` is not a
    network namespace or may not be entered.
    """
    outcome: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            _enter(netns_fd)
            outcome.append(function())
        except BaseException as error:  # noqa: BLE001  # carried over to the caller, who gets it unchanged
            failure.append(error)

    thread = threading.Thread(target=run, name="netns")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def visit(netns_fd: int, function: Callable[[], T]) -> T:
    """As `call_in`, in the calling thread, which must be one that does nothing else meanwhile; ten times as fast."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(netns_fd)
        try:
            return function()
        finally:
            try:
                _enter(home)
            except OSError:  # what this thread did next would be done to a pod
                os.abort()
    finally:
        os.close(home)


def _enter(netns_fd: int) -> None:
    if hasattr(os, "setns"):  # Python 3.12
        os.setns(netns_fd, _CLONE_NEWNET)
        return
    if _libc.setns(netns_fd, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
