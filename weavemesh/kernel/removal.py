"""Removal of all that weavemesh ever made in a network namespace, from nothing but names and numbers.

It needs no state and no running agent: the tunnel device has a name, pods' interfaces have a prefix, routes
carry our protocol number, tables of the packet filter begin with our name. Whatever does not bear one of these
marks exactly is not touched.
"""

from weavemesh.error import UserError
from weavemesh.kernel import nftables
from weavemesh.kernel.device import DeviceError
from weavemesh.kernel.host import POD_LINK
from weavemesh.kernel.netlink import KernelError, Netlink
from weavemesh.kernel.nftables import NftablesError
from weavemesh.kernel.sentence import describe_failure
from weavemesh.kernel.userspace import Userspace


async def remove_everything(interface: str = "wm0") -> list[str]:
    """What was removed of this namespace, as sentences; nothing to remove gives none.

    Raises UserError when something of ours is there and cannot be removed.
    """
    netlink = await Netlink.open()
    try:
        removed = await _remove_pods(netlink)
        removed += await _remove_device(netlink, interface)
        removed += await _remove_routes(netlink)
        return removed + [f"removed the table {name} of the packet filter" for name in await nftables.remove_all()]
    except NftablesError as error:
        raise UserError(error.reason, remedy="remove it with `nft delete table`, and run this again") from error
    except (KernelError, DeviceError) as error:
        raise UserError(describe_failure("removing the network", error), remedy="run it as root, and again") from error
    finally:
        await netlink.close()


async def pods_left() -> int:
    """How many pods have an interface of ours in this namespace. UserError without the right to ask."""
    netlink = await Netlink.open()
    try:
        return sum(1 for link in await netlink.links() if link.kind == "veth" and POD_LINK.fullmatch(link.name))
    finally:
        await netlink.close()


async def _remove_pods(netlink: Netlink) -> list[str]:
    removed = []
    for link in await netlink.links():
        if link.kind == "veth" and POD_LINK.fullmatch(link.name):
            await netlink.delete_link(link.index)
            removed.append(f"removed the pod interface {link.name}")
    return removed


async def _remove_device(netlink: Netlink, interface: str) -> list[str]:
    userspace = Userspace(interface)
    removed = []
    link = await netlink.link(interface)
    if link is not None and link.kind in ("wireguard", "tun"):
        await netlink.delete_link(link.index)
        removed.append(f"removed the tunnel device {interface}")
    elif link is not None:
        return []  # somebody else's
    if await userspace.wait_until_gone():
        removed.append(f"removed the control socket of {interface}")
    return removed


async def _remove_routes(netlink: Netlink) -> list[str]:
    routes = await netlink.routes()
    errors = [error for error in await netlink.remove_routes(routes) if error is not None]
    if errors:
        raise errors[0]
    return [f"removed {len(routes)} routes"] if routes else []
