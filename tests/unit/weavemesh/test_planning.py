"""Where a peer may be reached, and in which order it is tried; strange summaries do no harm."""

import doctest
from ipaddress import IPv4Address, IPv6Address

from gossip import LinkId, LinkView, PeerName, PeerView, Target
from weavemesh import planning
from weavemesh.identity import Identity
from weavemesh.overlay.plan import PlannedPeer
from weavemesh.overlay.state import Endpoint, PublicKey
from weavemesh.planning import (
    DIAL_ADDRESSES_MAX,
    dial_addresses,
    planned_peer,
    summary_of,
    with_nicknames,
)
from weavemesh.secret import ClusterSecret
from weavemesh.summary import Summary
from weavemesh.trust import Secrets

OURS, THEIRS = Identity.generate(nickname="ours"), Identity.generate(nickname="theirs")
SECRET = ClusterSecret.generate()


def summary(
    *, advertised: tuple[str, ...] = (), endpoints: tuple[str, ...] = (), overlay_ipv4: str | None = "10.40.0.1"
) -> Summary:
    return Summary(
        nickname="theirs",
        version="0.1.0",
        wireguard_public_key=bytes(THEIRS.wireguard_public_key),
        port=6783,
        advertised=advertised,
        endpoints=endpoints,
        overlay_ipv4=overlay_ipv4,
        datapath="kernel",
        mtu=1420,
        started_at=1_700_000_000.0,
    )


def view(said: bytes | None, *, hops: int | None = 1, link_address: str | None = None) -> PeerView:
    linked = None
    if link_address is not None:
        linked = LinkView(
            link=LinkId(1),
            peer=THEIRS.name,
            address=link_address,
            outbound=False,
            established=True,
            wire=1,
            features=(),
            in_doubt=False,
            rtt_s=None,
            opened_at=0.0,
            last_heard=0.0,
        )
    return PeerView(
        name=OURS.name if hops == 0 else THEIRS.name,
        summary=said,
        epoch=1,
        version=1,
        reachable=True,
        hops=hops,
        next_hop=None,
        linked=linked,
        last_heard=None,
        links=(),
        reports=(),
        dial_failure=None,
    )


def planned(one: PeerView) -> PlannedPeer:
    said = summary_of(one)
    assert said is not None
    return planned_peer(one, said, own_key=OURS.wireguard_public_key, secrets=Secrets(SECRET), chosen=None)


def endpoints_of(one: PeerView) -> list[str]:
    return [endpoint.text() for endpoint in planned(one).endpoints]


def test_what_the_user_advertises_comes_first_then_the_link_then_its_own_addresses() -> None:
    said = summary(advertised=("203.0.113.9:7000",), endpoints=("10.0.0.5:6783", "[2001:db8::5]:6783"))
    assert endpoints_of(view(said.encode(), link_address="198.51.100.7:40112")) == [
        "203.0.113.9:7000",
        "198.51.100.7:6783",
        "10.0.0.5:6783",
        "[2001:db8::5]:6783",
    ]


def test_a_link_over_ipv6_leads_to_an_ipv6_endpoint() -> None:
    assert endpoints_of(view(summary().encode(), link_address="[2001:db8::7]:40112")) == ["[2001:db8::7]:6783"]


def test_both_sides_derive_the_same_preshared_key() -> None:
    theirs = planned(view(summary().encode()))
    assert theirs.public_key == PublicKey(bytes(THEIRS.wireguard_public_key))
    assert theirs.preshared_key == SECRET.preshared_key(THEIRS.wireguard_public_key, OURS.wireguard_public_key)


def test_of_strange_summaries_nothing_is_understood() -> None:
    assert [summary_of(view(said)) for said in (None, b"\xc1garbage")] == [None, None]


def test_a_peer_is_dialled_where_it_is_advertised_then_at_its_own_addresses() -> None:
    name = PeerName("x")
    both = summary(advertised=("203.0.113.9:7000",), endpoints=("10.0.0.5:6783", "203.0.113.9:7000")).encode()
    assert dial_addresses(name, both) == (Target("203.0.113.9:7000"), Target("10.0.0.5:6783"))
    many = summary(endpoints=tuple(f"10.0.0.{number}:6783" for number in range(1, 9))).encode()
    assert len(dial_addresses(name, many)) == DIAL_ADDRESSES_MAX
    assert dial_addresses(name, summary().encode()) == ()
    assert dial_addresses(name, b"garbage") == ()


def test_peers_are_named_as_people_name_them() -> None:
    assert doctest.testmod(planning).failed == 0
    a, b = "a" * 16, "b" * 16
    assert with_nicknames(f"{a}, {b}; {a}(n1) stays", {a: "n1"}) == f"{a}(n1), {b}; {a}(n1) stays"


def test_endpoints_survive_the_wire() -> None:
    said = Summary.decode(summary(advertised=("[2001:db8::5]:7000",), endpoints=("10.0.0.5:6783",)).encode())
    assert said.advertised_endpoints() == (Endpoint(IPv6Address("2001:db8::5"), 7000),)
    assert said.own_endpoints() == (Endpoint(IPv4Address("10.0.0.5"), 6783),)
