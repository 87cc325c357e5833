"""The host settings that routing pods needs, all in one place.

Each is read first and written only if it is wrong: on hosts where /proc/sys is read-only but right, nothing
happens; where it is wrong and cannot be set, that is a sentence with the remedy and not an end.
"""

import os
from pathlib import Path
from typing import Final

from msgspec import Struct, field

PROC_SYS: Final = Path(os.environ.get("WEAVEMESH_PROC_SYS") or "/proc/sys")
"""In a container without the privilege of all, /proc/sys is read-only: then the host's own is mounted elsewhere. Below
`net` it shows the namespace of the thread that looks, wherever it is mounted."""

_STRICT, _LOOSE = "1", "2"  # rp_filter (Linux Documentation/networking/ip-sysctl.rst)
_ACCEPT_UNLESS_FORWARDING, _ACCEPT_ALWAYS = "1", "2"  # accept_ra
_NOT_INTERFACES: Final = frozenset(("all", "default", "lo"))


class Settings(Struct):
    """A collection of changes; created for one pass over what is needed."""

    root: Path = PROC_SYS
    changed: list[str] = field(default_factory=list)
    """What was changed, as sentences."""
    failures: list[str] = field(default_factory=list)
    """What is wrong and could not be changed, as sentences with the remedy."""

    def ensure(self, key: str, value: str) -> bool:
        """True if `key` (`net/ipv4/ip_forward`) now has the value; one that does not exist counts as right."""
        before = self.read(key)
        if before is None or before == value:
            return True
        name = key.replace("/", ".")
        try:
            (self.root / key).write_text(value, encoding="ascii")
        except OSError as error:
            reason = error.strerror or "unknown"
            remedy = f"run `sysctl -w {name}={value}` on the host"
            self.failures.append(f"{name} is {before} and cannot be set to {value} ({reason}): {remedy}")
            return False
        self.changed.append(f"{name} set from {before} to {value}")
        return True

    def read(self, key: str) -> str | None:
        """The value, or None where this kernel has no such setting."""
        try:
            return (self.root / key).read_text(encoding="ascii").strip()
        except OSError:
            return None

    def prepare_host(self) -> None:
        """Let the host forward both families without losing what router advertisements give it."""
        self.ensure("net/ipv4/ip_forward", "1")
        if self.read("net/ipv6/conf/all/forwarding") != "0":
            return
        # A router does not listen to router advertisements unless told to: without this, a host that has
        # its IPv6 default route from one would lose it.
        kept = [self._keep_advertisements(folder.name) for folder in self._ipv6_interfaces()]
        if all(kept):
            self.ensure("net/ipv6/conf/all/forwarding", "1")

    def prepare_interface(self, interface: str) -> None:
        """Let the tunnel device carry both families, and answers that come back another way."""
        self.ensure(f"net/ipv6/conf/{interface}/disable_ipv6", "0")
        # The kernel takes the larger of the two: an `all` of 1 makes every interface strict.
        effective = (
            self.read("net/ipv4/conf/all/rp_filter"),
            self.read(f"net/ipv4/conf/{interface}/rp_filter"),
        )
        if _STRICT in effective and _LOOSE not in effective:
            self.ensure(f"net/ipv4/conf/{interface}/rp_filter", _LOOSE)

    def has_ipv6(self) -> bool:
        """False on a kernel without IPv6, or booted with ipv6.disable=1."""
        return (self.root / "net/ipv6").is_dir()

    def _ipv6_interfaces(self) -> list[Path]:
        folder = self.root / "net/ipv6/conf"
        if not folder.is_dir():
            return []
        return sorted(path for path in folder.iterdir() if path.name not in _NOT_INTERFACES)

    def _keep_advertisements(self, interface: str) -> bool:
        key = f"net/ipv6/conf/{interface}/accept_ra"
        if self.read(key) != _ACCEPT_UNLESS_FORWARDING:
            return True
        return self.ensure(key, _ACCEPT_ALWAYS)
