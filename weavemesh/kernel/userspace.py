"""WireGuard in user space: the `wireguard-go` process of one TUN device and its control socket.

The process outlives the agent: it has a session of its own, none of our pipes and none of our environment.
An agent that starts finds it by its socket and drives it on; it ends when its interface is deleted. Keys go
over the socket only. The words spoken there are in `uapi.py`.

The socket's path belongs to the file system, not to the network namespace. So an answering socket proves
nothing by itself: it may serve an interface of the same name in another namespace. The kernel lists the
sockets of the own namespace; one that is not among them is left alone.
"""

import asyncio
import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from weavemesh.error import UserError
from weavemesh.kernel.device import DeviceError, DeviceState
from weavemesh.kernel.uapi import (
    GET,
    StateReader,
    UapiViolation,
    decode_errno,
    encode_device,
    encode_discard,
    encode_peers,
    encode_removal,
    encode_renewal,
)
from weavemesh.overlay.diff import SetPeer
from weavemesh.overlay.state import IPNetwork, PrivateKey, PublicKey

PROGRAM: Final = "wireguard-go"
SOCKET_FOLDER: Final = Path("/var/run/wireguard")

_ANSWER_BYTES_MAX: Final = 64 << 20
"""A peer takes about 400 bytes and an allowed IP 30: enough for 100,000 peers, and an end for garbage."""
_ANSWER_TIMEOUT_S: Final = 10.0
"""A loaded machine with thousands of peers answers in under a second."""
_START_TIMEOUT_S: Final = 10.0
_END_TIMEOUT_S: Final = 5.0
_POLL_S: Final = 0.01
_HELD_POLL_S: Final = 0.1
_LISTENING: Final = 0x10000
"""The flag of a socket that accepts connections, in /proc/net/unix (Linux include/uapi/linux/net.h, __SO_ACCEPTCON)."""


class Userspace:
    """One wireguard-go and its TUN interface, in the namespace of the calling thread."""

    datapath = f"userspace ({PROGRAM})"
    link_kind = "tun"

    def __init__(self, interface: str, *, held: bool = False) -> None:
        """With `held`, somebody else runs the process for us, and `create` waits for it."""
        self._interface = interface
        self._held = held
        self._path = SOCKET_FOLDER / f"{interface}.sock"
        self._speaking = asyncio.Lock()
        self._reader = StateReader()

    async def create(self) -> None:
        """See Device. Returns when the control socket answers."""
        if self._held:
            await self._wait_until_held()
            return
        program = shutil.which(PROGRAM)
        if program is None:
            raise DeviceError(f"{PROGRAM} is not installed any more")
        if await self.socket_owner() == "other":
            raise DeviceError(str(self.foreign_socket()))
        # Without LOG_LEVEL it tells us on these pipes why it cannot start, and gives the process that stays
        # /dev/null in their place. The environment may hold the cluster secret: it gets none of it.
        process = await asyncio.create_subprocess_exec(
            program,
            self._interface,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            env={"PATH": os.defpath},
        )
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                output, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise DeviceError(f"{PROGRAM} did not start within {_START_TIMEOUT_S:.0f} s") from None
        if process.returncode != 0:
            raise DeviceError(f"{PROGRAM} did not start: {_last_line(output)}")
        await self.read()

    async def _wait_until_held(self) -> None:
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                while await self.socket_owner() != "us":  # noqa: ASYNC110 - nothing tells of another's socket
                    await asyncio.sleep(_HELD_POLL_S)
        except TimeoutError:
            raise DeviceError(
                f"nobody runs {PROGRAM} for this host (`weavemesh kubernetes wireguard` does it)"
            ) from None
        await self.read()

    async def is_served(self) -> bool:
        """See Device. False for a TUN whose process cannot be reached; DeviceError for another namespace's socket."""
        owner = await self.socket_owner()
        if owner == "other":
            raise DeviceError(str(self.foreign_socket()))
        return owner == "us"

    async def socket_owner(self) -> Literal["us", "other", "nobody"]:
        """Whose interface the control socket serves: one of this namespace, of another one, or none (any more)."""
        try:
            _, writer = await asyncio.open_unix_connection(self._path)
        except (FileNotFoundError, ConnectionRefusedError):
            return "nobody"
        except OSError as error:
            raise DeviceError(f"{self._path} cannot be opened ({error.strerror})") from error
        writer.close()
        return "us" if await asyncio.to_thread(self._is_listed_here) else "other"

    def foreign_socket(self) -> UserError:
        """The failure to report when the socket is another namespace's."""
        return UserError(
            f"{self._path} is the control socket of an interface {self._interface} in another network namespace",
            remedy=f"choose another name with --interface, or give this agent a {SOCKET_FOLDER} of its own "
            "(a mount namespace)",
        )

    async def read(self) -> DeviceState:
        """See Device."""
        answer = await self._speak(GET)
        try:
            return self._reader.read(answer)
        except UapiViolation as error:
            raise DeviceError(f"{PROGRAM} gave {error}") from error

    async def configure(self, *, private_key: PrivateKey | None, listen_port: int | None) -> None:
        """See Device."""
        await self._speak(encode_device(private_key=private_key, listen_port=listen_port))

    async def set_peers(self, changes: Sequence[SetPeer]) -> None:
        """See Device."""
        await self._speak(encode_peers(changes))

    async def renew_peer(self, peer: SetPeer) -> None:
        """See Device."""
        await self._speak(encode_renewal(peer))

    async def discard_allowed_ips(self, allowed_ips: tuple[IPNetwork, ...]) -> None:
        """See Device."""
        await self._speak(encode_discard(allowed_ips))

    async def remove_peer(self, public_key: PublicKey) -> None:
        """See Device."""
        await self._speak(encode_removal(public_key))

    async def wait_until_gone(self) -> bool:
        """Return when no process serves the deleted interface any more; True if a socket file was left behind.

        The process ends by itself. Raises DeviceError if it does not within 5 s.
        """
        try:
            async with asyncio.timeout(_END_TIMEOUT_S):
                # Nothing tells of the end of a process that is not our child. Its listening socket is listed until
                # it ends, even when the file is gone; and in ending it removes the file, also one that is not its own.
                while await asyncio.to_thread(self._is_listed_here):  # noqa: ASYNC110
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise DeviceError(f"the {PROGRAM} of {self._interface} does not end") from None
        if not self._path.is_socket() or await self.socket_owner() != "nobody":
            return False
        self._path.unlink(missing_ok=True)
        return True

    async def close(self) -> None:
        """See Device: there is no lasting connection."""

    async def _speak(self, request: str) -> str:
        """The answer to a request; DeviceError if it is an error, or none comes."""
        try:
            async with self._speaking, asyncio.timeout(_ANSWER_TIMEOUT_S):
                answer = await self._exchange(request.encode("ascii"))
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            raise DeviceError(f"{PROGRAM} does not answer on {self._path}") from error
        except asyncio.LimitOverrunError as error:
            raise DeviceError(f"{PROGRAM} answered with more than {_ANSWER_BYTES_MAX} bytes") from error
        try:
            text = answer.decode("ascii")
            number = decode_errno(text)
        except (UnicodeDecodeError, UapiViolation) as error:
            raise DeviceError(f"{PROGRAM} gave an answer that is not of its interface") from error
        if number == errno.EADDRINUSE:
            raise DeviceError("the UDP port is taken by another program")
        if number:
            raise DeviceError(f"{PROGRAM} refused: {os.strerror(abs(number))}")
        return text

    async def _exchange(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(self._path, limit=_ANSWER_BYTES_MAX)
        try:
            writer.write(request)
            return await reader.readuntil(b"\n\n")
        finally:
            writer.close()

    def _is_listed_here(self) -> bool:
        """/proc/net/unix has the sockets of this thread's network namespace only.

        Only the listening one counts: a connection's far end has the same path, but it is of the namespace of
        whoever connected, that is of ours (Linux net/unix/af_unix.c, unix_stream_connect).
        """
        names = {str(self._path), str(self._path).removeprefix("/var")}
        with Path("/proc/thread-self/net/unix").open(encoding="utf-8", errors="replace") as listing:
            next(listing, None)  # the heading
            # Num RefCount Protocol Flags Type St Inode Path
            fields = (line.rstrip("\n").split(maxsplit=7) for line in listing)
            return any(len(f) == 8 and f[7] in names and int(f[3], 16) & _LISTENING for f in fields)


def is_installed() -> bool:
    """True if the program is in PATH."""
    return shutil.which(PROGRAM) is not None


def _last_line(output: bytes) -> str:
    lines = output.decode("utf-8", errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it gave no reason"
