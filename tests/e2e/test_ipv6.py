"""Hosts between which there is IPv6 only: pods talk in both families, also with hosts that have IPv4 only."""

import pytest

from deploy.demo.lab import Lab, Machine, wait_until
from tests.e2e.conftest import SECRET_FILE
from tests.e2e.nat_lab import mtu_of, path_of
from weavemesh.secret import ClusterSecret

pytestmark = pytest.mark.timeout(120)


def equip(*machines: Machine) -> None:
    """All have one secret."""
    secret = ClusterSecret.generate().text()
    for machine in machines:
        machine.write_file(SECRET_FILE, secret)


def peer_of(machine: Machine, other: Machine) -> dict[str, object]:
    (peer,) = [peer for peer in machine.status()["peers"] if peer["nickname"] == other.name]
    assert isinstance(peer, dict)
    return peer


def test_over_ipv6_alone_pods_talk_in_both_families(lab: Lab) -> None:
    one, other = lab.machine("one"), lab.machine("other")
    lab.wire(one, "eth0=2001:db8:1::1/64", other, "eth0=2001:db8:1::2/64")
    equip(one, other)
    one.weavemesh("up")
    other.weavemesh("up", "2001:db8:1::1")
    assert "IPv4" not in one.ip("-4", "-o", "address", "show", "dev", "eth0")
    wait_until(
        lambda: path_of(one, other) == path_of(other, one) == ("direct", "live"), seconds=20, what="a direct path"
    )
    a, b = one.add_pod("a"), other.add_pod("b")
    assert a.answers(str(b.ipv4)) and a.answers(str(b.ipv6))
    assert b.answers(str(a.ipv4)) and b.answers(str(a.ipv6))
    assert peer_of(one, other)["endpoint"] == "[2001:db8:1::2]:6783"
    wait_until(lambda: mtu_of(one, other) == (1420, True), seconds=10, what="the MTU")
    shown = one.weavemesh("status", "connections").stdout
    assert "[2001:db8:1::2]:6783" in shown and "direct" in shown
    assert "to [2001:db8:1::2]:6783" in one.weavemesh("why", "other").stdout
    assert "1420 octets" in one.weavemesh("ping", "other", "--mtu").stdout
    assert one.weavemesh("status").returncode == 0


def test_a_host_with_ipv4_alone_and_one_with_ipv6_alone_meet_at_a_relay_that_has_both(lab: Lab) -> None:
    hub, four, six = lab.machine("hub"), lab.machine("four"), lab.machine("six")
    lab.wire(four, "eth0=192.0.2.4/24", hub, "eth0=192.0.2.1/24")
    lab.wire(six, "eth0=2001:db8:1::6/64", hub, "eth1=2001:db8:1::1/64")
    equip(hub, four, six)
    hub.weavemesh("up")
    four.weavemesh("up", "192.0.2.1")
    six.weavemesh("up", "2001:db8:1::1")
    wait_until(
        lambda: path_of(four, six) == path_of(six, four) == ("hub", "live"), seconds=20, what="a path over the hub"
    )
    a, b = four.add_pod("a"), six.add_pod("b")
    assert a.answers(str(b.ipv4)) and b.answers(str(a.ipv6))
    assert "over IPv6 only, which this host has not" in four.weavemesh("why", "six").stdout
    (pair,) = hub.status()["router"]["relayed"]
    assert pair["packets"] > 0 and pair["octets"] > 0
    wait_until(lambda: mtu_of(four, six) == mtu_of(six, four) == (1420, True), seconds=20, what="the MTU over both")
    assert four.weavemesh("status").returncode == six.weavemesh("status").returncode == 0
