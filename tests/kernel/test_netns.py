"""A call inside another network namespace, and none of it left behind."""

import os
import secrets
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from weavemesh.kernel.netns import call_in

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]


@pytest.fixture
def netns_fd() -> Iterator[int]:
    name = f"wmk{secrets.token_hex(3)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    descriptor = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
        subprocess.run(["ip", "netns", "del", name], check=True)


def current() -> int:
    return Path("/proc/thread-self/ns/net").stat().st_ino


def test_the_call_is_inside_and_the_caller_stays_outside(netns_fd: int) -> None:
    before, threads = current(), threading.active_count()
    assert call_in(netns_fd, current) == os.fstat(netns_fd).st_ino != before
    assert [
        name for _, name in call_in(netns_fd, socket.if_nameindex) if "sit" not in name and "dummy" not in name
    ] == ["lo"]
    assert current() == before
    assert threading.active_count() == threads


def test_what_is_raised_inside_is_raised_outside(netns_fd: int) -> None:
    before = current()
    with pytest.raises(ZeroDivisionError):
        call_in(netns_fd, lambda: 1 // 0)
    assert current() == before


def test_what_is_no_network_namespace_is_refused(tmp_path: Path) -> None:
    called: list[None] = []
    with (tmp_path / "file").open("w") as file, pytest.raises(OSError, match="Invalid argument"):
        call_in(file.fileno(), lambda: called.append(None))
    assert called == []
