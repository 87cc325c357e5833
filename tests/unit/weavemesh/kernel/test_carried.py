"""What an interface has carried grows with what is sent over it, and a new one is told from an old one."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing

import pytest

from weavemesh.kernel.carried import CarriedOctets


@pytest.fixture
def lo() -> Iterator[CarriedOctets]:
    with closing(CarriedOctets("lo")) as carried:
        yield carried


def send_octets(count: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        one.sendto(bytes(count), one.getsockname())
        assert len(one.recv(2 * count)) == count


def test_what_was_sent_has_been_carried(lo: CarriedOctets) -> None:
    before = lo.read()
    send_octets(1000)
    middle = lo.read()
    assert middle >= before + 1000
    send_octets(1000)
    assert lo.read() >= middle + 1000


def test_who_let_go_reads_again(lo: CarriedOctets) -> None:
    before = lo.read()
    lo.close()
    lo.close()
    assert lo.read() >= before


def test_what_is_not_there_has_carried_nothing_and_leaves_nothing_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    carried = CarriedOctets("wmnone")
    assert carried.read() == carried.read() == 0
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="making interfaces needs root")
def test_an_interface_that_is_made_again_counts_from_nothing() -> None:
    def ip(*words: str) -> None:
        subprocess.run(("ip", *words), check=True)

    with closing(CarriedOctets("wmcarry0")) as carried:
        assert carried.read() == 0
        try:
            for _ in range(2):
                ip("link", "add", "wmcarry0", "type", "veth", "peer", "name", "wmcarry1")
                ip("link", "set", "wmcarry1", "up")
                ip("link", "set", "wmcarry0", "up")
                ip("link", "set", "wmcarry1", "down")
                assert carried.read() < 10_000
                ip("link", "del", "wmcarry0")
                assert carried.read() == 0
        finally:
            subprocess.run(("ip", "link", "del", "wmcarry0"), check=False, stderr=subprocess.DEVNULL)
