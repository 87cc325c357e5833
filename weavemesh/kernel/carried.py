"""How much an interface has carried: so cheap to ask that it can be asked every second.

Read from sysfs, in the network namespace for which that is mounted, which is the agent's own.
"""

from pathlib import Path

_FOLDER = Path("/sys/class/net")


def octets_carried(interface: str) -> int:
    """Octets in both directions since the interface was made; 0 for one that is not there, or without sysfs."""
    statistics = _FOLDER / interface / "statistics"
    try:
        return sum(int((statistics / name).read_text()) for name in ("rx_bytes", "tx_bytes"))
    except OSError:
        return 0
