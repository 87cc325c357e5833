"""What the agent is started with, checked: every value that reaches the agent is one it can work with.

Not here: where options come from (`weavemesh.option`), and the cluster secret itself, of which only the place is
known (`weavemesh.secret` reads it). The reader of `AgentConfig` is `weavemesh.daemon`.
"""

import os
import re
import socket
from collections.abc import Mapping
from ipaddress import IPv4Network, ip_address
from pathlib import Path
from typing import Literal, TypeVar, get_args

from msgspec import Struct

from weavemesh.error import UserError
from weavemesh.option import Options, variable
from weavemesh.overlay.state import Endpoint
from weavemesh.secret import DEFAULT_FILE, ENVIRONMENT

Datapath = Literal["auto", "kernel", "userspace", "held"]
LogLevel = Literal["debug", "info", "warning", "error"]

DEFAULT_INTERFACE = "wm0"
DEFAULT_PORT = 6783
DEFAULT_IPALLOC_RANGE = "10.32.0.0/12"

TARGETS_MAX = 1000
"""More hosts on one command line are surely a mistake; discovery finds the others."""

NICKNAME_CHARACTERS_MAX = 64
"""Linux host names have at most 64 characters (HOST_NAME_MAX)."""

MTU_MIN, MTU_MAX = 1280, 65455
"""IPv6 needs 1280 on every link (RFC 8200, §5); WireGuard adds 80 octets to each packet in a 16-bit length."""

INITIAL_PEERS_MAX = 256
"""A mesh is founded by a handful of hosts; more are a mistake, and those that come later just join."""

SUBNET_PREFIX_MAX = 30
"""Network, gateway and broadcast are kept free: a /30 has one address to hand out, anything smaller none."""

ROTATION_S_MIN, ROTATION_S_MAX = 60, 3650 * 86400
"""A new key more often than every minute only makes handshakes."""

PREFIX_MIN, PREFIX_MAX = 8, 29
"""A smaller range than /29 has no room for two peers with pods; a larger one than /8 is nobody's to use."""


class AgentConfig(Struct, frozen=True, kw_only=True):
    """Everything an agent is told at its start, checked; it never changes while the agent runs."""

    state_dir: Path
    """Identity, ring, journal: what must survive a reboot. Absolute."""
    run_dir: Path
    """Sockets, lock and log of the running agent. Absolute."""
    interface: str
    """Name of the WireGuard device; begins with "wm"."""
    targets: tuple[str, ...]
    """Peers to dial for ever, each "host:port" or "[address]:port"."""
    port: int
    """TCP for control links and UDP for WireGuard."""
    ipalloc_range: IPv4Network
    """The universe of pod addresses; the same on every peer."""
    ipalloc_default_subnet: IPv4Network
    """The part of it that addresses are handed out of, unless one is claimed."""
    initial_peers: int | None
    """How many peers found the mesh together; None: this one and those at the targets."""
    observer: bool
    """Whether this peer never takes part in founding a mesh."""
    nickname: str
    """For people; need not be unique."""
    advertise: tuple[Endpoint, ...]
    """UDP endpoints that others shall try first, besides those found."""
    datapath: Datapath
    mtu: int | None
    """Of the overlay device, in octets; None takes it from the underlay."""
    rotate_key_every_s: float | None
    """Age at which this peer's WireGuard key is replaced; None keeps it."""
    secret_file: Path
    """Where the cluster secret is, unless it is in the environment (`weavemesh.secret.ENVIRONMENT`)."""
    force_weak_secret: bool
    """Whether a secret that can be guessed is taken all the same."""
    masquerade: bool
    """Whether pods reach what is not in the mesh, with the address of the host."""
    discovery: bool
    """Whether peers that others tell of are dialled too."""
    relay: bool
    """Whether encrypted packets are forwarded for peers that do not reach each other."""
    metrics_addr: Endpoint | None
    """Where Prometheus gets the metrics, by TCP; None: nowhere."""
    log_level: LogLevel
    node: str | None = None
    """Cluster and node of Kubernetes that it runs on, as `weavemesh.kube.decision.place` writes it; else None."""


def check(options: Options, *, state_dir: Path, run_dir: Path, environment: Mapping[str, str]) -> AgentConfig:
    """The configuration that the options mean; UserError (usage) names the first that cannot be."""
    port = _number("port", options.port or str(DEFAULT_PORT), 1, 65535)
    targets = tuple(dict.fromkeys(parse_target(text, default_port=port) for text in options.targets or ()))
    if len(targets) > TARGETS_MAX:
        raise _refused(
            "targets", f"{len(targets)} hosts are more than {TARGETS_MAX}", "name a few; the others are discovered"
        )
    ipalloc_range = _range(options.ipalloc_range or DEFAULT_IPALLOC_RANGE)
    return AgentConfig(
        state_dir=state_dir,
        run_dir=run_dir,
        interface=_interface(options.interface or DEFAULT_INTERFACE),
        targets=targets,
        port=port,
        ipalloc_range=ipalloc_range,
        ipalloc_default_subnet=_subnet(options.ipalloc_default_subnet, ipalloc_range),
        initial_peers=_initial_peers(options),
        observer=bool(options.observer),
        nickname=_nickname(options.nickname or socket.gethostname()),
        advertise=tuple(_advertised(text, default_port=port) for text in options.advertise or ()),
        datapath=_datapath(options.datapath or "auto"),
        mtu=None if options.mtu in (None, "auto") else _number("mtu", options.mtu, MTU_MIN, MTU_MAX),
        rotate_key_every_s=_period("rotate_key_every", options.rotate_key_every),
        secret_file=_secret_file(options, environment),
        force_weak_secret=bool(options.force_weak_secret),
        masquerade=not options.no_masquerade,
        discovery=not options.no_discovery,
        relay=not options.no_relay,
        metrics_addr=_metrics_addr(options.metrics_addr),
        log_level=_log_level(options.log_level or "info"),
    )


_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")


def parse_target(text: str, *, default_port: int) -> str:
    """A peer to dial as "host:port" ("[address]:port" for IPv6), the port filled in.

    >>> parse_target("host3.example.com", default_port=6783)
    'host3.example.com:6783'
    >>> parse_target("2001:db8::1", default_port=6783)
    '[2001:db8::1]:6783'

    Raises UserError (usage) for what is neither a host name nor an address.
    """
    host, port = _split_port(text)
    number = default_port if port is None else _target_port(text, port)
    try:
        address = ip_address(host)
    except ValueError:
        return f"{_host_name(host, text)}:{number}"
    if address.is_unspecified or address.is_multicast:
        raise _refused_target(text, "is no address of one host")
    return f"[{address}]:{number}" if address.version == 6 else f"{address}:{number}"


def _split_port(text: str) -> tuple[str, str | None]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")) or ":" not in host:
            raise _refused_target(text, "has brackets that do not hold an IPv6 address")
        return host, rest[1:] if rest else None
    if text.count(":") > 1:
        return text, None
    host, colon, port = text.partition(":")
    return host, port if colon else None


def _target_port(text: str, port: str) -> int:
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise _refused_target(text, f"has the port {port!r}, which is not between 1 and 65535")
    return int(port)


def _host_name(host: str, text: str) -> str:
    labels = host.removesuffix(".").split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise _refused_target(text, "is neither a host name nor an IP address")
    if labels[-1].isdigit():  # RFC 1123, §2.1: such a name could be mistaken for an address
        raise _refused_target(text, "looks like an IP address but is none")
    return host.lower()


def _refused_target(text: str, reason: str) -> UserError:
    return UserError(
        f"the host {text!r} {reason}", remedy="write HOST or HOST:PORT, for example host3:6783", exit_status=2
    )


def _advertised(text: str, *, default_port: int) -> Endpoint:
    host, _, port = parse_target(text, default_port=default_port).rpartition(":")
    try:
        address = ip_address(host.strip("[]"))
    except ValueError as error:
        raise _refused(
            "advertise",
            f"{text!r} is not an IP address",
            "others need an address, as in 198.51.100.7 or 198.51.100.7:6783",
        ) from error
    if address.is_loopback:
        raise _refused(
            "advertise", f"{text!r} is an address that only this host can reach", "give one that the others can reach"
        )
    return Endpoint(address=address, port=int(port))


def _metrics_addr(text: str | None) -> Endpoint | None:
    if text is None or text == "none":
        return None
    try:
        host, port = _split_port(text)
        return Endpoint(address=ip_address(host), port=_number("metrics_addr", port or "", 1, 65535))
    except (ValueError, UserError) as error:
        raise _refused(
            "metrics_addr", f"{text!r} is no address and port", "write it like 0.0.0.0:6782 or [::]:6782, or none"
        ) from error


_INTERFACE = re.compile(r"wm[A-Za-z0-9_.-]{1,13}")


def _interface(name: str) -> str:
    if not _INTERFACE.fullmatch(name) or name.startswith("wmv"):
        raise _refused(
            "interface",
            f"{name!r} cannot be the name of the device",
            'it begins with "wm" but not "wmv" (those are pods\'), and has at most 15 letters, digits, "_", "." or "-"',
        )
    return name


def _range(text: str) -> IPv4Network:
    try:
        network = IPv4Network(text)
    except ValueError as error:
        raise _refused(
            "ipalloc_range",
            f"{text!r} is no IPv4 range",
            f"write it like {DEFAULT_IPALLOC_RANGE}, with no bits behind the prefix",
        ) from error
    if not PREFIX_MIN <= network.prefixlen <= PREFIX_MAX:
        raise _refused(
            "ipalloc_range",
            f"{text} has a prefix that is not between /{PREFIX_MIN} and /{PREFIX_MAX}",
            "choose another range",
        )
    first = network.network_address
    forbidden = first.is_loopback or first.is_link_local or first.is_multicast or first.is_reserved
    if forbidden or first in IPv4Network("0.0.0.0/8") or network.overlaps(IPv4Network("169.254.0.0/16")):
        raise _refused(
            "ipalloc_range", f"{text} holds addresses with a meaning of their own", "choose a private range (RFC 1918)"
        )
    return network


def _subnet(text: str | None, ipalloc_range: IPv4Network) -> IPv4Network:
    if text is None:
        return ipalloc_range
    try:
        subnet = IPv4Network(text)
    except ValueError as error:
        raise _refused(
            "ipalloc_default_subnet",
            f"{text!r} is no IPv4 range",
            f"write it like {next(ipalloc_range.subnets(1))}, with no bits behind the prefix",
        ) from error
    if not subnet.subnet_of(ipalloc_range):
        raise _refused(
            "ipalloc_default_subnet",
            f"{subnet} is not inside the range {ipalloc_range}",
            "choose a part of that range, or another range with --ipalloc-range",
        )
    if subnet.prefixlen > SUBNET_PREFIX_MAX:
        raise _refused(
            "ipalloc_default_subnet",
            f"{subnet} has no address for a pod",
            f"choose a /{SUBNET_PREFIX_MAX} or larger",
        )
    return subnet


def _initial_peers(options: Options) -> int | None:
    if options.initial_peers is None:
        return None
    if options.observer:
        raise _refused("initial_peers", "an observer is no initial peer", "leave out --observer or --initial-peers")
    return _number("initial_peers", options.initial_peers, 1, INITIAL_PEERS_MAX)


def _nickname(text: str) -> str:
    if not text or len(text) > NICKNAME_CHARACTERS_MAX or not text.isprintable() or " " in text:
        raise _refused(
            "nickname",
            f"{text!r} cannot be a nickname",
            f"take 1 to {NICKNAME_CHARACTERS_MAX} printable characters without blanks",
        )
    return text


def _datapath(text: str) -> Datapath:
    return _one_of("datapath", text, get_args(Datapath))


def _log_level(text: str) -> LogLevel:
    return _one_of("log_level", text, get_args(LogLevel))


_ChoiceT = TypeVar("_ChoiceT", bound=str)


def _one_of(name: str, text: str, choices: tuple[_ChoiceT, ...]) -> _ChoiceT:
    for choice in choices:
        if choice == text:
            return choice
    raise _refused(name, f"{text!r} is not one of {', '.join(choices)}", "choose one of these")


def _number(name: str, text: str, smallest: int, largest: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and smallest <= int(text) <= largest):
        raise _refused(name, f"{text!r} is not a number from {smallest} to {largest}", "choose another number")
    return int(text)


_PERIOD = re.compile(r"([0-9]{1,9})(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _period(name: str, text: str | None) -> float | None:
    if text is None or text == "never":
        return None
    match = _PERIOD.fullmatch(text)
    seconds = int(match[1]) * _SECONDS[match[2]] if match else 0
    if not ROTATION_S_MIN <= seconds <= ROTATION_S_MAX:
        raise _refused(name, f"{text!r} is no time from 1m to 3650d", "write it like 12h or 30d, or never")
    return float(seconds)


def _secret_file(options: Options, environment: Mapping[str, str]) -> Path:
    if options.secret_file is None:
        return DEFAULT_FILE
    if ENVIRONMENT in environment:
        raise _refused(
            "secret_file",
            f"the cluster secret is given twice, in the variable {ENVIRONMENT} and as a file",
            "unset the one that you do not mean",
        )
    return Path(os.path.abspath(options.secret_file))


def _refused(name: str, sentence: str, remedy: str) -> UserError:
    given = "HOST" if name == "targets" else f"--{name.replace('_', '-')}"
    return UserError(f"{given} (or {variable(name)}): {sentence}", remedy=remedy, exit_status=2)
