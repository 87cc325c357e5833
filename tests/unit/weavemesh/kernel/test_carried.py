"""What the loopback interface has carried grows with what is sent over it."""

import socket

from weavemesh.kernel.carried import octets_carried


def test_what_was_sent_has_been_carried() -> None:
    before = octets_carried("lo")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        one.sendto(bytes(1000), one.getsockname())
        assert len(one.recv(2000)) == 1000
    assert octets_carried("lo") >= before + 1000


def test_what_is_not_there_has_carried_nothing() -> None:
    assert octets_carried("wmnone") == 0
