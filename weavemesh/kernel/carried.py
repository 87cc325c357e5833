"""How much an interface has carried: so cheap to ask that it can be asked every second.

Read from sysfs, in the network namespace for which that is mounted, which is the agent's own.
"""

import os

_FOLDER = "/sys/class/net"
_DIGITS_MAX = 24
"""Of a counter of 64 bits, with the end of the line."""


def octets_carried(interface: str) -> int:
    """Octets in both directions since the interface was made; 0 for one that is not there, or without sysfs."""
    try:
        return sum(_number(f"{_FOLDER}/{interface}/statistics/{name}") for name in ("rx_bytes", "tx_bytes"))
    except OSError:
        return 0


def _number(path: str) -> int:
    """By the shortest way: pathlib's takes longer than the kernel's part."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return int(os.read(descriptor, _DIGITS_MAX))
    finally:
        os.close(descriptor)
