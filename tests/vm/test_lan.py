"""Guests on wires reach each other, and only those; whoever listens sees their frames."""

import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.vm.guest import Guest
from tests.vm.kernel import GuestKernel
from tests.vm.lan import Lans, wire

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]


def test_guests_on_one_wire_reach_each_other_and_no_others(kernel: GuestKernel, tmp_path: Path) -> None:
    with ExitStack() as stack:
        lans = stack.enter_context(Lans())
        guests = []
        for number, lan in ((1, 1), (2, 1), (3, 2)):
            interface = wire(0, lan=lan, host=number)
            guest = Guest(kernel, name=f"g{number}", memory_mib=128, interfaces=[interface], prefix=lans.prefix)
            guests.append(stack.enter_context(guest))
            guest.run("ip", "address", "add", f"192.0.2.{number}/24", "dev", "eth0")
            guest.run("ip", "link", "set", "eth0", "up")
        capture = lans.capture(tmp_path / "frames")
        ping = ("ping", "-n", "-c1", "-W2", "-p", b"visible!".hex())
        assert guests[0].run(*ping, "192.0.2.2", check=False).returncode == 0
        assert guests[0].run(*ping, "192.0.2.3", check=False).returncode != 0
        capture.terminate()
        capture.communicate()
        assert b"visible!" in (tmp_path / "frames").read_bytes()


def test_the_namespace_of_the_wires_ends_with_them() -> None:
    with Lans() as lans:
        inside = subprocess.run([*lans.prefix, "ip", "-br", "link"], capture_output=True, text=True, check=True).stdout
        assert inside.split()[0] == "lo" and len(inside.splitlines()) == 1
    assert subprocess.run([*lans.prefix, "true"], capture_output=True, check=False).returncode != 0
