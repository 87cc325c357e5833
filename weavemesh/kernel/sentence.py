"""Failures of kernel work as sentences for `status`: what was meant, why it failed, what helps.

Not here: failures that end a command (`weavemesh.error.UserError`).
"""

import errno
from typing import Final, assert_never

from weavemesh.error import UserError
from weavemesh.kernel.device import DeviceError
from weavemesh.kernel.netlink import KernelError
from weavemesh.overlay.diff import (
    Action,
    AddAddress,
    AddRoute,
    BringUp,
    ConfigureDevice,
    CreateDevice,
    DiscardAllowedIps,
    RemoveAddress,
    RemovePeer,
    RemoveRoute,
    ReplaceRoute,
    SetMtu,
    SetPeer,
)

FAILURES: Final = (DeviceError, KernelError, UserError, OSError)
"""What the world can do to an action; anything else is a bug."""

SENTENCES_MAX: Final = 20
"""One cause often fails a thousand routes; the sentences after these add nothing."""


def describe(action: Action) -> str:
    """What an action does, as the subject of a sentence."""
    match action:
        case SetPeer(public_key=key):
            return f"setting up the tunnel to {key.text()}"
        case DiscardAllowedIps(allowed_ips=networks):
            return f"taking {len(networks)} allowed IPs away"
        case RemovePeer(public_key=key):
            return f"removing the tunnel to {key.text()}"
        case AddRoute(route=route):
            return f"adding the route to {route.destination}"
        case ReplaceRoute(route=route):
            return f"changing the route to {route.destination}"
        case RemoveRoute(route=route):
            return f"removing the route to {route.destination}"
        case _:
            return _describe_device_change(action)


def _describe_device_change(
    action: CreateDevice | ConfigureDevice | SetMtu | BringUp | AddAddress | RemoveAddress,
) -> str:
    match action:
        case CreateDevice(interface=interface):
            return f"making the tunnel device {interface}"
        case ConfigureDevice(listen_port=None):
            return "setting the tunnel device's key"
        case ConfigureDevice(listen_port=port):
            return f"letting the tunnel device listen on UDP port {port}"
        case SetMtu(mtu=mtu):
            return f"setting the tunnel device's MTU to {mtu}"
        case BringUp():
            return "bringing the tunnel device up"
        case AddAddress(address=address):
            return f"giving the tunnel device the address {address}"
        case RemoveAddress(address=address):
            return f"taking the address {address} from the tunnel device"
        case _:
            assert_never(action)


def describe_failure(subject: str, error: BaseException) -> str:
    """`adding the route to 10.32.0.0/16 failed: …`, with the remedy where there is one."""
    return f"{subject} failed: {reason(error)}"


def reason(error: BaseException) -> str:
    """Why, for one of FAILURES."""
    match error:
        case KernelError(number=errno.EEXIST):
            return "another program has one to the same destination; remove that one"
        case KernelError() | DeviceError():
            return error.reason
        case OSError():
            return error.strerror or "unknown error"
        case _:
            return str(error)


def bounded(sentences: list[str]) -> tuple[str, ...]:
    """At most SENTENCES_MAX of them and how many more there are."""
    if len(sentences) <= SENTENCES_MAX:
        return tuple(sentences)
    return (*sentences[:SENTENCES_MAX], f"and {len(sentences) - SENTENCES_MAX} more failures of this kind")
