"""WireGuard in the kernel, through generic netlink (Linux include/uapi/linux/wireguard.h).

pyroute2's `AsyncWireGuard` (0.9.7) gives the socket and the encoding of attributes; its `set()` and `info()`
are not used: answers of concurrent `set()` calls can be taken for each other's, and a long dump's later
messages are left to the caller. Here every request has its own sequence number, one peer is changed a
message, allowed IPs are split, and the parts of a dump are joined by public key.
"""

import asyncio
import errno
import socket
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from pyroute2.netlink import NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.generic.wireguard import (
    WG_CMD_GET_DEVICE,
    WG_CMD_SET_DEVICE,
    WG_GENL_VERSION,
    WGPEER_F_REMOVE_ME,
    WGPEER_F_UPDATE_ONLY,
    AsyncWireGuard,
    wgmsg,
)

from weavemesh.kernel.device import DeviceError, DeviceState
from weavemesh.kernel.netlink import KernelError, Netlink
from weavemesh.overlay.diff import SetPeer
from weavemesh.overlay.state import (
    DISCARD_KEY,
    Endpoint,
    IPNetwork,
    ObservedPeer,
    PresharedKey,
    PrivateKey,
    PublicKey,
)

ALLOWED_IPS_PER_MESSAGE: Final = 1000
"""The length of a netlink attribute has 16 bits: 2,000 allowed IPs fit, 3,000 do not."""

_NLM_F_DUMP_INTR: Final = 0x10
_DUMP_ATTEMPTS: Final = 5


class KernelWireGuard:
    """One `wireguard` interface of the namespace in which this was opened."""

    datapath = "kernel"
    link_kind = "wireguard"

    def __init__(self, interface: str, netlink: Netlink) -> None:
        self._interface = interface
        self._netlink = netlink
        self._socket: AsyncWireGuard | None = None
        self._opening = asyncio.Lock()
        self._dumping = asyncio.Lock()

    async def create(self) -> None:
        """See Device."""
        try:
            await self._netlink.add_link(self._interface, kind=self.link_kind)
        except KernelError as error:
            raise DeviceError(error.reason) from error

    async def is_served(self) -> bool:
        """See Device: the kernel itself serves it."""
        return True

    async def read(self) -> DeviceState:
        """See Device. A dump that the kernel calls interrupted is repeated."""
        async with self._dumping:
            for _ in range(_DUMP_ATTEMPTS):
                messages = await self._request(WG_CMD_GET_DEVICE, NLM_F_DUMP, [])
                if not any(message["header"]["flags"] & _NLM_F_DUMP_INTR for message in messages):
                    return _state(messages)
        raise DeviceError("the device changes faster than it can be read")

    async def configure(self, *, private_key: PrivateKey | None, listen_port: int | None) -> None:
        """See Device."""
        attributes: list[list[object]] = []
        if private_key is not None:
            attributes.append(["WGDEVICE_A_PRIVATE_KEY", private_key.text()])
        if listen_port is not None:
            attributes.append(["WGDEVICE_A_LISTEN_PORT", listen_port])
        await self._request(WG_CMD_SET_DEVICE, NLM_F_ACK, attributes)

    async def set_peer(self, change: SetPeer) -> None:
        """See Device."""
        first: list[list[object]] = []
        if change.preshared_key is not None:
            first.append(["WGPEER_A_PRESHARED_KEY", change.preshared_key.text()])
        if change.endpoint is not None:
            address = {"addr": str(change.endpoint.address), "port": change.endpoint.port}
            first.append(["WGPEER_A_ENDPOINT", address])
        flags = WGPEER_F_UPDATE_ONLY if change.exists else 0
        chunks = list(_chunks(change.allowed_ips)) or [()]
        await self._set_peer(change.public_key, flags, first, chunks[0])
        for chunk in chunks[1:]:
            await self._set_peer(change.public_key, WGPEER_F_UPDATE_ONLY, [], chunk)

    async def discard_allowed_ips(self, allowed_ips: tuple[IPNetwork, ...]) -> None:
        """See Device."""
        for chunk in _chunks(allowed_ips):
            await self._set_peer(DISCARD_KEY, 0, [], chunk)
        await self.remove_peer(DISCARD_KEY)

    async def remove_peer(self, public_key: PublicKey) -> None:
        """See Device."""
        await self._set_peer(public_key, WGPEER_F_REMOVE_ME, [], ())

    async def close(self) -> None:
        """See Device."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def _set_peer(
        self, public_key: PublicKey, flags: int, attributes: list[list[object]], chunk: Iterable[IPNetwork]
    ) -> None:
        peer = [["WGPEER_A_PUBLIC_KEY", public_key.text()], ["WGPEER_A_FLAGS", flags], *attributes]
        if allowed_ips := [{"attrs": _allowed_ip(network)} for network in chunk]:
            peer.append(["WGPEER_A_ALLOWEDIPS", allowed_ips])
        await self._request(WG_CMD_SET_DEVICE, NLM_F_ACK, [["WGDEVICE_A_PEERS", [{"attrs": peer}]]])

    async def _request(self, command: int, flags: int, attributes: list[list[object]]) -> list[wgmsg]:
        message = wgmsg()
        message["cmd"] = command
        message["version"] = WG_GENL_VERSION
        message["attrs"] = [["WGDEVICE_A_IFNAME", self._interface], *attributes]
        try:
            opened = await self._open()
            answers = await opened.nlm_request(message, msg_type=opened.prid, msg_flags=NLM_F_REQUEST | flags)
            return [answer async for answer in answers]
        except NetlinkError as error:
            raise DeviceError(_reason(error)) from error

    async def _open(self) -> AsyncWireGuard:
        async with self._opening:
            if self._socket is None:
                opened = AsyncWireGuard(ext_ack=True)
                try:
                    await opened.setup_endpoint()
                except NetlinkError:
                    opened.close()
                    raise
                self._socket = opened
            return self._socket


def _reason(error: NetlinkError) -> str:
    if error.code == errno.EADDRINUSE:
        return "the UDP port is taken by another program"
    return str(error.args[1])


def _chunks(networks: tuple[IPNetwork, ...]) -> Iterator[tuple[IPNetwork, ...]]:
    for start in range(0, len(networks), ALLOWED_IPS_PER_MESSAGE):
        yield networks[start : start + ALLOWED_IPS_PER_MESSAGE]


def _allowed_ip(network: IPNetwork) -> list[list[object]]:
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    return [
        ["WGALLOWEDIP_A_FAMILY", family],
        ["WGALLOWEDIP_A_IPADDR", network.network_address.packed],
        ["WGALLOWEDIP_A_CIDR_MASK", network.prefixlen],
    ]


def _state(messages: list[wgmsg]) -> DeviceState:
    private_key: PrivateKey | None = None
    listen_port = 0
    parts: dict[PublicKey, list[wgmsg]] = {}
    for message in messages:
        if raw := message.get_attr("WGDEVICE_A_PRIVATE_KEY"):
            private_key = PrivateKey.from_text(raw.decode("ascii"))
        listen_port = message.get_attr("WGDEVICE_A_LISTEN_PORT") or listen_port
        for part in message.get_attr("WGDEVICE_A_PEERS") or ():
            key = PublicKey.from_text(part.get_attr("WGPEER_A_PUBLIC_KEY").decode("ascii"))
            parts.setdefault(key, []).append(part)
    return DeviceState(private_key, listen_port, tuple(_peer(key, found) for key, found in parts.items()))


def _peer(key: PublicKey, parts: list[wgmsg]) -> ObservedPeer:
    """One peer from its parts: the first has everything but perhaps the rest of the allowed IPs."""
    first = parts[0]
    secret = first.get_attr("WGPEER_A_PRESHARED_KEY")
    preshared_key = PresharedKey.from_text(secret.decode("ascii")) if secret else None
    endpoint = first.get_attr("WGPEER_A_ENDPOINT")
    handshake = first.get_attr("WGPEER_A_LAST_HANDSHAKE_TIME")
    return ObservedPeer(
        public_key=key,
        preshared_key=preshared_key if preshared_key and any(bytes(preshared_key)) else None,
        endpoint=Endpoint(ip_address(endpoint["addr"]), endpoint["port"]) if endpoint else None,
        allowed_ips=tuple(
            _network(allowed) for part in parts for allowed in part.get_attr("WGPEER_A_ALLOWEDIPS") or ()
        ),
        last_handshake=handshake["tv_sec"] + handshake["tv_nsec"] / 1e9 if handshake["tv_sec"] else None,
        rx_bytes=int(first.get_attr("WGPEER_A_RX_BYTES")),
        tx_bytes=int(first.get_attr("WGPEER_A_TX_BYTES")),
    )


def _network(allowed: wgmsg) -> IPv4Network | IPv6Network:
    return ip_network(allowed["addr"])
