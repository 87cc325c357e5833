"""wireguard-go as a process that lives, dies and is not ours alone."""

import asyncio
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from weavemesh.error import UserError
from weavemesh.kernel.applier import Kernel
from weavemesh.kernel.device import DeviceError
from weavemesh.kernel.netns import call_in
from weavemesh.kernel.userspace import PROGRAM, Userspace
from weavemesh.overlay.diff import CreateDevice
from weavemesh.overlay.state import DesiredState, PrivateKey

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(shutil.which(PROGRAM) is None, reason="wireguard-go is not installed"),
]

T = TypeVar("T")

KEY = PrivateKey(b"\x08" * 31 + b"\x48")
INTERFACE = f"wmk{secrets.token_hex(3)}"
SOCKET = Path(f"/var/run/wireguard/{INTERFACE}.sock")
DESIRED = DesiredState(
    interface=INTERFACE, mtu=1380, private_key=KEY, listen_port=6783, addresses=(), peers=(), routes=()
)


class Place:
    """A network namespace in which the device may be."""

    def __init__(self) -> None:
        self.name = f"wmk{secrets.token_hex(3)}"

    def within(self, story: Callable[[], Awaitable[T]]) -> T:
        async def tell() -> T:
            return await story()

        descriptor = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            return call_in(descriptor, lambda: asyncio.run(tell()))
        finally:
            os.close(descriptor)

    def apply(self) -> tuple[object, ...]:
        async def live() -> tuple[object, ...]:
            kernel = await Kernel.open(interface=INTERFACE, datapath="userspace")
            try:
                report = await kernel.apply(DESIRED)
            finally:
                await kernel.close()
            assert report.failures == ()
            return report.actions

        return self.within(live)


@pytest.fixture
def places() -> Iterator[tuple[Place, Place]]:
    made: list[Place] = []
    try:
        for _ in range(2):
            place = Place()
            subprocess.run(["ip", "netns", "add", place.name], check=True)
            made.append(place)
        yield made[0], made[1]
    finally:
        for place in made:
            # A living wireguard-go would hold the namespace: it ends with its interface.
            subprocess.run(["ip", "-n", place.name, "link", "del", INTERFACE], check=False, capture_output=True)
            subprocess.run(["ip", "netns", "del", place.name], check=True)
        wait_for(lambda: not is_answered())
        SOCKET.unlink(missing_ok=True)


def process() -> int | None:
    """The process id of the one wireguard-go of our interface."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if len(words) > 1 and words[0].endswith(PROGRAM.encode()) and words[1] == INTERFACE.encode():
            return int(folder.name)
    return None


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.01)


def kill() -> int:
    """Kill the wireguard-go of our interface, and return when it is gone; its socket file stays."""
    victim = process()
    assert victim is not None
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: not is_answered())  # its threads end one by one: the last of them closes the socket
    return victim


def is_answered() -> bool:
    """True if somebody accepts connections to the control socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(SOCKET))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        return True


def test_a_killed_process_is_brought_back_by_the_next_apply(places: tuple[Place, Place]) -> None:
    here, _ = places
    assert CreateDevice(INTERFACE) in here.apply()
    assert here.apply() == ()
    victim = kill()
    assert SOCKET.exists()
    assert CreateDevice(INTERFACE) in here.apply()
    assert process() not in (None, victim)
    assert here.apply() == ()


def test_the_process_knows_nothing_of_us_and_outlives_us(places: tuple[Place, Place]) -> None:
    here, _ = places
    os.environ["WMK_CANARY"] = "seen"
    try:
        here.apply()
    finally:
        del os.environ["WMK_CANARY"]
    server = process()
    assert server is not None
    assert b"WMK_CANARY" not in Path(f"/proc/{server}/environ").read_bytes()
    assert KEY.text().encode() not in Path(f"/proc/{server}/cmdline").read_bytes()
    assert os.getsid(server) != os.getsid(0)
    assert {os.readlink(f"/proc/{server}/fd/{number}") for number in (0, 1, 2)} == {"/dev/null"}


def test_the_device_of_another_namespace_is_left_alone(places: tuple[Place, Place]) -> None:
    here, there = places
    here.apply()
    server = process()
    with pytest.raises(UserError, match="in another network namespace"):
        there.apply()
    assert here.within(Userspace(INTERFACE).socket_owner) == "us"
    for _ in range(20):  # the question itself opens a connection, which is not to be taken for the answer
        assert there.within(Userspace(INTERFACE).socket_owner) == "other"
    with pytest.raises(DeviceError, match="in another network namespace"):
        there.within(Userspace(INTERFACE).create)
    assert process() == server
    assert here.apply() == ()


def test_without_a_process_nobody_answers(places: tuple[Place, Place]) -> None:
    device = Userspace(INTERFACE)
    assert places[0].within(device.socket_owner) == "nobody"
    with pytest.raises(DeviceError, match="wireguard-go does not answer on"):
        places[0].within(Userspace(INTERFACE).read)


def test_what_a_dead_process_left_is_tidied(places: tuple[Place, Place]) -> None:
    here, _ = places
    here.apply()
    kill()
    assert here.within(Userspace(INTERFACE).wait_until_gone) is True
    assert not SOCKET.exists()
    assert here.within(Userspace(INTERFACE).wait_until_gone) is False


def test_a_name_that_the_kernel_refuses_is_a_sentence(places: tuple[Place, Place]) -> None:
    with pytest.raises(DeviceError, match="wireguard-go did not start: "):
        places[0].within(Userspace("a-name-that-is-far-too-long").create)
