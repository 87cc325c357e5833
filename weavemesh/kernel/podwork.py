"""The kernel's part of wiring pods, blocking: makes an attachment, retires it, looks at it. For threads of `pod`.

An attachment is made in three system calls: the pair, the pod's end, the host's end. The alias is written last of all;
without it the attachment is half made. Retiring takes the pod's routes away and marks the host's end, which makes the
address free for another; the devices themselves, which take the kernel 15 ms or more, are then deleted together.
"""

import errno
import os
from collections.abc import Sequence
from contextlib import closing, suppress
from ipaddress import IPv4Address

from msgspec.structs import replace

from weavemesh.kernel import podmessage, podplan
from weavemesh.kernel.netns import visit
from weavemesh.kernel.podlink import NetlinkError, RouteSocket, failure_of
from weavemesh.kernel.podmessage import IPNetwork, Link
from weavemesh.kernel.podmodel import (
    GATEWAY_IPV4,
    GATEWAY_IPV6,
    HOST_MAC,
    RETIRED_GROUP,
    InterfaceExists,
    Order,
    PodAddress,
    PodLink,
    WiredPod,
    WiringFailed,
    host_ifname,
    pod_link_of,
)
from weavemesh.kernel.podplan import Plan, PodSteps
from weavemesh.kernel.sysctl import PROC_SYS

Outcomes = Sequence[NetlinkError | None]

_SYSCTL_IPV6 = PROC_SYS / "net/ipv6/conf"
_ALWAYS = b"2"  # accept_ra
_OFF = b"0"  # disable_ipv6
_SETTING_BYTES_MAX = 64
_NO_IPV6 = (errno.EACCES, errno.EAFNOSUPPORT, errno.EOPNOTSUPP)
"""How the kernel refuses an IPv6 address where IPv6 is switched off, or was never there."""


class NewDevices:
    """The settings of a namespace for devices to come, which a plan depends on: those of the thread that made this.

    They are asked for at every ADD, and so kept open; what is read is what they are now.
    """

    def __init__(self) -> None:
        self._settings = {key: self._open(key) for key in ("disable_ipv6", "accept_ra")}

    @property
    def have_ipv6(self) -> bool:
        """Whether they can have an IPv6 address."""
        return self._read("disable_ipv6") == _OFF

    @property
    def need_more(self) -> bool:
        """Whether netlink messages alone do not make an attachment."""
        return self._read("accept_ra") == _ALWAYS

    def close(self) -> None:
        """Looks no more."""
        while self._settings:
            _, descriptor = self._settings.popitem()
            if descriptor is not None:
                os.close(descriptor)

    def _open(self, key: str) -> int | None:
        try:
            return os.open(f"{_SYSCTL_IPV6}/default/{key}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # a host without IPv6
            return None

    def _read(self, key: str) -> bytes | None:
        descriptor = self._settings[key]
        return None if descriptor is None else os.pread(descriptor, _SETTING_BYTES_MAX, 0).strip()


def attach(order: Order, address: PodAddress) -> WiredPod:
    """Makes the attachment whole or not at all. InterfaceExists; WiringFailed."""
    address = _fit(address)
    with _enter(order) as inside, RouteSocket() as outside:
        try:
            pair = _make_pair(order, address, inside=inside, outside=outside)
        except OSError as error:
            raise WiringFailed(f"cannot {error}") from error
        return _wire(order, address, pair, None, inside=inside, outside=outside)


def undo(ident: str, index: int) -> None:
    """Deletes what was made by a plan with this index, if anything was, and nothing else of that name. WiringFailed."""
    with RouteSocket() as outside:
        try:
            link = outside.link(host_ifname(ident))
            if link is not None and link.index == index:
                outside.perform(podmessage.delete_link(link.name))
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise WiringFailed(f"cannot {error}") from error


def attach_after(failed: Plan, order: Order, address: PodAddress, replies: bytes) -> WiredPod:
    """As `attach`, after a plan that did not succeed, with the replies to it; goes on where only the pod's part failed,
    which is where others have routes or IPv6 is switched off. InterfaceExists; WiringFailed.
    """
    address = _fit(address)
    outcomes = _outcomes_in_pod(failed, order, address, replies)
    if outcomes is not None:
        with _enter(order) as inside, RouteSocket() as outside:
            pair = _look(failed.pod.host_ifname, outside)
            if pair is not None and pair.index == failed.index:
                return _wire(order, address, pair, outcomes, inside=inside, outside=outside)
    undo(order.ident, failed.index)
    return attach(order, address)


def retire(name: str, address: PodAddress | None) -> bool:
    """Ends the attachment whose host's end has this name: nothing is routed to the pod any more, and what it sends from
    its address is dropped (rp_filter).

    The devices are left to `delete_retired`. False if there was none. WiringFailed.
    """
    with RouteSocket() as outside:
        try:
            link = outside.link(name)
            if link is None:
                return False
            routes = [podmessage.remove_host_route(name, link.index, one) for one in (address.all() if address else ())]
            first, *others = outside.attempt(podmessage.set_group(name, RETIRED_GROUP), *routes)
        except OSError as error:
            raise WiringFailed(f"cannot {error}") from error
    for failure in (first, *others):
        if failure and failure.errno not in (errno.ENODEV, errno.ESRCH):
            raise WiringFailed(f"cannot {failure}") from failure
    return first is None


def delete_retired() -> bool:
    """Deletes the devices of all retired attachments; False if there were none. WiringFailed."""
    with RouteSocket() as outside:
        try:
            outside.perform(podmessage.delete_group(RETIRED_GROUP))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return False
            raise WiringFailed(f"cannot {error}") from error
    return True


def detach(name: str) -> bool:
    """Deletes the veth whose host's end has this name, and waits for it; False if there was none. WiringFailed."""
    with RouteSocket() as outside:
        try:
            outside.perform(podmessage.delete_link(name))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return False
            raise WiringFailed(f"cannot {error}") from error
    return True


def check(ident: str, netns_fd: int, ifname: str, address: PodAddress) -> tuple[str, ...]:
    """What is missing of an attachment, as sentences."""
    name = host_ifname(ident)
    try:
        with visit(netns_fd, RouteSocket) as inside, RouteSocket() as outside:
            ours, there = outside.link(name), inside.link(ifname)
            if ours is None or ours.group == RETIRED_GROUP:
                return (f"the host's end {name} is gone",)
            if there is None:
                return (f"the container has no interface {ifname}",)
            if (ours.peer_index, there.peer_index) != (there.index, ours.index):
                return (f"{ifname} in the container is not the other end of {name}",)
            return (*_check_host(ours, address, outside), *_check_pod(there, address, inside))
    except OSError as error:
        return (f"the attachment cannot be looked at: {error}",)


def list_pod_links() -> tuple[PodLink, ...]:
    """All host ends of pods' veths, by name alone. WiringFailed."""
    try:
        with RouteSocket() as outside:
            return tuple(found for link in outside.links() if (found := pod_link_of(link)))
    except OSError as error:
        raise WiringFailed(f"cannot {error}") from error


def _make_pair(order: Order, address: PodAddress, *, inside: RouteSocket, outside: RouteSocket) -> Link:
    """The host's end of the new pair; it has no alias yet, which marks it as half-made."""
    name = host_ifname(order.ident)
    make = podplan.pair_steps(order, name, netns_fd=order.netns_fd, has_ipv6=address.ipv6 is not None)
    outcomes, link = outside.attempt_and_look(*make, name=name)
    if outcomes[0] and outcomes[0].errno == errno.EEXIST:
        _clear_leftover(name, order.ifname, inside=inside, outside=outside)
        outcomes, link = outside.attempt_and_look(*make, name=name)
    _raise_first(outcomes)
    if link is None or link.peer_index is None:
        raise WiringFailed(f"{name} vanished while it was made; was the container's network namespace deleted?")
    return link


def _clear_leftover(name: str, ifname: str, *, inside: RouteSocket, outside: RouteSocket) -> None:
    """What is in the way is cleared if it is half made, is being removed, or is of ours in another namespace."""
    with suppress(NetlinkError):
        outside.perform(podmessage.delete_group(RETIRED_GROUP))
    there, ours = inside.link(ifname), outside.link(name)
    if there is not None:
        half_made = ours is not None and ours.alias is None
        if not (ours and half_made and (ours.peer_index, there.peer_index) == (there.index, ours.index)):
            raise InterfaceExists(ifname)
    with suppress(NetlinkError):  # that it is gone already is as good; anything else shows when it is made again
        outside.perform(podmessage.delete_link(name))


def _wire(
    order: Order,
    address: PodAddress,
    pair: Link,
    outcomes: Outcomes | None,
    *,
    inside: RouteSocket,
    outside: RouteSocket,
) -> WiredPod:
    """Both ends of a new pair; `outcomes` are those of the steps in the pod if they have been taken already."""
    assert pair.peer_index is not None, "a pair has two ends"
    try:
        steps = podplan.pod_steps(order, address, pair.peer_index)
        if outcomes is None:
            outcomes = inside.attempt(*steps.all())
        address, routes = _settle(order, address, pair.peer_index, steps, outcomes, inside)
        _wire_host(order, pair, address, outside)
    except OSError as error:
        with suppress(OSError):
            outside.perform(podmessage.delete_link(pair.name))
        raise WiringFailed(f"cannot set up {order.ifname}: {error}") from error
    return WiredPod(pair.name, HOST_MAC, order.pod_mac, order.mtu, address, routes)


def _settle(
    order: Order, address: PodAddress, index: int, steps: PodSteps, outcomes: Outcomes, inside: RouteSocket
) -> tuple[PodAddress, tuple[IPNetwork, ...]]:
    """Which addresses the pod has now (IPv6 may be switched off there), and what is routed this way.

    Everything goes through the gateway, or, if something else is the default already, what belongs to the mesh.
    """
    ipv6_at = len(steps.first) + len(steps.ipv4)
    routes_at = ipv6_at + len(steps.ipv6)
    _raise_first(outcomes[len(steps.first) : ipv6_at])
    if steps.ipv6 and (refused := outcomes[ipv6_at]) and refused.errno in _NO_IPV6:
        address = replace(address, ipv6=None)
    else:
        _raise_first(outcomes[:routes_at])
    families = {one.version for one in address.all()}
    tried = zip(steps.networks, outcomes[routes_at:], strict=True)
    routed = [one for one, outcome in tried if one.version in families and not _was_there(outcome)]
    lacking = families - {network.version for network in routed}
    mesh = [network for network in order.mesh if network.version in lacking] if lacking else []
    if mesh:
        for outcome in inside.attempt(*(podplan.gateway_route(index, one) for one in mesh)):
            _was_there(outcome)
    return address, (*routed, *mesh)


def _outcomes_in_pod(plan: Plan, order: Order, address: PodAddress, replies: bytes) -> Outcomes | None:
    """How the steps in the pod went; None if they were not all taken, or there is no pair to go on with."""
    pair, pod = plan.pair, plan.rest[0]
    messages = podplan.pod_steps(order, address, plan.index + 1).all()
    failures: list[NetlinkError | None] = [None] * len(messages)
    for kind, _, number, body in podmessage.unpack(replies):
        if kind != podmessage.ERROR:
            continue
        if number <= pair.last:
            if podmessage.decode_failure(body)[0]:
                return None
            continue
        if number > pod.last:
            return None  # it was told of a later batch, and not of this one's end
        place = number - pair.last - 1
        failures[place] = failure_of(messages[place], body)
        if number == pod.last:
            return failures
    return None


def _look(name: str, outside: RouteSocket) -> Link | None:
    try:
        return outside.link(name)
    except OSError as error:
        raise WiringFailed(f"cannot {error}") from error


def _enter(order: Order) -> RouteSocket:
    """A socket in the pod's namespace. WiringFailed."""
    try:
        return visit(order.netns_fd, RouteSocket)
    except OSError as error:
        raise WiringFailed(f"cannot enter the container's network namespace: {error.strerror}") from error


def _was_there(outcome: NetlinkError | None) -> bool:
    """Whether there was such a route already. Any other failure is raised."""
    if outcome and outcome.errno != errno.EEXIST:
        raise outcome
    return outcome is not None


def _wire_host(order: Order, pair: Link, address: PodAddress, outside: RouteSocket) -> None:
    """The host's end; the alias last of all."""
    messages = podplan.host_steps(order, pair.name, pair.index, address)
    if address.ipv6 and _needs_more():
        (_SYSCTL_IPV6 / pair.name / "accept_ra").write_text("0")  # a pod is no router of the host's
    outside.perform(*messages, podplan.alias_step(order, pair.index))


def _check_host(ours: Link, address: PodAddress, outside: RouteSocket) -> list[str]:
    findings = [] if ours.up else [f"{ours.name} is down"]
    return findings + [
        f"the host has no route to {one} by {ours.name}"
        for one in address.all()
        if outside.device_towards(one) != ours.index
    ]


def _check_pod(there: Link, address: PodAddress, inside: RouteSocket) -> list[str]:
    findings = [] if there.up else [f"{there.name} is down"]
    held, routes = inside.addresses(there.index), inside.gateway_routes(there.index)
    for one in address.all():
        gateway = GATEWAY_IPV4 if isinstance(one, IPv4Address) else GATEWAY_IPV6
        if one not in held:
            findings.append(f"{there.name} has no address {one}")
        if gateway not in {via for via, _ in routes}:
            findings.append(f"{there.name} has no default route via {gateway}")
    return findings


def _raise_first(outcomes: Sequence[NetlinkError | None]) -> None:
    for failure in outcomes:
        if failure:
            raise failure


def _fit(address: PodAddress) -> PodAddress:
    """Without IPv6 if a new device of the host can have none."""
    with closing(NewDevices()) as new:
        return address if address.ipv6 is None or new.have_ipv6 else replace(address, ipv6=None)


def _needs_more() -> bool:
    with closing(NewDevices()) as new:
        return new.need_more
