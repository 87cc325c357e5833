"""Holds wireguard-go for the agent of a node, in a pod of its own that is not exchanged when the agent's is.

A process of a pod ends with it, and with wireguard-go end the tunnels. Where the kernel has WireGuard nothing is to be
held. The counterpart is the data path `held` (`weavemesh.kernel.choice`).
"""

import os
import shutil
import sys
from typing import NoReturn

from weavemesh.error import UserError
from weavemesh.kernel.choice import kernel_has_wireguard
from weavemesh.kernel.netlink import Netlink
from weavemesh.kernel.userspace import PROGRAM

_REST = (
    "import signal; ends = {signal.SIGTERM, signal.SIGINT}; "
    "signal.pthread_sigmask(signal.SIG_BLOCK, ends); signal.sigwait(ends)"
)
"""Blocked and taken, because the first process of a pod is not ended by signals that it leaves alone."""


async def is_needed() -> bool:
    """Whether this kernel has no WireGuard. UserError without the right to ask."""
    netlink = await Netlink.open()
    try:
        return not await kernel_has_wireguard(netlink)
    finally:
        await netlink.close()


def become_wireguard(interface: str) -> NoReturn:
    """Turn this process into wireguard-go in the foreground, without our environment. UserError if it is missing."""
    program = shutil.which(PROGRAM)
    if program is None:
        raise UserError(f"{PROGRAM} is not in PATH", remedy="install it, or a kernel with WireGuard (5.6 or later)")
    os.execve(program, [PROGRAM, "--foreground", interface], {"PATH": os.defpath})


def become_idle() -> NoReturn:
    """Turn this process into one that waits for its end in as little memory as this language takes."""
    os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", _REST], {"PATH": os.defpath})
