"""What a peer says of itself to all others: where to reach it and with which WireGuard key.

Opaque to `gossip`, which carries it signed. MessagePack map; fields that this release does not know are skipped when
read, and are not lost on the way because gossip hands on the signed bytes as they came.
"""

import ipaddress
from typing import Annotated, Final, Self

import msgspec

from gossip import SUMMARY_BYTES_MAX
from weavemesh.overlay.state import KEY_BYTES, Endpoint, PublicKey

ENDPOINTS_MAX: Final = 32
"""Hosts with more addresses than this exist (virtual ones); a path needs only the first few."""

SECRETS_MAX: Final = 8
"""One, and two more while it is being exchanged."""

NODE_CHARACTERS_MAX: Final = 320
"""A uid of 36 characters and the name of a node, which is a DNS name of up to 253."""

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Word = Annotated[str, msgspec.Meta(max_length=64)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class SummaryInvalid(ValueError):
    """A peer's summary cannot be believed: not MessagePack, a field is missing, or a value is out of its limits."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One peer in its own words."""

    nickname: Name
    """For people: the host's name."""
    version: Word
    """Release of weavemesh that it runs."""
    wireguard_public_key: Annotated[bytes, msgspec.Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)]
    port: Port
    """TCP port on which it accepts links and UDP port of its WireGuard device: one number for both."""
    advertised: Annotated[tuple[Word, ...], msgspec.Meta(max_length=ENDPOINTS_MAX)]
    """Where its user says that it can be reached, best first: `192.0.2.1:6783` or `[2001:db8::1]:6783`."""
    endpoints: Annotated[tuple[Word, ...], msgspec.Meta(max_length=ENDPOINTS_MAX)]
    """The same of the host's own addresses, the most likely first."""
    overlay_ipv4: Word | None
    """Its own address in the mesh; None until it has one."""
    datapath: Word
    """Which WireGuard carries its tunnels: `kernel` or `userspace (wireguard-go)`."""
    mtu: Annotated[int, msgspec.Meta(ge=0, le=65535)]
    """Bytes of an inner packet that its device takes."""
    started_at: Annotated[float, msgspec.Meta(ge=0)]
    """When its agent started, Unix time in seconds, by its own clock."""
    secrets: Annotated[tuple[Word, ...], msgspec.Meta(max_length=SECRETS_MAX)] = ()
    """Fingerprints of the cluster secrets that it accepts, the one that it shows first; empty before release 0.2."""

    seen_as: Annotated[tuple[Word, ...], msgspec.Meta(max_length=ENDPOINTS_MAX)] = ()
    """Where others see its WireGuard packets come from."""
    relay_ports: tuple[Port, Port] | None = None
    """UDP ports, the first and the last, at which it forwards for others; None if it does not."""

    node: Annotated[str, msgspec.Meta(max_length=NODE_CHARACTERS_MAX)] | None = None
    """Cluster and node of Kubernetes that it runs on: `uid/name`; None elsewhere."""

    @classmethod
    def decode(cls, content: bytes) -> Self:
        """Read what `encode` wrote, in this release or a later one. SummaryInvalid if it cannot be."""
        if len(content) > SUMMARY_BYTES_MAX:
            raise SummaryInvalid(f"it has {len(content)} bytes, more than {SUMMARY_BYTES_MAX}")
        try:
            summary = msgspec.msgpack.decode(content, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise SummaryInvalid(str(error)) from error
        for field in ("nickname", "version", "datapath", "node"):
            # These are printed on terminals: an escape sequence must not get there.
            if not (getattr(summary, field) or "").isprintable():
                raise SummaryInvalid(f"{field} contains control characters")
        if not all(word.isascii() and word.isalnum() for word in summary.secrets):
            raise SummaryInvalid("secrets are no fingerprints")
        try:
            summary.advertised_endpoints()
            summary.own_endpoints()
            summary.seen_endpoints()
            if summary.overlay_ipv4 is not None:
                ipaddress.IPv4Address(summary.overlay_ipv4)
        except ValueError as error:
            raise SummaryInvalid(str(error)) from error
        return summary

    def encode(self) -> bytes:
        """As MessagePack, a map by field names."""
        return msgspec.msgpack.encode(self)

    def public_key(self) -> PublicKey:
        """Its WireGuard key."""
        return PublicKey(self.wireguard_public_key)

    def advertised_endpoints(self) -> tuple[Endpoint, ...]:
        """`advertised` as values, in the same order."""
        return tuple(endpoint_of(text) for text in self.advertised)

    def own_endpoints(self) -> tuple[Endpoint, ...]:
        """`endpoints` as values, in the same order."""
        return tuple(endpoint_of(text) for text in self.endpoints)

    def seen_endpoints(self) -> tuple[Endpoint, ...]:
        """`seen_as` as values, in the same order."""
        return tuple(endpoint_of(text) for text in self.seen_as)

    def relaying(self) -> range:
        """`relay_ports` as a range; empty if it does not forward."""
        return range(0) if self.relay_ports is None else range(self.relay_ports[0], self.relay_ports[1] + 1)


def endpoint_of(text: str) -> Endpoint:
    """The endpoint written like this; ValueError for anything else."""
    host, colon, port = text.rpartition(":")
    if not (colon and port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise ValueError(f"{text!r} is no address with a port")
    return Endpoint(ipaddress.ip_address(host[1:-1] if host.startswith("[") else host), int(port))
