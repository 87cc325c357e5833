"""wireguard-go outlives the agent, is found again, is started anew when killed, and never mixed up with another's."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.kernel.tunnel_lab import Host, Pings, Wire, missing
from weavemesh.error import UserError
from weavemesh.kernel.applier import Kernel
from weavemesh.kernel.removal import remove_everything
from weavemesh.kernel.userspace import SOCKET_FOLDER, Userspace

pytestmark = pytest.mark.root

lacks = cache(missing)


@pytest.fixture
def pair() -> Iterator[tuple[Host, ...]]:
    if reason := lacks("userspace"):
        pytest.skip(reason)
    with Wire(2, "userspace") as wire:
        yield wire.hosts


def processes(host: Host) -> list[int]:
    """The wireguard-go that serve the host's interface and have not ended."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and (folder / "cmdline").read_bytes().split(b"\0")[1:2] == [
                host.interface.encode()
            ]:
                found.append(int(folder.name))
        except OSError:
            continue  # it ended meanwhile
    return found


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def socket_path(host: Host) -> Path:
    return SOCKET_FOLDER / f"{host.interface}.sock"


def test_it_lives_in_a_session_of_its_own_without_secrets_or_pipes(pair: tuple[Host, ...]) -> None:
    one, two = pair
    os.environ["WEAVEMESH_SECRET"] = "not for others"
    try:
        one.join(two)
    finally:
        del os.environ["WEAVEMESH_SECRET"]
    (pid,) = processes(one)
    assert os.getsid(pid) != os.getsid(0)
    assert b"WEAVEMESH_SECRET" not in Path(f"/proc/{pid}/environ").read_bytes()
    assert one.private_key.text().encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert {os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)} == {"/dev/null"}


def test_it_outlives_a_killed_agent_and_the_next_drives_it_on(pair: tuple[Host, ...]) -> None:
    one, two = pair
    two.join(one)
    program = (
        "import asyncio, signal, os, sys\n"
        "from weavemesh.kernel.userspace import Userspace\n"
        "async def main():\n"
        "    await Userspace(sys.argv[1]).create()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    agent = one.run(sys.executable, "-c", program, one.interface, check=False)
    assert agent.returncode == -signal.SIGKILL or agent.returncode == 128 + signal.SIGKILL
    before = processes(one)
    assert len(before) == 1
    one.join(two)
    assert processes(one) == before
    assert one.pings("10.34.0.1")


def test_killed_it_is_started_anew_by_the_next_apply(pair: tuple[Host, ...]) -> None:
    one, two = pair
    desired = one.join(two)
    two.join(one)
    assert one.pings("10.34.0.1")
    (pid,) = processes(one)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: one.run("ip", "link", "show", one.interface, check=False).returncode != 0)
    assert socket_path(one).is_socket()  # stale: nobody removed it
    report = one.apply(desired)
    assert not report.failures
    assert processes(one) != [pid]
    assert one.pings("10.34.0.1")


def test_a_device_whose_socket_is_lost_is_made_anew(pair: tuple[Host, ...]) -> None:
    one, two = pair
    desired = one.join(two)
    two.join(one)
    socket_path(one).unlink()
    assert not one.apply(desired).failures
    wait_until(lambda: len(processes(one)) == 1)
    assert one.pings("10.34.0.1")


def test_the_socket_of_another_namespace_is_left_alone(pair: tuple[Host, ...]) -> None:
    one, two = pair
    one.join(two)
    two.interface = one.interface
    before = one.run("ip", "address", "show", one.interface).stdout
    with pytest.raises(UserError, match="in another network namespace; choose another name with --interface"):
        two.join(one)
    assert two.call(lambda: remove_everything(two.interface)) == []
    assert one.run("ip", "address", "show", one.interface).stdout == before
    two.run("ip", "tuntap", "add", two.interface, "mode", "tun")
    with pytest.raises(UserError, match="in another network namespace"):
        two.join(one)


def test_one_that_hangs_is_a_failure_and_is_not_replaced(
    pair: tuple[Host, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = pair
    desired = one.join(two)
    (pid,) = processes(one)
    monkeypatch.setattr("weavemesh.kernel.userspace._ANSWER_TIMEOUT_S", 0.2)
    os.kill(pid, signal.SIGSTOP)
    try:
        report = one.apply(desired)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert report.actions == ()
    assert report.failures == (
        f"reading the tunnel device {one.interface} failed: wireguard-go does not answer on {socket_path(one)}",
    )
    assert processes(one) == [pid]


def test_where_it_cannot_start_the_reason_is_its_own(pair: tuple[Host, ...], tmp_path: Path) -> None:
    one, two = pair
    program = tmp_path / "wireguard-go"
    program.write_text("#!/bin/sh\necho 'no tun for you' >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        report = one.apply(one.wish({two: "10.34.0.0/24"}))
    assert report.failures == (
        f"making the tunnel device {one.interface} failed: wireguard-go did not start: no tun for you",
    )


def test_without_it_and_without_the_kernels_the_remedy_is_named(pair: tuple[Host, ...], tmp_path: Path) -> None:
    one, _ = pair
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        with pytest.raises(UserError, match=r"wireguard-go is not in PATH; .* install wireguard-go"):
            one.call(lambda: _open(one))


async def _open(one: Host) -> None:
    kernel = await Kernel.open(interface=one.interface, datapath="userspace")
    await kernel.close()


def test_nothing_left_is_nothing_to_wait_for(pair: tuple[Host, ...]) -> None:
    one, _ = pair

    async def wait() -> bool:
        return await Userspace(one.interface).wait_until_gone()

    assert one.call(wait) is False


def test_a_restart_of_everything_but_the_data_path_loses_no_packet(pair: tuple[Host, ...]) -> None:
    one, two = pair
    one.join(two)
    two.join(one)
    assert one.pings("10.34.0.1")
    before = processes(one)
    with Pings(one, "10.34.0.1") as pings:
        while pings.running:
            one.join(two)
        assert pings.lost() == 0
    assert processes(one) == before
