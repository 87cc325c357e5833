"""Reads what a container runtime asks: the CNI_* variables and the configuration on stdin, checked as a whole.

Pure. Its counterpart is `weavemesh.cni.result`. Keys of the configuration match whatever their case, as in Go: runtimes
send `portMappings:[{"HostPort":…}]` and `hostPort` alike.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from typing import TypeVar

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from weavemesh.cni.frame import Call
from weavemesh.cni.result import NEWEST_VERSION, VERSIONS, CniError, Dns, ErrorCode
from weavemesh.cni.wish import Wish, decode_ip, decode_wish
from weavemesh.kernel.podmessage import IPAddress

T = TypeVar("T")

IDENTIFIER_CHARACTERS_MAX = 255
"""Of a container's id and a network's name. The specification has no limit; runtimes use at most 64."""
INTERFACE_NAME_CHARACTERS_MAX = 15  # IFNAMSIZ - 1
CONFIG_DEPTH_MAX = 64
"""Of objects within objects. Real ones have 6; this keeps recursion from ending the agent."""
REMEMBERED_BYTES_MAX = 4096
"""Of a configuration that is not decoded again: most runtimes send the same one for every pod."""
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


IPAM_PREFIX = "ipam:"
"""Begins the idents of leases, which have no interface of ours: "ipam:network/container/interface"."""
SECOND_INTERFACE = "mesh0"
"""Our interface where a plugin before us in the chain has made the one that the runtime asked for."""


def is_attachment(ident: str) -> bool:
    """Whether the ident is one of an interface that we make."""
    network, _, rest = ident.partition("/")
    return rest.count("/") == 1 and ":" not in network


def make_ident(network: str, container_id: str, ifname: str, *, is_ipam: bool) -> str:
    """The attachment's name for ever: all its resources are keyed by it, never by the namespace's path."""
    return f"{IPAM_PREFIX if is_ipam else ''}{network}/{container_id}/{ifname}"


class PreviousAddress(Struct, frozen=True):
    """An address in a result that is handed in."""

    ifname: str
    """Of the interface in the container that has it; "" if none is named."""
    address: IPAddress


class Request(Struct, frozen=True):
    """A call that is right by the specification. What the command has no use for is empty."""

    command: Command
    version: str
    is_ipam: bool = False
    network: str = ""
    container_id: str = ""
    ifname: str = ""
    netns: str = ""
    """CNI_NETNS, word for word."""
    wish: Wish = field(default_factory=Wish)
    dns: Dns = field(default_factory=Dns)
    pod_ifname: str = ""
    """Of our interface in the container; not `ifname` where a plugin before us in the chain has made that one."""
    is_default: bool = True
    """Whether all that the pod sends is to go by our interface."""
    previous: tuple[PreviousAddress, ...] | None = None
    """For CHECK, the addresses in the result of the ADD; None: no result was handed in."""
    chained: Mapping[str, object] | None = None
    """For ADD, the result of the plugins before us, as it came."""
    valid: frozenset[str] | None = None
    """For GC, the idents that there still are; None: the runtime did not say."""
    gateway: IPAddress | None = None
    """For the IPAM plugin, the gateway that the configuration names."""
    routes: tuple[object, ...] = ()
    """For the IPAM plugin, the routes that the configuration names, as they came."""

    @property
    def ident(self) -> str:
        """See make_ident."""
        return make_ident(self.network, self.container_id, self.ifname, is_ipam=self.is_ipam)


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
    runtimeconfig: object = None
    args: object = None
    interfacename: str | None = None
    defaultroute: bool | None = None
    ipam: object = None
    attachments: object = msgspec.field(default=None, name="cni.dev/valid-attachments")


class _Attachment(msgspec.Struct):
    containerid: str
    ifname: str


class _Ipam(msgspec.Struct):
    gateway: str | None = None
    routes: list[object] | None = None


_NO_IPAM, _NO_PREVIOUS = _Ipam(), _Previous()


def decode(call: Call) -> Request:
    """The request in a call. CniError with the specification's code if it is not right.

    VERSION is never refused; its `version` is that of the configuration if there is one.
    """
    command = _decode_command(call.environment)
    if command is Command.VERSION:
        return Request(command, version_of(call))
    config = _decode_config(call.stdin)
    version = config.cniversion or OLDEST_VERSION
    _check_version(command, version)
    if not _is_identifier(config.name or ""):
        raise CniError(ErrorCode.INVALID_CONFIG, f"the network's name {config.name!r} is missing or invalid")
    _check_environment(command, call.environment)
    request = Request(
        command=command,
        version=version,
        is_ipam=call.is_ipam,
        network=config.name or "",
        container_id=call.environment.get("CNI_CONTAINERID", ""),
        ifname=call.environment.get("CNI_IFNAME", ""),
        netns=call.environment.get("CNI_NETNS", ""),
    )
    # The rest is read only where it is used: a DEL is not to fail because of it.
    match command:
        case Command.ADD:
            return _with_wishes(request, config, call)
        case Command.CHECK:
            return replace(request, previous=_addresses_of(config.prevresult))
        case Command.GC:
            return replace(request, valid=_valid_idents(request, config.attachments))
        case _:
            return request


def _with_wishes(request: Request, config: _Config, call: Call) -> Request:
    """All that an ADD is made of."""
    wish = decode_wish(config.runtimeconfig, config.args, call.environment.get("CNI_ARGS", ""))
    ipam = _convert(config.ipam, _Ipam) if config.ipam else _NO_IPAM
    previous = _convert(config.prevresult, _Previous) if config.prevresult else _NO_PREVIOUS
    is_second = any(one.name == request.ifname and one.sandbox for one in previous.interfaces or [])
    pod_ifname = request.ifname
    if is_second:
        pod_ifname = SECOND_INTERFACE if config.interfacename is None else config.interfacename
    if not _is_interface_name(pod_ifname) or (is_second and pod_ifname == request.ifname):
        raise CniError(ErrorCode.INVALID_CONFIG, f"interfaceName {pod_ifname!r} cannot be that of our interface")
    try:
        gateway = decode_ip(ipam.gateway) if ipam.gateway else None
    except ValueError as error:
        raise CniError(ErrorCode.INVALID_CONFIG, "ipam.gateway is no address", str(error)) from error
    return replace(
        request,
        wish=wish,
        dns=wish.dns or (_convert(config.dns, Dns) if config.dns else Dns()),
        pod_ifname=pod_ifname,
        is_default=not is_second if config.defaultroute is None else config.defaultroute,
        chained=_chained(call.stdin) if config.prevresult else None,
        gateway=gateway,
        routes=tuple(ipam.routes or ()),
    )


def _chained(stdin: bytes) -> Mapping[str, object] | None:
    """The result of the plugins before us with its keys as they are written."""
    whole = msgspec.json.decode(stdin)
    return next((value for key, value in whole.items() if str(key).lower() == "prevresult"), None)


def _valid_idents(request: Request, attachments: object) -> frozenset[str] | None:
    if attachments is None:
        return None
    valid = _convert(attachments, list[_Attachment])
    return frozenset(make_ident(request.network, one.containerid, one.ifname, is_ipam=request.is_ipam) for one in valid)


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
    return _decode_again(stdin) if len(stdin) <= REMEMBERED_BYTES_MAX else _decode_anew(stdin)


def _decode_anew(stdin: bytes) -> _Config:
    try:
        whole = msgspec.json.decode(stdin)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise CniError(ErrorCode.DECODING_FAILURE, _UNREADABLE, str(error)) from error
    return _convert(_lower_keys(whole, 0), _Config)


_decode_again = lru_cache(maxsize=64)(_decode_anew)


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
    problems = {name: found for name in _NEEDS.get(command, ()) if (found := _problem(name, environment.get(name, "")))}
    if problems:
        raise CniError(
            ErrorCode.INVALID_ENVIRONMENT,
            "missing or invalid variables: " + ", ".join(problems),
            "; ".join(f"{name} {problem}" for name, problem in problems.items()),
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
    return short and text not in ("", ".", "..") and not _NOT_IN_INTERFACE_NAME.search(text)


def _addresses_of(previous_result: object) -> tuple[PreviousAddress, ...] | None:
    """The addresses of a result, with the interfaces in the sandbox that have them."""
    if previous_result is None:
        return None
    previous = _convert(previous_result, _Previous)
    names = {index: one.name for index, one in enumerate(previous.interfaces or []) if one.sandbox}
    try:
        return tuple(
            PreviousAddress("" if one.interface is None else names.get(one.interface, ""), decode_ip(one.address))
            for one in previous.ips or []
        )
    except ValueError as error:
        raise CniError(ErrorCode.INVALID_CONFIG, "prevResult holds an invalid address", str(error)) from error
