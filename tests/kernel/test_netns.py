"""Calls inside a namespace leave the caller where it was."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.tunnel_lab import Host, Wire, root_missing
from weavemesh.kernel.netns import call_in

pytestmark = pytest.mark.root


@pytest.fixture
def host() -> Iterator[Host]:
    if reason := root_missing():
        pytest.skip(reason)
    with Wire(1, "kernel") as wire:
        yield wire.hosts[0]


def here() -> str:
    return os.readlink("/proc/thread-self/ns/net")


def test_the_call_is_inside_and_the_caller_stays_outside(host: Host) -> None:
    before = here()
    inside = call_in(host.netns_fd, here)
    assert inside == f"net:[{os.fstat(host.netns_fd).st_ino}]"
    assert here() == before != inside
    with call_in(host.netns_fd, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.bind(("192.0.2.1", 0))


def test_what_the_call_raises_is_raised(host: Host) -> None:
    with pytest.raises(ZeroDivisionError):
        call_in(host.netns_fd, lambda: 1 // 0)


def test_what_is_no_namespace_is_an_os_error() -> None:
    if reason := root_missing():
        pytest.skip(reason)
    fd = os.open("/dev/null", os.O_RDONLY)
    try:
        with pytest.raises(OSError, match="Invalid argument"):
            call_in(fd, here)
    finally:
        os.close(fd)
    assert Path("/proc/self/ns/net").exists()
