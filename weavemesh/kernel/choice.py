"""Which WireGuard carries the tunnels: the kernel's, a program in user space, or neither, and then why and what to do.

Changes nothing. Its counterparts are the two devices, `wireguard.py` and `userspace.py`, and whoever drives them.
"""

import errno
from typing import Final, Literal

from weavemesh.error import UserError
from weavemesh.kernel.device import Device, DeviceError
from weavemesh.kernel.linkmessage import Link
from weavemesh.kernel.netlink import KernelError, Netlink
from weavemesh.kernel.userspace import PROGRAM, Userspace, is_installed
from weavemesh.kernel.wireguard import KernelWireGuard

Datapath = Literal["auto", "kernel", "userspace", "held"]
"""`held`: the kernel's, or else a wireguard-go that somebody else runs for us and that we wait for."""

TUNNEL_KINDS: Final = ("wireguard", "tun")


async def choose(interface: str, datapath: Datapath, netlink: Netlink) -> Device:
    """The device for this name. UserError if there is none that may be used."""
    has_kernel = await kernel_has_wireguard(netlink)
    userspace = Userspace(interface, held=datapath == "held")
    link = await netlink.link(interface)
    if link is not None and link.kind not in TUNNEL_KINDS:
        raise name_is_taken(link)
    try:
        owner = await userspace.socket_owner()
    except DeviceError as error:
        raise UserError(error.reason, remedy="run weavemesh as root") from error
    if datapath in ("auto", "held") and link is not None and link.kind == userspace.link_kind and owner == "us":
        return userspace
    if datapath != "userspace" and has_kernel:
        return KernelWireGuard(interface, netlink)
    if datapath == "kernel":
        raise UserError(
            "this kernel has no WireGuard",
            remedy="load its module (`modprobe wireguard`, Linux 5.6 or later), or use --datapath userspace",
        )
    if datapath != "held" and not is_installed():
        raise UserError(
            "there is no WireGuard on this host" if datapath == "auto" else f"{PROGRAM} is not in PATH",
            remedy=f"load the kernel's module (`modprobe wireguard`) or install {PROGRAM}",
        )
    if owner == "other":
        raise userspace.foreign_socket()
    return userspace


async def kernel_has_wireguard(netlink: Netlink) -> bool:
    """Ask for an interface with a name that cannot be: the kind is looked up (and its module loaded) first.

    So the answer is EPERM without the right to make interfaces, EOPNOTSUPP without WireGuard, EINVAL with it,
    and nothing has been made in any case.
    """
    try:
        await netlink.add_link(".", kind="wireguard")
    except KernelError as error:
        if error.number == errno.EPERM:
            raise UserError(
                "weavemesh may not configure networks", remedy="run it as root (it needs CAP_NET_ADMIN)"
            ) from error
        return error.number != errno.EOPNOTSUPP
    raise AssertionError("the kernel accepted an interface named `.`")


def name_is_taken(link: Link) -> UserError:
    """The refusal where something else has the name."""
    return UserError(
        f"{link.name} exists and is {f'a {link.kind}' if link.kind else 'hardware'}, not a WireGuard device",
        remedy="remove it, or choose another name with --interface",
    )
