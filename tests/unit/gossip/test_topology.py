import random

from gossip import PeerName
from gossip.topology import Edges, Route, Topology, Ways

A, B, C, D = (PeerName(letter) for letter in "abcd")


def graph(*edges: str) -> Topology:
    topology = Topology()
    for peer in sorted(set("".join(edges))):
        neighbours = tuple(PeerName((set(edge) - {peer}).pop()) for edge in edges if peer in edge)
        topology.name_links(PeerName(peer), neighbours)
    return topology


def routes(topology: Topology, start: PeerName, *avoided: PeerName) -> dict[PeerName, Route]:
    """Return all ways of a fresh search."""
    ways = Ways(topology, start)
    ways.search(avoided)
    return {peer: route for peer in ways.reached() if (route := ways.route(peer)) is not None}


def test_an_edge_counts_only_if_both_its_ends_name_it() -> None:
    topology = Topology()
    assert topology.name_links(A, (B, C)) == Edges([], [])
    assert topology.name_links(B, (A,)) == Edges([A], [])
    assert routes(topology, A) == {A: Route(0, None), B: Route(1, B)}
    assert topology.name_links(D, (A,)) == Edges([], [])
    assert topology.name_links(A, ()) == Edges([], [B])
    assert routes(topology, A) == {A: Route(0, None)}


def test_a_route_is_the_shortest_and_names_the_first_neighbour() -> None:
    topology = Topology()
    for peer, neighbours in {A: (B, C), B: (A, C, D), C: (A, B), D: (B,)}.items():
        topology.name_links(peer, neighbours)
    assert routes(topology, A) == {A: Route(0, None), B: Route(1, B), C: Route(1, C), D: Route(2, B)}
    assert routes(topology, D)[C] == Route(2, B)


def test_naming_the_same_again_changes_nothing() -> None:
    topology = Topology()
    topology.name_links(A, (B,))
    topology.name_links(B, (A,))
    assert topology.name_links(A, (B,)) == Edges([], [])


def test_a_peer_that_names_itself_has_no_edge_of_it() -> None:
    topology = Topology()
    assert topology.name_links(A, (A,)) == Edges([], [])
    assert routes(topology, A) == {A: Route(0, None)}


def test_ways_kept_up_step_by_step_are_as_short_as_those_searched_anew() -> None:
    rng = random.Random(1)
    peers = [PeerName(f"p{number}") for number in range(14)]
    topology = Topology()
    ways = Ways(topology, peers[0])
    for _ in range(3000):
        peer = rng.choice(peers)
        was_reached = set(ways.reached())
        edges = topology.name_links(peer, tuple(rng.sample(peers, rng.choice((0, 3, 5, 8)))))
        new = [reached for neighbour in edges.gained for reached in ways.gained(peer, neighbour)]
        gone = [lost for neighbour in edges.lost for lost in ways.lost(peer, neighbour)]
        assert len(new) == len(set(new)) and len(gone) == len(set(gone))
        assert set(ways.reached()) - was_reached == set(new) - set(gone)
        assert was_reached - set(ways.reached()) == set(gone) - set(new)
        fresh = routes(topology, peers[0])
        assert {to: ways.route(to) for to in peers if to not in fresh} == {to: None for to in peers if to not in fresh}
        for to, route in fresh.items():
            kept = ways.route(to)
            assert kept is not None and kept.hops == route.hops
            assert to == peers[0] or kept.next_hop in topology.neighbours(peers[0])


def test_avoided_links_are_used_only_where_nothing_else_leads() -> None:
    topology = graph("ab", "ac", "bc", "cd", "ae")
    plain = routes(topology, PeerName("a"))
    assert (plain[PeerName("b")].hops, plain[PeerName("e")].hops) == (1, 1)
    around = routes(topology, PeerName("a"), PeerName("b"), PeerName("e"), PeerName("z"))
    assert around[PeerName("b")] == Route(2, PeerName("c"))
    assert around[PeerName("e")] == Route(1, PeerName("e")), "the only way there"
    assert sorted(around) == sorted(plain)


def test_two_peers_stay_joined_without_their_link_iff_another_way_leads_round() -> None:
    topology = graph("ab", "bc", "ca", "cd")
    assert topology.stays_joined(PeerName("a"), PeerName("b"))
    assert not topology.stays_joined(PeerName("c"), PeerName("d"))
    assert not topology.stays_joined(PeerName("a"), PeerName("x"))
