"""The real executable: what it says without an agent, and that it never hangs, with a real agent or a bad one."""

import errno
import json
import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kernel.cni_lab import Host, build_shim, config, run
from weavemesh.cni.frame import (
    ANSWER_HEADER,
    ENVIRONMENT_BYTES_MAX,
    STDIN_BYTES_MAX,
    decode_outcome,
    encode_end,
    encode_plan,
)
from weavemesh.cni.result import VERSIONS
from weavemesh.kernel import podmessage
from weavemesh.kernel.podplan import Batch

pytestmark = pytest.mark.root

KIB = 1024


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def host(tmp_path: Path, shim: Path) -> Iterator[Host]:
    with Host(tmp_path, shim) as host:
        yield host


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.005)


def start(host: Host, command: str, **variables: str) -> subprocess.Popen[str]:
    """The executable, with its stdin left open."""
    environment = {"PATH": os.environ["PATH"], **host.environment(command, variables)}
    pipe = subprocess.PIPE
    return subprocess.Popen(host.command(), stdin=pipe, stdout=pipe, stderr=pipe, env=environment, text=True)


def give_config(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write(config())
    process.stdin.flush()
    process.stdin.close()
    process.stdin = None


@contextmanager
def bad_agent(path: Path, behave: Callable[[socket.socket], None]) -> Iterator[None]:
    """Listens in the agent's place and treats one call as `behave` does."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            behave(connection)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join()


def test_it_is_static_and_small(shim: Path) -> None:
    assert "not a dynamic executable" in run("ldd", shim, check=False).stderr
    if shutil.which("musl-gcc") is None:
        pytest.skip("musl-gcc is missing: the size is that of the fallback")
    assert shim.stat().st_size <= 64 * KIB


def test_without_a_command_it_tells_what_it_is(host: Host) -> None:
    answer = run(host.shim, env={})
    assert (answer.returncode, answer.stdout) == (0, "")
    assert all(version in answer.stderr for version in VERSIONS)


def test_version_needs_nothing(host: Host) -> None:
    answer = run(host.shim, env={"CNI_COMMAND": "VERSION", "CNI_NETNS": "dummy", "CNI_CONTAINERID": ""})
    assert json.loads(answer.stdout) == {"cniVersion": "1.1.0", "supportedVersions": list(VERSIONS)}


@pytest.mark.parametrize(
    ("command", "changes", "names"),
    [
        ("add", {}, ["CNI_COMMAND"]),
        ("", {}, ["CNI_COMMAND"]),
        ("ADD", {"CNI_CONTAINERID": ""}, ["CNI_CONTAINERID"]),
        ("ADD", {"CNI_CONTAINERID": "../etc"}, ["CNI_CONTAINERID"]),
        ("ADD", {"CNI_CONTAINERID": "-a"}, ["CNI_CONTAINERID"]),
        ("ADD", {"CNI_NETNS": ""}, ["CNI_NETNS"]),
        ("ADD", {"CNI_NETNS": "/run/netns/never-was"}, ["CNI_NETNS"]),
        ("CHECK", {"CNI_IFNAME": "a/b", "CNI_NETNS": ""}, ["CNI_IFNAME", "CNI_NETNS"]),
        ("DEL", {"CNI_IFNAME": "sixteen-letters-"}, ["CNI_IFNAME"]),
        ("DEL", {"CNI_IFNAME": ".."}, ["CNI_IFNAME"]),
        ("DEL", {"CNI_CONTAINERID": ""}, ["CNI_CONTAINERID"]),
    ],
)
def test_wrong_variables_are_code_4_and_named(
    host: Host, command: str, changes: dict[str, str], names: list[str]
) -> None:
    variables = {"CNI_CONTAINERID": "c", "CNI_NETNS": "/proc/self/ns/net", "CNI_IFNAME": "eth0", **changes}
    answer = host.call(command, check=False, **variables)
    error = json.loads(answer.stdout)
    assert (answer.returncode, error["code"]) == (1, 4)
    assert [name for name in error["msg"].split() if name.startswith("CNI_")][: len(names)] == names
    assert not host.tombstones.exists()


def test_without_an_agent_each_command_fails_as_the_specification_says(host: Host) -> None:
    pod = host.add_pod()
    codes = {
        command: (answer := pod.call(command, stdin=config(cniVersion="0.4.0"))).returncode
        and json.loads(answer.stdout)["code"]
        for command in ("ADD", "CHECK", "GC", "STATUS", "DEL")
    }
    assert codes == {"ADD": 11, "CHECK": 11, "GC": 11, "STATUS": 50, "DEL": 0}
    error = json.loads(pod.call("ADD", stdin=config(cniVersion="0.4.0")).stdout)
    assert error["cniVersion"] == "0.4.0"
    assert str(host.socket) in error["msg"]
    assert "weavemesh up" in error["details"]


def test_a_dead_agents_socket_is_no_agent(host: Host) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(host.socket))
    assert json.loads(host.add_pod().call("ADD").stdout)["code"] == 11


def test_a_del_without_an_agent_is_done_when_one_comes(host: Host) -> None:
    pods = [host.add_pod() for _ in range(3)]
    host.start_agent()
    results = [pod.add() for pod in pods]
    host.kill_agent()
    for pod, result in zip(pods, results, strict=True):
        for netns in (str(pod.netns), "", ""):  # as containerd does
            answer = pod.call("DEL", check=True, CNI_NETNS=netns, stdin=config(prevResult=result) if netns else "")
            assert answer.stdout == ""
    left = sorted(host.tombstones.iterdir())
    assert len(left) == 6, "the same DEL twice is one file"
    assert {stat.S_IMODE(path.stat().st_mode) for path in left} == {0o600}
    assert stat.S_IMODE(host.tombstones.stat().st_mode) == 0o700
    host.start_agent()
    wait_for(lambda: not any(host.leftovers().values()))


def test_a_del_left_behind_an_agents_back_is_done_before_the_next_add(host: Host) -> None:
    pod = host.add_pod()
    host.start_agent()
    pod.add()
    pod.call("DEL", check=True, WEAVEMESH_CNI_SOCKET="/nowhere")
    assert len(host.journal()) == 1
    assert pod.add()["ips"]
    assert host.leftovers()["tombstones"] == []


def test_tombstones_are_bounded(host: Host) -> None:
    pod = host.add_pod()
    host.tombstones.mkdir()
    large = pod.call("DEL", stdin=config(padding="x" * 200 * KIB))
    assert json.loads(large.stdout)["code"] == 11
    assert list(host.tombstones.iterdir()) == []
    for number in range(4096):
        (host.tombstones / str(number)).touch()
    full = pod.call("DEL")
    assert json.loads(full.stdout)["code"] == 11
    assert "too many" in full.stdout


def test_too_much_is_refused(host: Host) -> None:
    pod = host.add_pod()
    assert json.loads(pod.call("ADD", stdin="x" * (STDIN_BYTES_MAX + 1)).stdout)["code"] == 6
    assert json.loads(pod.call("ADD", CNI_ARGS="x" * ENVIRONMENT_BYTES_MAX).stdout)["code"] == 4


def test_nothing_of_the_environment_but_cni_variables_is_passed(host: Host) -> None:
    received: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        received.append(connection.recv(65536))
        connection.sendall(ANSWER_HEADER.pack(b"WMA1", 3, 5) + b"hello")

    with bad_agent(host.socket, behave):
        answer = host.add_pod().call("ADD", SECRET="hunter2", CNI_ARGS="A=1")
    assert (answer.returncode, answer.stdout) == (3, "hello")
    assert b"hunter2" not in received[0]
    assert b"PATH=/usr" not in received[0]
    assert b"CNI_ARGS=A=1\0" in received[0]


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 400 Bad Request\r\n", ANSWER_HEADER.pack(b"WMA1", 0, 9) + b"cut"])
def test_an_agent_that_answers_nonsense_is_no_agent(host: Host, sent: bytes) -> None:
    def behave(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(sent)

    with bad_agent(host.socket, behave):
        answer = host.add_pod().call("ADD")
    assert json.loads(answer.stdout)["code"] == 11


def test_an_agent_that_hangs_is_waited_for_with_a_deadline(host: Host) -> None:
    host.start_agent()
    assert host.agent is not None
    os.kill(host.agent.pid, signal.SIGSTOP)
    started = time.monotonic()
    answer = host.call("STATUS")
    assert json.loads(answer.stdout)["code"] == 50
    assert time.monotonic() - started < 5


def test_a_call_that_is_killed_is_undone_by_the_agent_alone(host: Host) -> None:
    pod = host.add_pod()
    host.start_agent(gated=True)
    add = start(host, "ADD", **pod.variables())
    try:
        give_config(add)
        wait_for(host.gate.with_suffix(".reached").exists)
        add.kill()
    finally:
        add.communicate(timeout=10)
    host.gate.touch()
    # Calls for one container take turns: when the DEL is answered, the ADD has ended.
    pod.call("DEL", check=True)
    assert not any(host.leftovers().values())
    assert pod.add()["ips"]


def test_the_agent_ending_in_the_middle_is_a_reason_to_try_again(host: Host) -> None:
    pod = host.add_pod()
    host.start_agent(gated=True)
    add = start(host, "ADD", **pod.variables())
    try:
        give_config(add)
        wait_for(host.gate.with_suffix(".reached").exists)
        host.kill_agent()
    finally:
        stdout, _ = add.communicate(timeout=10)
    assert json.loads(stdout)["code"] == 11


def test_a_second_agent_is_refused_and_a_dead_ones_socket_replaced(host: Host) -> None:
    host.start_agent()
    first = host.agent
    host.agent = None
    try:
        with pytest.raises(AssertionError):
            host.start_agent()
    finally:
        host.kill_agent()
        host.agent = first
    host.kill_agent()
    assert host.socket.exists()
    host.start_agent()
    assert host.add_pod().add()["ips"]
    assert stat.S_IMODE(host.socket.stat().st_mode) == 0o600


def test_a_plan_of_an_agent_that_is_gone_is_not_played(host: Host) -> None:
    pod = host.add_pod()
    plan = encode_plan(
        (Batch(False, 1, podmessage.pack(podmessage.set_up(1), 1, flags=podmessage.ACKNOWLEDGE)),), cpu=0
    )
    run("ip", "-n", host.name, "link", "set", "lo", "down")

    def behave(connection: socket.socket) -> None:
        connection.recv(65536)
        pid, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        os.kill(pid, signal.SIGSTOP)
        connection.sendall(plan)
        connection.close()
        os.kill(pid, signal.SIGCONT)

    with bad_agent(host.socket, behave):
        answer = pod.call("ADD")
    assert json.loads(answer.stdout)["code"] == 11
    assert "UP" not in run("ip", "-n", host.name, "link", "show", "lo").stdout.partition("mtu")[0]


@pytest.mark.parametrize("cut", [1, 12, 30])
def test_a_plan_that_is_nonsense_is_not_played(host: Host, cut: int) -> None:
    outcomes: list[bytes] = []
    body = encode_plan((Batch(False, 1, bytes(40)),), cpu=0)[ANSWER_HEADER.size :][:cut]

    def behave(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(ANSWER_HEADER.pack(b"WMP2", 0, len(body)) + body + encode_end(b"goodbye"))
        outcomes.append(connection.recv(65536))
        connection.sendall(ANSWER_HEADER.pack(b"WMA1", 3, 5) + b"hello")

    with bad_agent(host.socket, behave):
        answer = host.add_pod().call("ADD")
    assert (answer.returncode, answer.stdout) == (3, "hello")
    assert ANSWER_HEADER.unpack(outcomes[0]) == (b"WMO2", errno.EPROTO, 0)


def lo_up() -> Batch:
    return Batch(False, 1, podmessage.pack(podmessage.set_up(1), 1, flags=podmessage.ACKNOWLEDGE))


def no_such_device() -> Batch:
    return Batch(True, 2, podmessage.pack(podmessage.set_up(7777), 2, flags=podmessage.ACKNOWLEDGE))


def test_a_plan_in_parts_is_played_as_it_comes_and_ends_with_its_answer(host: Host) -> None:
    outcomes: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(encode_plan((lo_up(),), cpu=os.sched_getaffinity(0).pop()))
        connection.sendall(
            encode_plan((Batch(True, 2, lo_up().packed[:8] + b"\2\0\0\0" + lo_up().packed[12:]),), cpu=0)
        )
        connection.sendall(encode_end(b"goodbye"))
        outcomes.append(connection.recv(65536))

    run("ip", "-n", host.name, "link", "set", "lo", "down")
    with bad_agent(host.socket, behave):
        answer = host.add_pod().call("ADD")
    assert (answer.returncode, answer.stdout) == (0, "goodbye")
    assert decode_outcome(outcomes[0]) is not None and outcomes[0][:8] == b"WMO2" + bytes(4)
    assert "UP" in run("ip", "-n", host.name, "link", "show", "lo").stdout.partition("mtu")[0]


@pytest.mark.parametrize("batches", [(lo_up(), no_such_device()), (lo_up(),)])
def test_a_plan_that_fails_or_ends_without_an_answer_waits_for_another(host: Host, batches: tuple[Batch, ...]) -> None:
    outcomes: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(encode_plan(batches, cpu=0) + encode_end(b"goodbye" if len(batches) > 1 else b""))
        outcomes.append(connection.recv(65536))
        connection.sendall(encode_plan((no_such_device(),), cpu=0))  # one plan a call
        connection.sendall(ANSWER_HEADER.pack(b"WMA1", 3, 5) + b"hello")

    with bad_agent(host.socket, behave):
        answer = host.add_pod().call("ADD")
    assert (answer.returncode, answer.stdout) == (3, "hello")
    told = decode_outcome(outcomes[0])
    assert told is not None and told.failure == (errno.ENODEV if len(batches) > 1 else 0)
