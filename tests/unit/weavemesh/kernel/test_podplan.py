import struct
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from hypothesis import given
from hypothesis import strategies as st

from weavemesh.kernel import podmessage, podplan
from weavemesh.kernel.podmodel import EVERYWHERE, Order, PodAddress, host_ifname
from weavemesh.kernel.podplan import INDEX_MAX, INDEX_MIN

MESH = (IPv4Network("10.32.0.0/12"), IPv6Network("fd57::a20:0/108"))
CREATE, REPLACE = 0x400, 0x100

ifnames = st.from_regex(r"[a-zA-Z0-9._~-]{1,15}", fullmatch=True).filter(lambda name: name not in (".", ".."))
addresses = st.builds(PodAddress, st.ip_addresses(v=4), st.none() | st.ip_addresses(v=6))
orders = st.builds(
    Order,
    ident=st.text(min_size=1, max_size=300),
    netns_fd=st.just(-1),
    ifname=ifnames,
    address=addresses,
    mtu=st.integers(1280, 65535),
    label=st.text(max_size=50),
    mac=st.none() | st.just("02:00:00:00:00:07"),
    is_default=st.booleans(),
    mesh=st.just(MESH) | st.just(()),
)
indexes = st.integers(INDEX_MIN // 2, INDEX_MAX // 2 - 1).map(lambda half: 2 * half)
ORDER = Order("net/c1/eth0", -1, "eth0", PodAddress(IPv4Address("10.32.0.5"), IPv6Address("fd57::a20:5")), 1380)


def packed(messages: tuple[podmessage.Message, ...], first: int) -> bytes:
    """As one batch: only the last one's success is told."""
    flags = [0] * (len(messages) - 1) + [podmessage.ACKNOWLEDGE]
    return b"".join(podmessage.pack(one, first + i, flags=flags[i]) for i, one in enumerate(messages))


def reply(number: int, *, code: int = 0) -> bytes:
    body = struct.pack("=i", -code) + bytes(16)
    return podmessage.HEADER.pack(16 + len(body), podmessage.ERROR, 0, number, 0) + body


@given(order=orders, index=indexes, netns_fd=st.integers(0, 1000))
def test_a_plan_has_the_same_bytes_as_its_messages(order: Order, index: int, netns_fd: int) -> None:
    name = host_ifname(order.ident)
    batches = (
        podplan.pair_steps(order, name, netns_fd=netns_fd, index=index),
        podplan.pod_steps(order, index + 1).all(),
        podplan.host_steps(order, name, index, order.address, replaces=False),
        (podplan.alias_step(order, index),),
    )
    first = 1
    for batch, messages in zip(podplan.plan(order, index=index, netns_fd=netns_fd).batches, batches, strict=True):
        assert batch.packed == packed(messages, first)
        first += len(messages)
        assert batch.last == first - 1


def test_on_the_host_a_plan_replaces_no_route() -> None:
    steps = podplan.host_steps(ORDER, "wmv", INDEX_MIN, ORDER.address, replaces=False)
    routes = [one for one in steps if one.what.startswith("route")]
    assert len(routes) == 2 and not any(one.flags & REPLACE for one in routes)
    assert podplan.plan(ORDER, index=INDEX_MIN, netns_fd=3).pod.routes == EVERYWHERE


def test_a_plan_is_done_when_its_last_message_is_and_nothing_failed() -> None:
    plan = podplan.plan(ORDER, index=INDEX_MIN, netns_fd=3)
    lasts = [batch.last for batch in plan.batches]
    assert [batch.is_inside for batch in plan.batches] == [False, True, False, False]
    replies = [reply(last) for last in lasts]
    assert plan.is_done_by(b"".join(replies))
    assert not any(plan.is_done_by(b"".join(replies[:count])) for count in range(len(replies)))
    assert not plan.is_done_by(reply(lasts[0] + 1, code=17) + b"".join(replies))


@given(garbage=st.binary(max_size=200))
def test_garbage_is_no_success(garbage: bytes) -> None:
    plan = podplan.plan(ORDER, index=INDEX_MIN, netns_fd=3)
    if reply(plan.batches[-1].last)[16:20] not in garbage:
        assert not plan.is_done_by(garbage)


def test_without_ipv6_nothing_of_it_is_made() -> None:
    order = Order("net/c1/eth0", -1, "eth0", PodAddress(ORDER.address.ipv4, None), 1380)
    steps = podplan.pod_steps(order, 7)
    assert (steps.first, steps.ipv6, steps.networks) == ((), (), EVERYWHERE[:1])
