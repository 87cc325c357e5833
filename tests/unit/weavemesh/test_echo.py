"""Questions of the command line: an answer is timed, a wrong one is none, sizes are found by halving."""

import socket
import threading

import pytest

from weavemesh.echo import Echo, largest
from weavemesh.probing import HEADERS_OCTETS, encode_question


def answering(change: bytes | None, *, octets_max: int = 65535) -> tuple[socket.socket, threading.Thread]:
    """A peer that answers one question, with other bytes at the end if `change` is given."""
    peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer.bind(("127.0.0.1", 0))
    peer.settimeout(2)

    def answer() -> None:
        content, source = peer.recvfrom(70000)
        if len(content) + HEADERS_OCTETS <= octets_max:
            reply = bytearray(content[:13])
            reply[4] = 1
            peer.sendto(bytes(reply) if change is None else bytes(reply[:-1]) + change, source)

    thread = threading.Thread(target=answer)
    thread.start()
    return peer, thread


def test_an_answer_is_timed() -> None:
    peer, thread = answering(None)
    with peer, Echo("127.0.0.1", port=peer.getsockname()[1]) as echo:
        elapsed = echo.ask(500, timeout_s=2)
        thread.join()
        assert elapsed is not None and 0 < elapsed < 2


def test_an_answer_to_another_question_is_none() -> None:
    peer, thread = answering(b"x")
    with peer, Echo("127.0.0.1", port=peer.getsockname()[1]) as echo:
        assert echo.ask(64, timeout_s=0.1) is None
        thread.join()


def test_nobody_there_is_no_answer() -> None:
    with Echo("127.0.0.1", port=1) as echo:
        assert echo.ask(64, timeout_s=0.1) is None


def test_a_question_has_the_size_that_was_asked_for() -> None:
    assert len(encode_question(7, packet_octets=1420)) == 1420 - HEADERS_OCTETS
    assert len(encode_question(7)) == 17


@pytest.mark.parametrize("size", [1280, 1281, 1350, 1419, 1420])
def test_the_largest_is_found(size: int) -> None:
    asked: list[int] = []

    def passes(octets: int) -> bool:
        asked.append(octets)
        return octets <= size

    assert largest(passes, at_most=1420) == size
    assert len(asked) <= 10


@pytest.mark.parametrize("size", [512, 1232, 1279])
def test_the_largest_is_found_also_where_it_is_too_small_for_ipv6(size: int) -> None:
    assert largest(lambda octets: octets <= size, at_most=8921) == size


def test_where_not_even_the_smallest_passes_there_is_none() -> None:
    assert largest(lambda _: False, at_most=1420) is None
