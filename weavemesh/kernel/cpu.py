"""On which CPU the calling thread is just now (sched_getcpu(3), which Python does not have)."""

import ctypes
from typing import Final

_libc: Final = ctypes.CDLL(None)


def current_cpu() -> int:
    """Its number; by the time that it is used the thread may be on another one."""
    return int(_libc.sched_getcpu())
