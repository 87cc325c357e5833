"""Reads what a container runtime asks: the CNI_* variables and the configuration on stdin, checked as a whole.

Pure. Its counterpart is `weavemesh.cni.result`. Keys of the configuration match whatever their case, as in Go: runtimes
send `portMappings:[{"HostPort":…}]` and `hostPort` alike.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import TypeVar

import msgspec
from msgspec import Struct

from weavemesh.cni.frame import Call
from weavemesh.cni.result import NEWEST_VERSION, VERSIONS, CniError, Dns, ErrorCode
from weavemesh.kernel.podmessage import IPAddress

T = TypeVar("T")

IDENTIFIER_CHARACTERS_MAX = 255
"""Of a container's id and a network's name. The specification has no limit; runtimes use at most 64."""
INTERFACE_NAME_CHARACTERS_MAX = 15  # IFNAMSIZ - 1
CONFIG_DEPTH_MAX = 64
"""Of objects within objects. Real ones have 6; this keeps recursion from ending the agent."""
OLDEST_VERSION = VERSIONS[0]

_IDENTIFIER = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*", re.ASCII)  # SPEC "Parameters"
_UNREADABLE = "the network configuration on stdin cannot be decoded"
_NOT_IN_INTERFACE_NAME = re.compile(r"[/:\s\x00]")


class Command(StrEnum):
    """The verbs of the specification."""

    ADD = "ADD"
    DEL = "DEL"
    CHECK = "CHECK"
    GC = "GC"
    STATUS = "STATUS"
    VERSION = "VERSION"


_SINCE = {Command.CHECK: "0.4.0", Command.GC: "1.1.0", Command.STATUS: "1.1.0"}
_NEEDS = {
    Command.ADD: ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    Command.CHECK: ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    Command.DEL: ("CNI_CONTAINERID", "CNI_IFNAME"),
}


class Request(Struct, frozen=True):
    """A call that is right by the specification. What the command has no use for is empty."""

    command: Command
    version: str
    network: str
    container_id: str
    ifname: str
    netns: str
    """CNI_NETNS, word for word."""
    label: str
    """"namespace/name" of the pod, or its name alone, or "" where the runtime does not say."""
    dns: Dns
    previous: tuple[IPAddress, ...] | None
    """For CHECK, the addresses that the result of the ADD gives the interface; None: no result was handed in."""

    @property
    def ident(self) -> str:
        """The attachment's name for ever: all its resources are keyed by it, never by the namespace's path."""
        return f"{self.network}/{self.container_id}/{self.ifname}"


class _Interface(msgspec.Struct):
    name: str = ""
    sandbox: str | None = None


class _Ip(msgspec.Struct):
    address: str
    interface: int | None = None


class _Previous(msgspec.Struct):
    interfaces: list[_Interface] | None = None
    ips: list[_Ip] | None = None


class _Config(msgspec.Struct):
    """Keys in lower case. Not listed here: those that have no meaning for us (`capabilities`, `ipam`, …)."""

    cniversion: str | None = None
    name: str | None = None
    dns: object = None
    prevresult: object = None


def decode(call: Call) -> Request:
    """The request in a call. CniError with the specification's code if it is not right.

    VERSION is never refused; its `version` is that of the configuration if there is one.
    """
    command = _decode_command(call.environment)
    if command is Command.VERSION:
        return Request(command, version_of(call), "", "", "", "", "", Dns(), None)
    config = _decode_config(call.stdin)
    version = config.cniversion or OLDEST_VERSION
    _check_version(command, version)
    if not _is_identifier(config.name or ""):
        raise CniError(ErrorCode.INVALID_CONFIG, f"the network's name {config.name!r} is missing or invalid")
    _check_environment(command, call.environment)
    ifname = call.environment.get("CNI_IFNAME", "")
    return Request(
        command=command,
        version=version,
        network=config.name or "",
        container_id=call.environment.get("CNI_CONTAINERID", ""),
        ifname=ifname,
        netns=call.environment.get("CNI_NETNS", ""),
        label=_decode_label(call.environment.get("CNI_ARGS", "")),
        # Read only where they are used: a DEL is not to fail because of them.
        dns=_convert(config.dns or {}, Dns) if command is Command.ADD else Dns(),
        previous=_addresses_of(config.prevresult, ifname) if command is Command.CHECK else None,
    )


def version_of(call: Call) -> str:
    """The version in which to answer, also where the call is not right: the call's if we speak it, else our newest."""
    try:
        version = _decode_config(call.stdin).cniversion or OLDEST_VERSION
    except CniError:
        return NEWEST_VERSION
    return version if version in VERSIONS else NEWEST_VERSION


def _decode_command(environment: Mapping[str, str]) -> Command:
    name = environment.get("CNI_COMMAND", "")
    try:
        return Command(name)
    except ValueError:
        raise CniError(ErrorCode.INVALID_ENVIRONMENT, f"CNI_COMMAND is unknown: {name!r}") from None


def _decode_config(stdin: bytes) -> _Config:
    try:
        whole = msgspec.json.decode(stdin)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise CniError(ErrorCode.DECODING_FAILURE, _UNREADABLE, str(error)) from error
    return _convert(_lower_keys(whole, 0), _Config)


def _convert(value: object, kind: type[T]) -> T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise CniError(ErrorCode.DECODING_FAILURE, _UNREADABLE, str(error)) from error


def _lower_keys(value: object, depth: int) -> object:
    if depth > CONFIG_DEPTH_MAX:
        raise CniError(ErrorCode.DECODING_FAILURE, f"the configuration is nested deeper than {CONFIG_DEPTH_MAX} levels")
    if isinstance(value, dict):
        return {str(key).lower(): _lower_keys(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list):
        return [_lower_keys(inner, depth + 1) for inner in value]
    return value


def _check_version(command: Command, version: str) -> None:
    since = VERSIONS.index(_SINCE.get(command, OLDEST_VERSION))
    if version not in VERSIONS[since:]:
        raise CniError(
            ErrorCode.INCOMPATIBLE_VERSION,
            "incompatible CNI versions",
            f'{command} is asked for in version "{version}"; this plugin supports it in {", ".join(VERSIONS[since:])}',
        )


def _check_environment(command: Command, environment: Mapping[str, str]) -> None:
    problems = {name: _problem(name, environment.get(name, "")) for name in _NEEDS.get(command, ())}
    if any(problems.values()):
        raise CniError(
            ErrorCode.INVALID_ENVIRONMENT,
            "missing or invalid variables: " + ", ".join(name for name, problem in problems.items() if problem),
            "; ".join(f"{name} {problem}" for name, problem in problems.items() if problem),
        )


def _problem(name: str, value: str) -> str:
    if not value:
        return "is not set"
    if name == "CNI_CONTAINERID" and not _is_identifier(value):
        return "is not made of letters, digits, '_', '.' and '-', or is too long"
    if name == "CNI_IFNAME" and not _is_interface_name(value):
        return (
            f"is not the name of an interface: at most {INTERFACE_NAME_CHARACTERS_MAX} bytes without '/', ':', spaces"
        )
    return ""


def _is_identifier(text: str) -> bool:
    return len(text) <= IDENTIFIER_CHARACTERS_MAX and _IDENTIFIER.fullmatch(text) is not None


def _is_interface_name(text: str) -> bool:
    short = len(text.encode()) <= INTERFACE_NAME_CHARACTERS_MAX
    return short and text not in (".", "..") and not _NOT_IN_INTERFACE_NAME.search(text)


def _decode_label(arguments: str) -> str:
    """CNI_ARGS is `K=V;K=V`; what is unknown or malformed in it is none of our business (IgnoreUnknown)."""
    pairs = dict(pair.split("=", 1) for pair in arguments.split(";") if "=" in pair)
    return "/".join(filter(None, (pairs.get("K8S_POD_NAMESPACE"), pairs.get("K8S_POD_NAME"))))


def _addresses_of(previous_result: object, ifname: str) -> tuple[IPAddress, ...] | None:
    """The addresses on the interface of that name in a sandbox; other plugins may have added more to the result."""
    if previous_result is None:
        return None
    previous = _convert(previous_result, _Previous)
    interfaces = previous.interfaces or []
    ours = {index for index, one in enumerate(interfaces) if one.name == ifname and one.sandbox}
    try:
        found = [_decode_ip(one.address) for one in previous.ips or [] if one.interface in ours]
    except ValueError as error:
        raise CniError(ErrorCode.INVALID_CONFIG, "prevResult holds an invalid address", str(error)) from error
    return tuple(found)


def _decode_ip(text: str) -> IPAddress:
    interface: IPv4Interface | IPv6Interface = ip_interface(text)
    return interface.ip
