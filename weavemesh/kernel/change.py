"""Whether a start exchanges the tunnel device of the last one for another kind: a user is to hear of it beforehand."""

from typing import Final

from weavemesh.kernel.netlink import KernelError, Netlink

_KIND: Final = {"kernel": "wireguard", "userspace": "tun"}
_NAME: Final = {kind: datapath for datapath, kind in _KIND.items()}


async def data_path_change(interface: str, datapath: str) -> str | None:
    """What will happen to the pods, if the device that is there is not of this data path; else None."""
    netlink = None
    try:
        netlink = await Netlink.open()
        link = await netlink.link(interface)
    except (OSError, KernelError):
        return None  # the start itself will say what is wrong
    finally:
        if netlink is not None:
            await netlink.close()
    if link is None or datapath not in _KIND or link.kind == _KIND[datapath] or link.kind not in _NAME:
        return None
    return (
        f"{interface} changes from the {_NAME[link.kind]} to the {datapath} data path: "
        "this host's pods are cut off from other hosts for up to 3 s"
    )
