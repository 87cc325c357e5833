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
    mtu=st.integers(1280, 65535),
    label=st.text(max_size=50),
    mac=st.none() | st.just("02:00:00:00:00:07"),
    is_default=st.booleans(),
    mesh=st.just(MESH) | st.just(()),
)
indexes = st.integers(INDEX_MIN // 2, INDEX_MAX // 2 - 1).map(lambda half: 2 * half)
ORDER = Order("net/c1/eth0", -1, "eth0", 1380)
ADDRESS = PodAddress(IPv4Address("10.32.0.5"), IPv6Address("fd57::a20:5"))


def packed(messages: tuple[podmessage.Message, ...], first: int) -> bytes:
    """As one batch: only the last one's success is told."""
    flags = [0] * (len(messages) - 1) + [podmessage.ACKNOWLEDGE]
    return b"".join(podmessage.pack(one, first + i, flags=flags[i]) for i, one in enumerate(messages))


@given(order=orders, address=addresses, index=indexes, netns_fd=st.integers(0, 1000), has_ipv6=st.booleans())
def test_a_plan_has_the_same_bytes_as_its_messages(
    *, order: Order, address: PodAddress, index: int, netns_fd: int, has_ipv6: bool
) -> None:
    plan = podplan.plan(podplan.draft(order, index=index, netns_fd=netns_fd, has_ipv6=has_ipv6), address)
    if not has_ipv6:
        address = PodAddress(address.ipv4, None)
    name = host_ifname(order.ident)
    batches = (
        podplan.pair_steps(order, name, netns_fd=netns_fd, has_ipv6=has_ipv6, index=index),
        podplan.pod_steps(order, address, index + 1).all(),
        podplan.host_steps(order, name, index, address, replaces=False),
        (podplan.alias_step(order, index),),
    )
    first = 1
    for batch, messages in zip((plan.pair, *plan.rest), batches, strict=True):
        assert batch.packed == packed(messages, first)
        first += len(messages)
        assert batch.last == first - 1
    assert (plan.pod.host_ifname, plan.pod.mac, plan.pod.address) == (name, order.pod_mac, address)


def test_on_the_host_a_plan_replaces_no_route() -> None:
    steps = podplan.host_steps(ORDER, "wmv", INDEX_MIN, ADDRESS, replaces=False)
    routes = [one for one in steps if one.what.startswith("route")]
    assert len(routes) == 2 and not any(one.flags & REPLACE for one in routes)


def test_a_plan_says_what_the_pod_will_be() -> None:
    plan = podplan.plan(podplan.draft(ORDER, index=INDEX_MIN, netns_fd=3, has_ipv6=True), ADDRESS)
    assert [batch.is_inside for batch in (plan.pair, *plan.rest)] == [False, True, False, False]
    assert plan.pod.routes is EVERYWHERE


def test_without_ipv6_nothing_of_it_is_made() -> None:
    steps = podplan.pod_steps(ORDER, PodAddress(ADDRESS.ipv4, None), 7)
    assert (steps.first, steps.ipv6, steps.networks) == ((), (), EVERYWHERE[:1])
