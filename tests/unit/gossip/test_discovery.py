"""Discovery dials as many as are missing, from one end at a time, and looks for the other half of a parted mesh."""

import random

import pytest

from gossip import PeerName, Target
from gossip.backoff import BACKOFF_FIRST_S
from gossip.discovery import (
    DIAL_FALLBACK_S,
    DIALS_MAX,
    DISCOVERY_INTERVAL_S,
    EXPLORE_INTERVAL_S,
    LINKS_WANTED_MIN,
    Discovery,
    links_wanted,
)
from tests.unit.gossip.transcript import FixedRandom

ME = PeerName("m" * 16)
LARGER = [PeerName(f"z{number:015d}") for number in range(40)]
SMALLER = PeerName("a" * 16)


def address(peer: PeerName) -> Target | None:
    """Each peer is found under its name."""
    return Target(peer)


def make(*peers: PeerName, is_enabled: bool = True) -> Discovery:
    """Return a Discovery that has met `peers` at 0."""
    discovery = Discovery(me=ME, rng=FixedRandom(1), is_enabled=is_enabled, now=0.0)
    for peer in peers:
        discovery.meet(peer, 0.0)
    return discovery


def choose(
    discovery: Discovery,
    now: float,
    *,
    linked: tuple[PeerName, ...] = (),
    reachable: tuple[PeerName, ...] = (),
    room: int = 64,
    is_addressed: bool = True,
) -> list[Target]:
    """Let it choose."""
    return discovery.choose(
        linked_count=len(linked),
        is_linked=linked.__contains__,
        is_reachable=reachable.__contains__,
        address=address if is_addressed else lambda _: None,
        room=room,
        now=now,
    )


@pytest.mark.parametrize(("peers", "wanted"), [(1, 3), (2, 3), (8, 3), (9, 4), (16, 4), (17, 5), (1000, 10)])
def test_links_wanted_grow_with_the_logarithm(peers: int, wanted: int) -> None:
    assert links_wanted(peers) == wanted


def test_as_many_are_dialled_as_are_missing_and_each_once() -> None:
    discovery = make(*LARGER[:6])
    first = choose(discovery, 0.0)
    assert len(first) == len(set(first)) == LINKS_WANTED_MIN
    assert choose(discovery, DISCOVERY_INTERVAL_S) == []


def test_linked_peers_are_not_dialled() -> None:
    discovery = make(*LARGER[:3])
    assert choose(discovery, 0.0, linked=(LARGER[0], LARGER[1])) == [LARGER[2]]


def test_it_looks_no_more_often_than_its_interval() -> None:
    discovery = make()
    assert choose(discovery, 0.0) == []
    discovery.meet(LARGER[0], 0.0)
    assert choose(discovery, DISCOVERY_INTERVAL_S - 0.01) == []
    assert choose(discovery, DISCOVERY_INTERVAL_S) == [LARGER[0]]


def test_the_larger_name_waits_for_the_smaller_to_dial() -> None:
    discovery = make(SMALLER)
    assert choose(discovery, DIAL_FALLBACK_S - 0.1) == []
    assert choose(discovery, DIAL_FALLBACK_S + DISCOVERY_INTERVAL_S) == [SMALLER]


def test_after_a_link_ended_the_larger_name_waits_anew() -> None:
    discovery = make(SMALLER)
    discovery.unlinked(SMALLER, lived_s=100.0, now=50.0)
    assert choose(discovery, 50.0 + DIAL_FALLBACK_S - 0.1) == []
    assert choose(discovery, 50.0 + DIAL_FALLBACK_S + 1.0) == [SMALLER]


def test_a_failed_dial_backs_off_until_the_peer_says_something_new() -> None:
    discovery = make(LARGER[0])
    assert choose(discovery, 0.0) == [LARGER[0]]
    assert discovery.failed(Target(LARGER[0]), 10.0)
    assert choose(discovery, 10.0 + BACKOFF_FIRST_S / 2) == []
    discovery.renewed(LARGER[0], 10.3)
    assert choose(discovery, 10.0 + BACKOFF_FIRST_S / 2 + DISCOVERY_INTERVAL_S) == [LARGER[0]]
    assert discovery.failed(Target(LARGER[0]), 20.0)
    assert choose(discovery, 20.0 + BACKOFF_FIRST_S) == [LARGER[0]]


def test_a_dial_of_others_is_not_ours() -> None:
    assert not make(LARGER[0]).failed(Target("h:1"), 0.0)


def test_an_address_that_led_to_another_counts_as_a_failure() -> None:
    discovery = make(LARGER[0])
    choose(discovery, 0.0)
    discovery.found(Target(LARGER[0]), LARGER[1], 1.0)
    assert choose(discovery, 1.0 + BACKOFF_FIRST_S / 2) == []
    assert choose(discovery, 10.0) == [LARGER[0]]


def test_content_with_its_links_it_looks_for_those_out_of_reach_one_at_a_time() -> None:
    peers = LARGER[:6]
    discovery = make(*peers)
    linked = tuple(peers[:3])
    reachable = tuple(peers[:4])
    assert choose(discovery, 0.0, linked=linked, reachable=reachable) == []
    first = choose(discovery, EXPLORE_INTERVAL_S, linked=linked, reachable=reachable)
    assert len(first) == 1
    assert first[0] in peers[4:]
    assert choose(discovery, EXPLORE_INTERVAL_S + 0.5, linked=linked, reachable=reachable) == []


def test_dials_under_way_and_links_are_bounded() -> None:
    peers = [PeerName(f"z{number:015d}") for number in range(2000)]
    assert links_wanted(len(peers) + 1) > DIALS_MAX
    assert len(choose(make(*peers), 0.0)) == DIALS_MAX
    assert len(choose(make(*peers), 0.0, room=2)) == 2
    assert choose(make(*peers), 0.0, room=0) == []


def test_who_gives_no_address_is_asked_again_later() -> None:
    discovery = make(LARGER[0])
    assert choose(discovery, 0.0, is_addressed=False) == []
    assert choose(discovery, BACKOFF_FIRST_S + DISCOVERY_INTERVAL_S) == [LARGER[0]]


def test_switched_off_it_dials_nobody() -> None:
    discovery = make(*LARGER, is_enabled=False)
    assert choose(discovery, 100.0) == []
    assert discovery.deadline(linked_count=0, unreachable_count=40) is None


def test_it_asks_to_be_called_only_while_a_wish_is_open() -> None:
    assert make().deadline(linked_count=0, unreachable_count=0) is None
    discovery = make(*LARGER[:5])
    assert discovery.deadline(linked_count=2, unreachable_count=0) == 0.0
    assert discovery.deadline(linked_count=3, unreachable_count=0) is None
    assert discovery.deadline(linked_count=3, unreachable_count=1) == EXPLORE_INTERVAL_S


def test_one_does_not_dial_oneself() -> None:
    assert choose(make(ME), 100.0) == []


def test_peers_are_chosen_at_random() -> None:
    firsts = set()
    for seed in range(60):
        discovery = Discovery(me=ME, rng=random.Random(seed), is_enabled=True, now=0.0)
        for peer in LARGER[:8]:
            discovery.meet(peer, 0.0)
        firsts.update(choose(discovery, 0.0))
    assert len(firsts) == 8
