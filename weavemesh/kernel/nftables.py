"""Tables of ours in the packet filter: applied whole in one transaction, read back, removed, watched for changes.

What a table says is its owner's; it is written in the language of nft(8), and the program `nft` puts it into the
kernel. As a program it costs 10 ms a call, takes no memory from the agent, and cannot take the agent down (version
1.0.6 aborts on rules of others that it does not know). Nobody else's table is ever touched. Everything concerns the
network namespace of the calling thread. What keeps a table as it was declared is `weavemesh.kernel.kepttable`.
"""

import asyncio
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from functools import partial
from typing import Final, Literal, Self

import msgspec
from msgspec import Struct

Family = Literal["inet", "ip", "ip6", "netdev"]

PREFIX: Final = "weavemesh-"
"""Begins the name of every table of ours, so that all are found without state."""
DEADLINE_S: Final = 10.0
"""One call takes milliseconds; it waits for the kernel's one transaction at a time."""
REMEDY: Final = "install nftables (Debian: apt-get install nftables)"

_PLACES = "/usr/sbin:/sbin:/usr/local/sbin:/usr/bin:/bin"
"""Where it is on hosts whose PATH says nothing of it."""
_NETLINK_NETFILTER, _GROUP_NFTABLES, _SUBSYSTEM_NFTABLES = 12, 7, 10  # linux/netfilter/nfnetlink.h
_TABLE_NAME = 1
"""The attribute of that number holds the table's name in all messages of nftables but those of generations."""
_HEADER, _GENERIC, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=BBH"), struct.Struct("=HH")
_RECEIVE_BYTES = 1 << 18


class NftablesError(Exception):
    """A table could not be applied, read or removed; `reason` is a sentence, with its remedy if there is one."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Table(Struct, frozen=True):
    """A table as it should be."""

    family: Family
    name: str
    """Begins with PREFIX."""
    body: str
    """What stands between the braces: sets, maps, chains."""

    def __post_init__(self) -> None:
        assert self.name.startswith(PREFIX), "a table of ours bears our name"

    def text(self) -> str:
        """The transaction that puts it into the kernel in the place of what has its name; for `nft -f`."""
        head = f"table {self.family} {self.name}"
        # The first line makes it, if it is not there, so that the second can delete it.
        return f"{head}\ndelete {head}\n{head} {{\n{self.body}\n}}\n"


def is_installed() -> bool:
    """Whether this host has the program."""
    return _program() is not None


async def apply(table: Table) -> str:
    """Has the kernel hold this table and no other of its name, all at once or not at all; what `read` says of it now.

    No packet meets a state between. NftablesError: it is as it was before.
    """
    await _run("-f", "-", stdin=table.text())
    listing = await read(table.family, table.name)
    if listing is None:
        raise NftablesError(f"the table {table.name} vanished as soon as it was made: is another program flushing it?")
    return listing


async def run(script: str) -> None:
    """Performs commands in the language of `nft -f`, all or none: for changes of elements. NftablesError."""
    await _run("-f", "-", stdin=script)


async def list_set(family: Family, table: str, name: str) -> str:
    """A set with its elements and their counters, as the JSON of libnftables-json(5). NftablesError."""
    return await _run("-j", "list", "set", family, table, name)


async def read(family: Family, name: str) -> str | None:
    """The table as the kernel has it, without counters; None if there is none. Equal texts mean equal tables."""
    try:
        return await _run("-s", "-n", "list", "table", family, name)
    except NftablesError as error:
        if "No such file or directory" in error.reason:
            return None
        raise


async def remove(family: Family, name: str) -> bool:
    """Removes the table with all in it; False if there was none."""
    if not is_installed() or await read(family, name) is None:
        return False
    await _run("delete", "table", family, name)
    return True


async def remove_all() -> list[str]:
    """Removes every table whose name begins with PREFIX; their names. Without the program there is nothing of ours."""
    if not is_installed():
        return []
    listed = msgspec.json.decode(await _run("-j", "list", "tables"))["nftables"]
    tables = [entry["table"] for entry in listed if "table" in entry]
    ours = [(one["family"], one["name"]) for one in tables if one["name"].startswith(PREFIX)]
    for family, name in ours:
        await remove(family, name)
    return [name for _, name in ours]


class TableChanges:
    """Tells when somebody changed a table of this namespace; belongs to the namespace of the thread that opened it."""

    def __init__(self, receiver: socket.socket) -> None:
        self._socket = receiver

    @classmethod
    def open(cls) -> Self:
        """Watches from now on. OSError where the kernel has no nftables."""
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        receiver = socket.socket(socket.AF_NETLINK, kind, _NETLINK_NETFILTER)
        receiver.bind((0, 1 << (_GROUP_NFTABLES - 1)))
        return cls(receiver)

    def close(self) -> None:
        """Watches no longer."""
        self._socket.close()

    async def of(self, name: str) -> None:
        """Returns when something of the tables of that name was made or deleted, or when too much happened to tell."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                datagram = await loop.sock_recv(self._socket, _RECEIVE_BYTES)
            except OSError:  # ENOBUFS: changes were lost
                return
            if name in _table_names(datagram):
                return


def _table_names(datagram: bytes) -> Iterator[str]:
    offset = 0
    while offset + _HEADER.size <= len(datagram):
        length, kind, _, _, _ = _HEADER.unpack_from(datagram, offset)
        at, end = offset + _HEADER.size + _GENERIC.size, offset + length
        while kind >> 8 == _SUBSYSTEM_NFTABLES and at + _ATTRIBUTE.size <= end:
            size, attribute = _ATTRIBUTE.unpack_from(datagram, at)
            if attribute == _TABLE_NAME:
                yield datagram[at + _ATTRIBUTE.size : at + size].rstrip(b"\0").decode("utf-8", "replace")
                break
            at += max(_ATTRIBUTE.size, size + (-size % 4))
        offset += max(_HEADER.size, length + (-length % 4))


def _program() -> str | None:
    return shutil.which("nft") or shutil.which("nft", path=_PLACES)


async def _run(*arguments: str, stdin: str = "") -> str:
    program = _program()
    if program is None:
        raise NftablesError(f"the program nft is not there: {REMEDY}")
    # A thread of this thread is in the same network namespace, and so is what it starts.
    start = partial(
        subprocess.run, [program, *arguments], input=stdin, capture_output=True, text=True, timeout=DEADLINE_S
    )
    try:
        done = await asyncio.to_thread(start, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise NftablesError(f"the program nft cannot be used ({error}): {REMEDY}") from error
    if done.returncode:
        raise NftablesError(_first_line(done.stderr) or f"nft ended with {done.returncode} and no word")
    return done.stdout


def _first_line(text: str) -> str:
    """nft repeats its input below its reason."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0].rpartition("Error: ")[2] if lines else ""
