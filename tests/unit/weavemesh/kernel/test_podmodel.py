import pytest
from msgspec.structs import replace

from weavemesh.kernel.podmessage import Link
from weavemesh.kernel.podmodel import RETIRED_GROUP, PodLink, alias_of, host_ifname, pod_link_of, pod_mac

IDENT = "net/c1/eth0"
LINK = Link(index=5, name=host_ifname(IDENT), up=True, mac="ee:ee:ee:ee:ee:ee", mtu=1420, peer_index=2, alias=None)


def test_names_are_the_same_each_time_and_differ_by_ident() -> None:
    assert host_ifname(IDENT) == host_ifname(IDENT) != host_ifname("net/c1/eth1")
    assert len(host_ifname(IDENT)) == 13
    assert pod_mac(IDENT) == pod_mac(IDENT) != pod_mac("net/c1/eth1")
    assert int(pod_mac(IDENT)[:2], 16) & 3 == 2, "locally administered, unicast"


@pytest.mark.parametrize("label", ["", "shop/web", "with spaces in it"])
def test_what_is_written_on_a_link_is_read_again(label: str) -> None:
    link = replace(LINK, alias=alias_of(IDENT, label))
    assert pod_link_of(link) == PodLink(LINK.name, IDENT, label)


def test_a_link_tells_how_far_it_is() -> None:
    assert pod_link_of(LINK) == PodLink(LINK.name, None, "", is_whole=False)
    too_long = replace(LINK, alias=alias_of("x" * 300, "web"))
    assert pod_link_of(too_long) == PodLink(LINK.name, None, "", is_whole=True)
    retired = pod_link_of(replace(LINK, alias=alias_of(IDENT, ""), group=RETIRED_GROUP))
    assert retired and retired.is_retired


def test_other_devices_are_no_pods() -> None:
    assert pod_link_of(replace(LINK, name="eth0")) is None
    assert pod_link_of(replace(LINK, name="wmv0123")) is None
