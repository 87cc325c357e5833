"""What the CNI executable and the agent say to each other: one request frame, one answer frame, on one connection.

    request: "WMC1" flags environment_bytes stdin_bytes | environment | stdin
    answer:  "WMA1" status stdout_bytes | stdout

In between, the agent may once have the executable send netlink messages for it, if that has offered to:

    plan:    "WMP2" cpu bytes | for each batch: is_inside last bytes | messages
    end:     "WME2" status stdout_bytes | stdout
    outcome: "WMO2" errno bytes | the kernel's replies

A plan comes in any number of frames, each of which is played when it has come, and the end asks for the outcome. It may
bring the answer along, with which the executable ends if all went well, and without another word of the agent. `cpu` is
the number of that on which the agent is: some kernels wake whom it calls on the same one, where they hinder each other.

The offer is the variable WEAVEMESH_PLAYS_PARTS, which the executable adds to those of the runtime: the number under
which it has the container's namespace open. So an executable and an agent of which only one knows plans get along.

Numbers are 32 bits, big-endian. The environment is the runtime's CNI_* variables, each `NAME=value` and a zero byte.
Descriptors travel beside the first byte (SCM_RIGHTS): by `flags`, first the executable's own network namespace, then
the container's. Another flag says that it was called by the name of the IPAM plugin. A tombstone is a request frame in
a file. The counterpart is shim.c; what the bytes mean is `weavemesh.cni.request`'s.
"""

import struct
from collections.abc import Mapping, Sequence

from msgspec import Struct

from weavemesh.kernel.podplan import Batch, Outcome

ENVIRONMENT_BYTES_MAX = 64 * 1024
"""CNI_ARGS holds a few names of a pod; the kernel lets a single variable have 128 KiB."""
STDIN_BYTES_MAX = 1024 * 1024
"""The size of etcd's largest value: no runtime can keep a longer configuration."""
ANSWER_BYTES_MAX = 1024 * 1024
"""As in shim.c; a result has some 500 bytes and what a chain brought along."""
DESCRIPTORS_MAX = 2

REPLIES_BYTES_MAX = 64 * 1024
"""As in shim.c; the kernel's replies to a plan have some 2 KiB."""
OFFER = "WEAVEMESH_PLAYS_PARTS"

REQUEST_HEADER = struct.Struct(">4sIII")
ANSWER_HEADER = struct.Struct(">4sII")
_BATCH_HEADER = struct.Struct(">III")
_REQUEST_MAGIC, _ANSWER_MAGIC = b"WMC1", b"WMA1"
_PLAN_MAGIC, _END_MAGIC, _OUTCOME_MAGIC = b"WMP2", b"WME2", b"WMO2"
_HAS_OWN_NETNS, _HAS_NETNS, _IS_IPAM = 1, 2, 4
_OFFER_DIGITS_MAX = 9


class FrameError(Exception):
    """What arrived is not a frame; the text says why."""


class Call(Struct, frozen=True):
    """One call of the executable, as it was made. Whoever received the descriptors closes them."""

    environment: Mapping[str, str]
    stdin: bytes
    netns_fd: int | None
    """The container's network namespace: what CNI_NETNS named, if it could be opened."""
    own_netns_fd: int | None
    """The runtime's network namespace."""
    is_ipam: bool = False
    """It was called as IPAM plugin, by another plugin."""

    @property
    def offer(self) -> int | None:
        """Under which number the executable has the container's namespace, if it offers to play a plan there."""
        number = self.environment.get(OFFER, "")
        return int(number) if number.isascii() and number.isdecimal() and len(number) <= _OFFER_DIGITS_MAX else None


class Answer(Struct, frozen=True):
    """What the executable is to print and to exit with."""

    status: int
    stdout: bytes
    attached: str | None = None
    """The ident of the attachment that this answer tells of; not on the wire."""

    def encode(self) -> bytes:
        """The frame."""
        return ANSWER_HEADER.pack(_ANSWER_MAGIC, self.status, len(self.stdout)) + self.stdout


def request_bytes(header: bytes) -> int:
    """The length of the whole frame that begins with this header. FrameError if it is none or announces too much."""
    magic, flags, environment_bytes, stdin_bytes = REQUEST_HEADER.unpack_from(header)
    if magic != _REQUEST_MAGIC or flags & ~(_HAS_OWN_NETNS | _HAS_NETNS | _IS_IPAM):
        raise FrameError("this is not a request of our CNI executable")
    if environment_bytes > ENVIRONMENT_BYTES_MAX or stdin_bytes > STDIN_BYTES_MAX:
        raise FrameError("the request is too large")
    return REQUEST_HEADER.size + int(environment_bytes) + int(stdin_bytes)


def decode_request(frame: bytes, descriptors: list[int]) -> Call:
    """The call in a frame and the descriptors that came with it. FrameError if they do not fit.

    In a tombstone there are no descriptors.
    """
    if len(frame) < REQUEST_HEADER.size or len(frame) != request_bytes(frame):
        raise FrameError("the request is cut off")
    _, flags, environment_bytes, _ = REQUEST_HEADER.unpack_from(frame)
    if len(descriptors) != (flags & _HAS_OWN_NETNS) + bool(flags & _HAS_NETNS):
        raise FrameError("the request came without its descriptors")
    stdin_start = REQUEST_HEADER.size + environment_bytes
    block = frame[REQUEST_HEADER.size : stdin_start].decode("utf-8", "replace")
    pairs = (entry.partition("=") for entry in block.split("\0") if entry)
    return Call(
        environment={name: value for name, _, value in pairs},
        stdin=frame[stdin_start:],
        netns_fd=descriptors[-1] if flags & _HAS_NETNS else None,
        own_netns_fd=descriptors[0] if flags & _HAS_OWN_NETNS else None,
        is_ipam=bool(flags & _IS_IPAM),
    )


def encode_request(environment: Mapping[str, str], stdin: bytes) -> bytes:
    """The frame of a caller that passes the container's namespace along, as the one descriptor."""
    block = b"".join(f"{name}={value}".encode() + b"\0" for name, value in environment.items())
    return REQUEST_HEADER.pack(_REQUEST_MAGIC, _HAS_NETNS, len(block), len(stdin)) + block + stdin


def encode_plan(batches: Sequence[Batch], *, cpu: int) -> bytes:
    """The frame of some batches of a plan."""
    body = b"".join(
        _BATCH_HEADER.pack(batch.is_inside, batch.last, len(batch.packed)) + batch.packed for batch in batches
    )
    return ANSWER_HEADER.pack(_PLAN_MAGIC, cpu, len(body)) + body


def encode_end(stdout: bytes) -> bytes:
    """The frame that ends a plan; with what is to be printed if all went well, or b""."""
    return ANSWER_HEADER.pack(_END_MAGIC, 0, len(stdout)) + stdout


def decode_outcome(frame: bytes) -> Outcome | None:
    """How a plan went; None as long as the frame is not whole. FrameError if it is none."""
    if len(frame) < ANSWER_HEADER.size:
        return None
    magic, failure, length = ANSWER_HEADER.unpack_from(frame)
    if magic != _OUTCOME_MAGIC or length > REPLIES_BYTES_MAX or len(frame) > ANSWER_HEADER.size + length:
        raise FrameError("this is not an outcome of our CNI executable")
    if len(frame) < ANSWER_HEADER.size + length:
        return None
    return Outcome(failure, bytes(frame[ANSWER_HEADER.size :]))


def decode_answer(frame: bytes) -> Answer | None:
    """The answer in a frame; None as long as it is not whole. FrameError if it is none."""
    if len(frame) < ANSWER_HEADER.size:
        return None
    magic, status, length = ANSWER_HEADER.unpack_from(frame)
    if magic != _ANSWER_MAGIC or length > ANSWER_BYTES_MAX:
        raise FrameError("what answers is not a weavemesh agent")
    body = frame[ANSWER_HEADER.size :]
    return Answer(status, body) if len(body) == length else None
