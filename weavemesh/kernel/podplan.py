"""Which netlink messages make an attachment, in batches that depend on nobody's reply. Pure.

A plan can be handed to whoever is there already, the CNI executable, which needs to understand none of it: both ends'
indexes are chosen beforehand. The pair comes first, for it takes the kernel longest and needs no address. On the host a
plan replaces nothing: a player that was stopped for long and goes on can take no route from a pod that has the address
by then, and none of the later batches finds a device when the first one's was deleted. The alias is the last batch.
What does not go by the plan is for `weavemesh.kernel.podwork`, which takes the same messages one step after the other.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from itertools import islice
from typing import Protocol

from msgspec import Struct

from weavemesh.kernel import podmessage
from weavemesh.kernel.podmessage import ACKNOWLEDGE, IPNetwork, Message, Peer
from weavemesh.kernel.podmodel import (
    EVERYWHERE,
    GATEWAY_IPV4,
    GATEWAY_IPV6,
    HOST_MAC,
    Order,
    PodAddress,
    WiredPod,
    alias_of,
    gateway_of,
    host_ifname,
)

INDEX_MIN, INDEX_MAX = 1 << 20, 1 << 30
"""Of the ends of a planned pair: far above those that the kernel gives out by itself, which begin at 1."""

_HOST_IPV4 = {
    podmessage.DEVCONF_FORWARDING: 1,
    podmessage.DEVCONF_ACCEPT_REDIRECTS: 0,
    # Strict: a pod can send only from the address that is routed to it.
    podmessage.DEVCONF_RP_FILTER: 1,
}
# Stand in a template for what is another pod's. Nothing else in it has these bytes: no name of a device has a slash,
# no text these high bytes side by side, other numbers are small, and no mesh is in these networks.
_NAME = b"wm/host's/end"
_MAC = bytes.fromhex("f1f2f3f4f5f6")
_INDEX = bytes.fromhex("7ef8f97e")
_POD_INDEX = (int.from_bytes(_INDEX, sys.byteorder) + 1).to_bytes(4, sys.byteorder)
_IPV4, _IPV6 = bytes.fromhex("fbfcfdfe"), bytes.fromhex("fbfcfdfe" * 4)
_MARKS = re.compile(b"(" + b"|".join(map(re.escape, (_NAME, _MAC, _INDEX, _POD_INDEX, _IPV6, _IPV4))) + b")")


class Batch(Struct, frozen=True):
    """Messages for one system call; the kernel tells how the last one went, and unasked of those that failed."""

    is_inside: bool
    """Whether they are for the pod's namespace, not for the host's."""
    last: int
    """The number of the last message."""
    packed: bytes


class Outcome(Struct, frozen=True):
    """How a plan went."""

    failure: int
    """The errno that ended it; 0: all is done."""
    replies: bytes
    """The kernel's, in order; they end with the first batch of which anything failed."""


class Player(Protocol):
    """Somebody in the host's network namespace who has the pod's open and sends what it is given."""

    netns_fd: int
    """Under which number it has the pod's namespace."""

    def send(self, batches: Sequence[Batch]) -> None:
        """Has it play these after those before, as long as nothing has failed; returns at once."""

    async def end(self, answer: bytes) -> Outcome:
        """There is nothing more to play. How it went; if all went well, the answer has been given to who waits for it.

        Cancelled: ends when the player sends nothing more, and then only if the answer has not been given.
        """

    async def stop(self) -> None:
        """Ends when the player sends nothing more, without an answer."""


class Plan(Struct, frozen=True):
    """An attachment to be made in one go."""

    pod: WiredPod
    """What it is when all is done."""
    index: int
    """Of the host's end; the pod's has the next one."""
    pair: Batch
    rest: tuple[Batch, ...]


class Draft(Struct, frozen=True):
    """A plan as far as it goes before there is an address."""

    order: Order
    name: str
    mac: str
    index: int
    """Of the host's end; the pod's has the next one."""
    has_ipv6: bool
    pair: Batch
    values: Mapping[bytes, bytes]
    """What stands in the templates' place of marks."""


class PodSteps(Struct, frozen=True):
    """What is done in the pod's namespace, in this order."""

    first: tuple[Message, ...]
    """Before the device comes up: that no link-local address is made up for it."""
    ipv4: tuple[Message, ...]
    ipv6: tuple[Message, ...]
    """Empty without an IPv6 address; refused where IPv6 is switched off."""
    routes: tuple[Message, ...]
    """EEXIST: the pod has another such route, and keeps it."""
    networks: tuple[IPNetwork, ...]
    """Where these lead."""

    def all(self) -> tuple[Message, ...]:
        """Everything."""
        return (*self.first, *self.ipv4, *self.ipv6, *self.routes)


def draft(order: Order, *, index: int, netns_fd: int, has_ipv6: bool) -> Draft:
    """How a plan begins, if nothing is in the way. `has_ipv6`: whether new devices of the host have.

    `netns_fd` is the number of the pod's namespace at the player, `index` an even number for the host's end.
    """
    name, mac = host_ifname(order.ident), order.pod_mac
    values = {
        _NAME: name.encode(),
        _MAC: podmessage.pack_mac(mac),
        _INDEX: index.to_bytes(4, sys.byteorder),
        _POD_INDEX: (index + 1).to_bytes(4, sys.byteorder),
    }
    pair = _fill(_pair_template(order.ifname, order.mtu, netns_fd, has_ipv6=has_ipv6), values)
    return Draft(order, name, mac, index, has_ipv6, pair, values)


def plan(draft: Draft, address: PodAddress) -> Plan:
    """How it goes on; without the IPv6 address if the host has no use for it."""
    order, ipv6 = draft.order, address.ipv6 if draft.has_ipv6 else None
    address = PodAddress(address.ipv4, ipv6)
    routes = _networks(order, address)
    values = {**draft.values, _IPV4: address.ipv4.packed, _IPV6: ipv6.packed if ipv6 else b""}
    # A default is the same for all: networks are slow to be hashed.
    templates = _template(
        order.ifname, None if order.is_default else routes, draft.pair.last, has_ipv6=ipv6 is not None
    )
    made = [_fill(one, values) for one in templates]
    last = made[-1].last + 1
    alias = podmessage.pack(alias_step(order, draft.index), last, flags=ACKNOWLEDGE)
    pod = WiredPod(draft.name, HOST_MAC, draft.mac, order.mtu, address, routes)
    return Plan(pod, draft.index, draft.pair, (*made, Batch(False, last, alias)))


class _Template(Struct, frozen=True):
    """A batch in parts, with marks in place of what is another pod's.

    For packing it anew takes longer than the kernel takes for most of them.
    """

    is_inside: bool
    last: int
    parts: list[bytes]


def _fill(template: _Template, values: Mapping[bytes, bytes]) -> Batch:
    packed = b"".join([values.get(part, part) for part in template.parts])
    return Batch(template.is_inside, template.last, packed)


@lru_cache
def _pair_template(ifname: str, mtu: int, netns_fd: int, *, has_ipv6: bool) -> _Template:
    order = Order("", -1, ifname, mtu, mac=_MAC.hex(":"))
    index = int.from_bytes(_INDEX, sys.byteorder)
    steps = pair_steps(order, _NAME.decode(), netns_fd=netns_fd, index=index, has_ipv6=has_ipv6)
    return _split(((False, steps),))[0]


@lru_cache
def _template(
    ifname: str, routes: tuple[IPNetwork, ...] | None, count: int, *, has_ipv6: bool
) -> tuple[_Template, ...]:
    """What comes between the pair, which has so many messages, and the alias. `routes`: None for a default."""
    index = int.from_bytes(_INDEX, sys.byteorder)
    address = PodAddress(IPv4Address(_IPV4), IPv6Address(_IPV6) if has_ipv6 else None)
    order = Order("", -1, ifname, 0, mac=_MAC.hex(":"), is_default=routes is None, mesh=routes or ())
    steps = (
        (True, pod_steps(order, address, index + 1).all()),
        (False, host_steps(order, _NAME.decode(), index, address, replaces=False)),
    )
    return _split(steps, count)


def _split(steps: Sequence[tuple[bool, Sequence[Message]]], count: int = 0) -> tuple[_Template, ...]:
    return tuple(_Template(one.is_inside, one.last, _MARKS.split(one.packed)) for one in _pack(steps, count))


def pair_steps(order: Order, name: str, *, netns_fd: int, has_ipv6: bool, index: int = 0) -> tuple[Message, ...]:
    """The pair; it has no alias yet, which marks it as half made. Index 0: the kernel chooses both ends'."""
    peer = Peer(name=order.ifname, mac=order.pod_mac, netns_fd=netns_fd, index=index and index + 1)
    return (
        podmessage.add_veth(name, mac=HOST_MAC, mtu=order.mtu, peer=peer, index=index),
        # Before the pod's end is up: then a link-local address would be made up for this one.
        podmessage.configure_link(name, ipv4=_HOST_IPV4, ipv6=has_ipv6),
    )


def pod_steps(order: Order, address: PodAddress, index: int) -> PodSteps:
    """The pod's end comes up, with its addresses, its gateways, and what is routed this way."""
    networks = _networks(order, address)
    first, ipv6 = ((), ()) if address.ipv6 is None else _ipv6_steps(order.ifname, index, address.ipv6)
    routes = tuple(gateway_route(index, network) for network in networks)
    return PodSteps(first, _ipv4_steps(index, address.ipv4), ipv6, routes, networks)


def gateway_route(index: int, network: IPNetwork) -> Message:
    """What the pod sends to the network goes by us."""
    return podmessage.add_gateway_route(index, network, gateway_of(network.version))


def host_steps(
    order: Order, name: str, index: int, address: PodAddress, *, replaces: bool = True
) -> tuple[Message, ...]:
    """How the host reaches the pod; without `replaces` nothing that leads elsewhere is touched (EEXIST)."""
    # Asking makes the kernel see at once that the pod's end is up, and not when its deferred work gets to it.
    messages = [podmessage.get_link(name)]
    for one in address.all():
        messages.append(podmessage.add_host_route(index, one, replaces=replaces))
        messages.append(podmessage.add_neighbour(index, one, order.pod_mac))
    return tuple(messages)


def alias_step(order: Order, index: int) -> Message:
    """The last of all, for it says that the attachment is whole."""
    return podmessage.set_alias(index, alias_of(order.ident, order.label))


def _networks(order: Order, address: PodAddress) -> tuple[IPNetwork, ...]:
    networks = EVERYWHERE if order.is_default else order.mesh
    return networks if address.ipv6 is not None else tuple(one for one in networks if one.version == 4)


def _ipv4_steps(index: int, address: IPv4Address) -> tuple[Message, ...]:
    return (
        podmessage.set_up(podmessage.LOOPBACK_INDEX),
        podmessage.set_up(index),
        podmessage.add_address(index, IPv4Interface(address)),
        podmessage.add_host_route(index, GATEWAY_IPV4),
        podmessage.add_neighbour(index, GATEWAY_IPV4, HOST_MAC),
    )


def _ipv6_steps(ifname: str, index: int, address: IPv6Address) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    return (podmessage.configure_link(ifname, ipv4={}, ipv6=True),), (
        podmessage.add_address(index, IPv6Interface(address)),
        # The kernel makes the local route itself, but in deferred work, and until then the pod takes no answers.
        podmessage.add_local_route(address, index),
        podmessage.add_neighbour(index, GATEWAY_IPV6, HOST_MAC),
    )


def _pack(batches: Sequence[tuple[bool, Sequence[Message]]], count: int) -> tuple[Batch, ...]:
    """Numbered through all of them, after so many before, so that a reply tells its batch."""
    packed = []
    for is_inside, messages in batches:
        last = count + len(messages)
        rest = [
            podmessage.pack(one, count + 1 + i, flags=0) for i, one in enumerate(islice(messages, len(messages) - 1))
        ]
        packed.append(Batch(is_inside, last, b"".join((*rest, podmessage.pack(messages[-1], last, flags=ACKNOWLEDGE)))))
        count = last
    return tuple(packed)
