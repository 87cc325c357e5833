import asyncio
import json
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.unit.weavemesh.cni.fake_doors import Doors, FakeAddresses, config, encode_call, environment, netns
from weavemesh.cni.frame import ANSWER_HEADER
from weavemesh.cni.server import CALLS_MAX, CniServer
from weavemesh.cni.tombstone import SUFFIX
from weavemesh.error import UserError


@asynccontextmanager
async def serving(folder: Path, doors: Doors) -> AsyncIterator[Path]:
    """A server while it serves."""
    path = folder / "cni.sock"
    server = CniServer.open(path, tombstones=folder / "tombstones")
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(server.serve(doors.plugin()))
            yield path
            task.cancel()
    finally:
        server.close()


async def connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, str(path))
    return connection


async def ask(path: Path, command: str, *, stdin: bytes | None = None, **changes: str) -> tuple[int, bytes]:
    """One call with a namespace, as the executable makes it."""
    with await connect(path) as connection:
        await send_call(connection, command, stdin=stdin, **changes)
        return await receive_answer(connection)


async def send_call(connection: socket.socket, command: str, *, stdin: bytes | None = None, **changes: str) -> None:
    frame = encode_call(environment(command, **changes), config() if stdin is None else stdin, flags=2)
    with netns() as fd:
        sent = socket.send_fds(connection, [frame], [fd])
    await asyncio.get_running_loop().sock_sendall(connection, frame[sent:])


async def receive_answer(connection: socket.socket) -> tuple[int, bytes]:
    answer = b""
    while chunk := await asyncio.get_running_loop().sock_recv(connection, 65536):
        answer += chunk
    magic, status, size = ANSWER_HEADER.unpack_from(answer)
    assert (magic, size) == (b"WMA1", len(answer) - ANSWER_HEADER.size)
    return status, answer[ANSWER_HEADER.size :]


async def until(condition: asyncio.Event) -> None:
    async with asyncio.timeout(5):
        await condition.wait()


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_calls_are_answered_and_descriptors_closed(tmp_path: Path) -> None:
    async def main() -> None:
        doors = Doors()
        async with serving(tmp_path, doors) as path:
            await ask(path, "DEL")
            before = open_descriptors()
            for _ in range(5):
                status, body = await ask(path, "ADD")
                assert status == 0, body
                assert json.loads(body)["ips"]
                assert await ask(path, "DEL") == (0, b"")
            assert open_descriptors() == before
        assert doors.is_empty()

    asyncio.run(main())


def test_a_long_configuration_arrives_whole(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Doors()) as path:
            status, _ = await ask(path, "ADD", stdin=config(padding="x" * 900_000))
            assert status == 0

    asyncio.run(main())


@pytest.mark.parametrize(
    "garbage",
    [b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"WMC1" + b"\xff" * 12, encode_call({}, b"", flags=2), b"WMC1\0\0"],
)
def test_garbage_ends_its_own_connection_only(tmp_path: Path, garbage: bytes) -> None:
    async def main() -> None:
        async with serving(tmp_path, Doors()) as path:
            with await connect(path) as connection:
                await asyncio.get_running_loop().sock_sendall(connection, garbage)
                connection.shutdown(socket.SHUT_WR)
                async with asyncio.timeout(5):
                    assert await asyncio.get_running_loop().sock_recv(connection, 10) == b""
            assert (await ask(path, "ADD"))[0] == 0

    asyncio.run(main())


def test_too_many_descriptors_are_refused_and_closed(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Doors()) as path:
            await ask(path, "DEL")
            before = open_descriptors()
            with await connect(path) as connection, netns() as fd:
                frame = encode_call(environment("ADD"), config(), flags=3)
                socket.send_fds(connection, [frame], [fd] * 50)
                async with asyncio.timeout(5):
                    with suppress(ConnectionResetError):
                        assert await asyncio.get_running_loop().sock_recv(connection, 10) == b""
            assert open_descriptors() == before

    asyncio.run(main())


def test_an_add_whose_caller_hangs_up_is_undone(tmp_path: Path) -> None:
    async def main() -> None:
        doors = Doors(addresses=FakeAddresses(gate=asyncio.Event()))
        async with serving(tmp_path, doors) as path:
            with await connect(path) as connection:
                await send_call(connection, "ADD")
                await until(doors.addresses.reached)
            # Takes its turn after the ADD: when it is answered, the ADD has ended.
            assert await ask(path, "DEL") == (0, b"")
            assert doors.addresses.gate is not None
            doors.addresses.gate.set()
            assert doors.is_empty()
            assert (await ask(path, "ADD"))[0] == 0

    asyncio.run(main())


def test_an_add_whose_caller_hangs_up_while_it_is_wired_is_undone(tmp_path: Path) -> None:
    async def main() -> None:
        doors = Doors()
        async with serving(tmp_path, doors) as path:
            connection = await connect(path)
            doors.wiring.before_attach = connection.close
            await send_call(connection, "ADD")
            await until(doors.addresses.reached)
            assert await ask(path, "DEL") == (0, b"")
            assert doors.is_empty()

    asyncio.run(main())


def test_more_calls_than_there_are_slots_wait_for_their_turn(tmp_path: Path) -> None:
    async def main() -> None:
        doors = Doors(addresses=FakeAddresses(gate=asyncio.Event(), capacity=1000))
        async with serving(tmp_path, doors) as path:
            async with asyncio.TaskGroup() as group:
                calls = [
                    group.create_task(ask(path, "ADD", CNI_CONTAINERID=f"c{number}")) for number in range(3 * CALLS_MAX)
                ]
                await until(doors.addresses.reached)
                assert doors.addresses.gate is not None
                doors.addresses.gate.set()
            assert {one.result()[0] for one in calls} == {0}
            assert len(doors.wiring.wired) == 3 * CALLS_MAX

    asyncio.run(main())


async def play(path: Path, *, failure: int) -> bytes:
    """An ADD of an executable that plays its plan, until the agent says no more: all that it heard."""
    frame = encode_call(environment("ADD", WEAVEMESH_PLAYS_PARTS="5"), config(), flags=3)
    with await connect(path) as connection, netns() as fd:
        own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        socket.send_fds(connection, [frame], [own, fd])
        os.close(own)
        heard = b""
        while b"WME2" not in heard:
            chunk = await asyncio.get_running_loop().sock_recv(connection, 65536)
            assert chunk, heard
            heard += chunk
        connection.send(ANSWER_HEADER.pack(b"WMO2", failure, 0))
        while failure and (chunk := await asyncio.get_running_loop().sock_recv(connection, 65536)):
            heard += chunk
    return heard


def test_an_executable_that_plays_has_its_answer_with_the_end_of_the_plan(tmp_path: Path) -> None:
    async def main() -> None:
        doors = Doors()
        async with serving(tmp_path, doors) as path:
            heard = await play(path, failure=0)
            assert heard.count(b"WMP2") == 2 and b"WMA1" not in heard
            assert json.loads(heard[heard.index(b"WME2") + ANSWER_HEADER.size :])["ips"]
            assert await ask(path, "DEL", CNI_CONTAINERID="other") == (0, b"")
            assert list(doors.wiring.wired), "that it hung up with its answer undoes nothing"
            assert await ask(path, "DEL") == (0, b"")
            assert (await play(path, failure=17)).count(b"WMA1") == 1, "it is told apart from a plan that failed"
            assert [one.failure for one in doors.wiring.outcomes] == [0, 17]

    asyncio.run(main())


def test_a_bug_in_one_call_does_not_end_the_agent(tmp_path: Path) -> None:
    def bug() -> None:
        raise ZeroDivisionError

    async def main() -> None:
        doors = Doors()
        async with serving(tmp_path, doors) as path:
            doors.wiring.before_attach = bug
            status, body = await ask(path, "ADD")
            assert (status, json.loads(body)["code"]) == (1, 999)
            assert doors.is_empty()
            doors.wiring.before_attach = None
            assert (await ask(path, "ADD"))[0] == 0

    asyncio.run(main())


def test_what_was_left_is_done_before_the_first_call_and_before_each_add(tmp_path: Path) -> None:
    async def main() -> None:
        doors = Doors()
        left = tmp_path / "tombstones" / f"a{SUFFIX}"
        left.parent.mkdir()
        left.write_bytes(encode_call(environment("DEL"), config()))
        async with serving(tmp_path, doors) as path:
            assert (await ask(path, "ADD"))[0] == 0
            assert not left.exists()
            left.write_bytes(encode_call(environment("DEL"), config()))
            assert (await ask(path, "ADD"))[0] == 0, "the attachment of before must be gone"

    asyncio.run(main())


def test_a_live_agents_socket_is_not_taken_and_a_dead_ones_is(tmp_path: Path) -> None:
    path = tmp_path / "cni.sock"
    first = CniServer.open(path, tombstones=tmp_path)
    with pytest.raises(UserError, match="another weavemesh agent"):
        CniServer.open(path, tombstones=tmp_path)
    first.close()
    assert not path.exists()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    second = CniServer.open(path, tombstones=tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first.close()
    assert path.exists(), "another one's socket stays"
    second.close()
    second.close()


def test_a_path_that_is_too_long_and_a_folder_that_is_missing_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="too long"):
        CniServer.open(tmp_path / ("x" * 200), tombstones=tmp_path)
    with pytest.raises(UserError, match="cannot listen"):
        CniServer.open(tmp_path / "missing" / "cni.sock", tombstones=tmp_path)
