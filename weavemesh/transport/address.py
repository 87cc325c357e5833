"""Addresses of control ports as text: `192.0.2.1:6783`, `[2001:db8::1]:6783`, `host.example:6783`."""

import ipaddress
from functools import lru_cache
from typing import Final

CONTROL_PORT: Final = 6783
"""As Weave Net had it."""
HOST_CHARACTERS_MAX: Final = 253
"""Longest name (RFC 1035, §2.3.4, as text)."""


def join_address(host: str, port: int) -> str:
    """Host and port as one text; an IPv4 address in IPv6 clothes (RFC 4291, §2.5.5.2) is shown as IPv4.

    >>> join_address("::ffff:192.0.2.1", 6783), join_address("2001:db8::1", 1)
    ('192.0.2.1:6783', '[2001:db8::1]:1')
    """
    host = plain_host(host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_address(text: str, *, default_port: int = CONTROL_PORT) -> tuple[str, int]:
    """Host and port of `HOST`, `HOST:PORT`, `[IPV6]`, `[IPV6]:PORT` or a bare IPv6 address. ValueError if it is none.

    >>> split_address("host1"), split_address("[2001:db8::1]:7"), split_address("2001:db8::1")
    (('host1', 6783), ('2001:db8::1', 7), ('2001:db8::1', 6783))
    """
    host, bracket, rest = text[1:].partition("]") if text.startswith("[") else (text, "", "")
    if text.startswith("[") and not (bracket and rest[:1] in ("", ":") and _is_ipv6(host)):
        raise ValueError(f"{text!r} is no address: write an IPv6 address with a port as [2001:db8::1]:{default_port}")
    if not bracket and not _is_ipv6(text):
        host, colon, rest = text.partition(":")
        rest = colon + rest
    if not host or len(host) > HOST_CHARACTERS_MAX or not host.isprintable() or set(host) & set(" /[]@"):
        raise ValueError(f"{text!r} is no address: write HOST or HOST:PORT")
    if not rest:
        return host, default_port
    port = rest[1:]
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise ValueError(f"{text!r} is no address: a port is a number from 1 to 65535")
    return host, int(port)


@lru_cache(maxsize=4096)
def plain_host(host: str) -> str:
    """The address without IPv6 clothes around IPv4; anything else unchanged."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped) if mapped is not None else host


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False
