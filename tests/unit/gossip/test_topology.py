import random

from gossip import PeerName
from gossip.topology import Route, Topology

A, B, C, D = (PeerName(letter) for letter in "abcd")


def graph(*edges: str) -> Topology:
    topology = Topology()
    for peer in sorted(set("".join(edges))):
        neighbours = tuple(PeerName((set(edge) - {peer}).pop()) for edge in edges if peer in edge)
        topology.name_links(PeerName(peer), neighbours)
    return topology


def test_an_edge_counts_only_if_both_its_ends_name_it() -> None:
    topology = Topology()
    assert not topology.name_links(A, (B, C))
    assert topology.name_links(B, (A,))
    assert topology.routes(A) == {A: Route(0, None), B: Route(1, B)}
    assert not topology.name_links(D, (A,))
    assert topology.name_links(A, ())
    assert topology.routes(A) == {A: Route(0, None)}


def test_a_route_is_the_shortest_and_names_the_first_neighbour() -> None:
    topology = Topology()
    for peer, neighbours in {A: (B, C), B: (A, C, D), C: (A, B), D: (B,)}.items():
        topology.name_links(peer, neighbours)
    assert topology.routes(A) == {A: Route(0, None), B: Route(1, B), C: Route(1, C), D: Route(2, B)}
    assert topology.routes(D)[C] == Route(2, B)


def test_naming_the_same_again_changes_nothing() -> None:
    topology = Topology()
    topology.name_links(A, (B,))
    topology.name_links(B, (A,))
    assert not topology.name_links(A, (B,))


def test_a_peer_that_names_itself_has_no_edge_of_it() -> None:
    topology = Topology()
    assert not topology.name_links(A, (A,))
    assert topology.routes(A) == {A: Route(0, None)}


def test_what_is_kept_up_step_by_step_equals_what_is_built_anew() -> None:
    rng = random.Random(1)
    peers = [PeerName(f"p{number}") for number in range(12)]
    topology = Topology()
    named: dict[PeerName, tuple[PeerName, ...]] = {}
    for _ in range(500):
        peer = rng.choice(peers)
        named[peer] = tuple(rng.sample(peers, rng.randrange(5)))
        topology.name_links(peer, named[peer])
        anew = Topology()
        for each, neighbours in named.items():
            anew.name_links(each, neighbours)
        hops = {to: route.hops for to, route in topology.routes(peers[0]).items()}
        assert hops == {to: route.hops for to, route in anew.routes(peers[0]).items()}


def test_avoided_links_are_used_only_where_nothing_else_leads() -> None:
    topology = graph("ab", "ac", "bc", "cd", "ae")
    plain = topology.routes(PeerName("a"))
    assert (plain[PeerName("b")].hops, plain[PeerName("e")].hops) == (1, 1)
    around = topology.routes(PeerName("a"), (PeerName("b"), PeerName("e"), PeerName("z")))
    assert around[PeerName("b")] == Route(2, PeerName("c"))
    assert around[PeerName("e")] == Route(1, PeerName("e")), "the only way there"
    assert sorted(around) == sorted(plain)


def test_two_peers_stay_joined_without_their_link_iff_another_way_leads_round() -> None:
    topology = graph("ab", "bc", "ca", "cd")
    assert topology.stays_joined(PeerName("a"), PeerName("b"))
    assert not topology.stays_joined(PeerName("c"), PeerName("d"))
    assert not topology.stays_joined(PeerName("a"), PeerName("x"))
