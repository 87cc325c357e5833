"""A small client of containerd's CRI (runtime.v1), as a kubelet uses it: gRPC, with messages written by hand.

Only the fields that the tests need, by their numbers in k8s.io/cri-api; protobuf's wire format is two of its kinds,
varints and lengths.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeAlias

import grpc

Value: TypeAlias = "int | str | bytes | Mapping[int, Value] | list[Value]"
DEADLINE_S = 60.0
_VARINT, _BYTES = 0, 2


def encode(message: Mapping[int, Value]) -> bytes:
    """Fields by number; a mapping is a message in a message, a list a repeated field."""
    return b"".join(_encode_field(number, value) for number, value in message.items())


def decode(data: bytes) -> dict[int, list[int | bytes]]:
    """Fields by number, each as often as it is there; what is in bytes can be decoded again."""
    found: dict[int, list[int | bytes]] = {}
    offset = 0
    while offset < len(data):
        key, offset = _read_varint(data, offset)
        if key & 7 == _VARINT:
            value, offset = _read_varint(data, offset)
            found.setdefault(key >> 3, []).append(value)
            continue
        assert key & 7 == _BYTES, "the CRI has no other kinds in what is asked here"
        length, offset = _read_varint(data, offset)
        found.setdefault(key >> 3, []).append(data[offset : offset + length])
        offset += length
    return found


def _encode_field(number: int, value: Value) -> bytes:
    if isinstance(value, list):
        return b"".join(_encode_field(number, one) for one in value)
    if isinstance(value, int):
        return _varint(number << 3 | _VARINT) + _varint(value)
    body = encode(value) if isinstance(value, Mapping) else value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | _BYTES) + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _read_varint(data: bytes, offset: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[offset]
        value |= (byte & 0x7F) << shift
        offset, shift = offset + 1, shift + 7
        if not byte & 0x80:
            return value, offset


@dataclass
class Sandbox:
    """A pod sandbox that was asked for."""

    name: str
    config: Mapping[int, Value]
    id: str = ""
    addresses: list[str] = field(default_factory=list)


class Cri:
    """A connection to the runtime service at a unix socket."""

    def __init__(self, socket: Path) -> None:
        self._channel = grpc.insecure_channel(f"unix://{socket}", options=[("grpc.enable_http_proxy", 0)])

    def __enter__(self) -> Self:
        grpc.channel_ready_future(self._channel).result(timeout=DEADLINE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def network_is_ready(self) -> tuple[bool, str]:
        """The runtime's condition NetworkReady, and its message."""
        for condition in self._messages(self._call("Status", {}), 1, 1):
            if condition[1] == [b"NetworkReady"]:
                return bool(condition.get(2, [0])[0]), _text(condition, 4)
        return False, "the runtime says nothing of it"

    def run_sandbox(self, name: str, *, ports: Mapping[int, int] | None = None, parent: str = "") -> Sandbox:
        """A running pod sandbox with these host ports, each to a port of the container; its control group is made below
        that of `parent`. Raises grpc.RpcError."""
        config: dict[int, Value] = {
            1: {1: name, 2: f"uid-{name}", 3: "shop", 4: 0},
            2: name,
            5: [{1: 0, 2: container, 3: host} for host, container in (ports or {}).items()],
            8: {1: f"{parent and '/'}{parent}/wm-{name}", 2: {}},
        }
        sandbox = Sandbox(name, config)
        sandbox.id = _text(self._call("RunPodSandbox", {1: config}), 1)
        status = next(self._messages(self._call("PodSandboxStatus", {1: sandbox.id}), 1))
        network = decode(_bytes(status[5][0]))
        sandbox.addresses = [_text(network, 1), *(_text(decode(_bytes(one)), 1) for one in network.get(2, []))]
        return sandbox

    def run_container(self, sandbox: Sandbox, image: str, *command: str) -> str:
        """The id of a running container in the sandbox."""
        container: dict[int, Value] = {1: {1: "main", 2: 0}, 2: {1: image}, 3: list(command), 15: {}}
        made = self._call("CreateContainer", {1: sandbox.id, 2: container, 3: sandbox.config})
        name = _text(made, 1)
        self._call("StartContainer", {1: name})
        return name

    def execute(self, container: str, *command: str) -> str:
        """What a command prints inside a container."""
        answer = self._call("ExecSync", {1: container, 2: list(command), 3: 10})
        return _text(answer, 1)

    def stop_sandbox(self, sandbox: Sandbox) -> None:
        """Again does nothing."""
        self._call("StopPodSandbox", {1: sandbox.id})

    def remove_sandbox(self, sandbox: Sandbox) -> None:
        """Again does nothing."""
        self._call("RemovePodSandbox", {1: sandbox.id})

    def _call(self, method: str, request: Mapping[int, Value]) -> dict[int, list[int | bytes]]:
        ask = self._channel.unary_unary(f"/runtime.v1.RuntimeService/{method}", request_serializer=encode)
        return decode(bytes(ask(request, timeout=DEADLINE_S)))

    @staticmethod
    def _messages(message: dict[int, list[int | bytes]], *path: int) -> Iterator[dict[int, list[int | bytes]]]:
        """The messages at the end of a path of fields."""
        found = [message]
        for number in path:
            found = [decode(_bytes(one)) for parent in found for one in parent.get(number, [])]
        return iter(found)


def _text(message: dict[int, list[int | bytes]], number: int) -> str:
    return _bytes(message.get(number, [b""])[0]).decode()


def _bytes(value: int | bytes) -> bytes:
    assert isinstance(value, bytes), "a number where bytes were expected"
    return value
