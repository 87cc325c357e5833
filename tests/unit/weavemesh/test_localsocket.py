"""A local socket is private, replaces a dead one, never a live one, and goes with its owner only."""

import asyncio
import socket
import stat
from pathlib import Path

import pytest

from weavemesh.error import UserError
from weavemesh.localsocket import SOCKET_PATH_BYTES_MAX, LocalSocket


def test_only_its_owner_may_use_it(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    listening = LocalSocket.open(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    listening.close()
    listening.close()
    assert not path.exists()


def test_callers_are_accepted_in_turn(tmp_path: Path) -> None:
    async def scenario() -> None:
        listening = LocalSocket.open(tmp_path / "a.sock")
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "a.sock"))
        connection = await listening.accept()
        with connection:
            connection.send(b"hello")
        assert await reader.read() == b"hello"
        writer.close()
        await writer.wait_closed()
        listening.close()

    asyncio.run(scenario())


def test_a_dead_agents_socket_is_replaced_and_a_live_ones_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    live = LocalSocket.open(path)
    with pytest.raises(UserError, match="another weavemesh agent"):
        LocalSocket.open(path)
    live.close()


def test_a_successors_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    first = LocalSocket.open(path)
    path.unlink()
    second = LocalSocket.open(path)
    first.close()
    assert path.exists()
    second.close()


def test_a_path_that_is_too_long_or_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="too long"):
        LocalSocket.open(tmp_path / ("x" * SOCKET_PATH_BYTES_MAX))
    with pytest.raises(UserError, match="cannot listen"):
        LocalSocket.open(tmp_path / "nowhere" / "a.sock")
