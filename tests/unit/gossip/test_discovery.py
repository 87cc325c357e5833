from gossip import PeerName, Target
from gossip.discovery import (
    DIAL_FALLBACK_S,
    DIALS_MAX,
    DISCOVERY_INTERVAL_S,
    EXPLORE_INTERVAL_S,
    LOOKED_AT_MAX,
    Discovery,
    links_wanted,
)
from tests.unit.gossip.transcript import FixedRandom

ME = PeerName("m")


class Scene:
    """A Discovery and what it is told of the world."""

    def __init__(self, *peers: str, is_enabled: bool = True) -> None:
        self.discovery = Discovery(me=ME, rng=FixedRandom(), is_enabled=is_enabled, now=0.0)
        self.linked: list[str] = []
        self.reachable: list[str] = list(peers)
        self.silent: list[str] = []
        self.loads: dict[str, int] = {}
        for peer in peers:
            self.discovery.meet(PeerName(peer), 0.0)

    def choose(self, now: float, room: int = 64, unreachable_count: int = 1) -> list[str]:
        return sorted(
            self.discovery.choose(
                linked_count=len(self.linked),
                unreachable_count=unreachable_count,
                is_linked=lambda peer: peer in self.linked,
                is_reachable=lambda peer: peer in self.reachable,
                addresses=lambda peer: () if peer in self.silent else (Target(peer), Target(f"{peer}:2")),
                load=lambda peer: self.loads.get(peer, 0),
                room=room,
                now=now,
            )
        )

    def deadline(self, unreachable_count: int = 0) -> float | None:
        return self.discovery.deadline(linked_count=len(self.linked), unreachable_count=unreachable_count)


def test_few_links_are_wanted_and_more_in_a_larger_mesh() -> None:
    assert [links_wanted(count) for count in (1, 2, 8, 15, 16, 31, 32, 1000, 1024)] == [3, 3, 3, 3, 4, 4, 5, 9, 10]


def test_as_many_are_dialled_as_are_missing() -> None:
    scene = Scene(*"nopqrstuvwx")
    assert len(scene.choose(0.0)) == 3
    scene = Scene(*"nopqrstuvwx")
    scene.linked = ["n", "o"]
    assert len(scene.choose(0.0)) == 1


def test_only_the_smaller_name_dials_at_once() -> None:
    scene = Scene("a", "z")
    assert scene.choose(0.0) == ["z"]
    assert scene.choose(DIAL_FALLBACK_S - 0.1) == []
    assert scene.choose(DIAL_FALLBACK_S + DISCOVERY_INTERVAL_S) == ["a"]


def test_the_larger_waits_anew_after_a_lost_link() -> None:
    scene = Scene("a")
    scene.discovery.unlinked(PeerName("a"), "reset", lived_s=100.0, now=60.0)
    assert scene.choose(61.0) == []
    assert scene.choose(60.0 + DIAL_FALLBACK_S) == ["a:2"], "its other address this time"


def test_failed_dials_back_off_and_news_of_the_peer_ends_that() -> None:
    scene = Scene("n")
    assert scene.choose(0.0) == ["n"]
    scene.discovery.failed(Target("n"), "refused", 1.0)
    assert scene.discovery.failure(PeerName("n")) == "refused"
    assert scene.choose(1.4) == []
    scene.discovery.renewed(PeerName("n"), 1.4)
    assert scene.discovery.failure(PeerName("n")) is None
    assert scene.choose(2.0) == ["n"]
    scene.discovery.failed(Target("unknown"), "refused", 2.0)


def test_the_addresses_of_a_peer_are_tried_in_turn() -> None:
    scene = Scene("n")
    dialled = []
    for attempt in range(4):
        (target,) = scene.choose(100.0 * attempt)
        dialled.append(target)
        scene.discovery.failed(Target(target), "refused", 100.0 * attempt)
    assert dialled == ["n", "n:2", "n", "n:2"]


def test_of_those_drawn_the_peers_with_the_fewest_links_are_dialled() -> None:
    scene = Scene("n", "o", "p", "q")
    scene.linked = ["n", "o"]
    scene.loads = {"p": 9, "q": 3}
    assert scene.choose(0.0) == ["q"]


def test_hints_are_dialled_first_and_bounded() -> None:
    scene = Scene("n")
    scene.discovery.hint(tuple(Target(f"hint{number}") for number in range(100)))
    assert scene.choose(0.0) == ["hint0", "hint1", "hint2"]
    scene.discovery.failed(Target("hint0"), "refused", 0.1)
    scene.discovery.found(Target("hint1"), PeerName("z"), 0.1)
    scene.discovery.found(Target("hint2"), PeerName("y"), 0.1)
    scene.linked = ["z", "y"]
    assert scene.choose(0.5) == ["hint3"]
    silent = Scene(is_enabled=False)
    silent.discovery.hint((Target("hint"),))
    assert silent.choose(0.0) == []


def test_a_hint_is_reason_enough_to_look_also_for_who_knows_nobody() -> None:
    scene = Scene()
    assert scene.discovery.deadline(linked_count=0, unreachable_count=0) is None
    assert not scene.discovery.hint(())
    assert scene.discovery.hint((Target("hint"),))
    assert scene.discovery.deadline(linked_count=0, unreachable_count=0) == 0.0
    assert scene.choose(0.0) == ["hint"]
    assert scene.discovery.deadline(linked_count=0, unreachable_count=0) is None
    assert not Scene(is_enabled=False).discovery.hint((Target("hint"),)), "only targets are dialled here"


def test_a_dial_that_finds_another_peer_counts_as_failed() -> None:
    scene = Scene("n")
    scene.choose(0.0)
    scene.discovery.found(Target("n"), PeerName("other"), 0.1)
    assert scene.choose(0.5) == []
    assert scene.discovery.failure(PeerName("n")) == "n leads to another peer, other"
    assert scene.choose(1.0) == ["n:2"]


def test_the_linked_and_those_without_address_are_not_dialled() -> None:
    scene = Scene("n", "o", "p")
    scene.linked = ["n"]
    scene.silent = ["o"]
    assert scene.choose(0.0) == ["p"]


def test_with_links_enough_only_the_unreachable_are_explored_one_at_a_time() -> None:
    scene = Scene(*"nopqrst")
    scene.linked = ["n", "o", "p"]
    assert scene.choose(10.0) == [], "all are reachable"
    scene.reachable = ["n", "o", "p", "q"]
    first = scene.choose(10.0 + EXPLORE_INTERVAL_S)
    assert len(first) == 1
    assert first[0] in "rst"
    assert scene.choose(10.5 + EXPLORE_INTERVAL_S) == []


def test_dials_under_way_are_bounded_as_is_the_room() -> None:
    scene = Scene(*(f"n{number}" for number in range(2000)))
    under_way = [len(scene.choose(DISCOVERY_INTERVAL_S * number)) for number in range(20)]
    assert under_way[:3] == [3, 1, 1], "the first at once, then one by one"
    assert sum(under_way) == DIALS_MAX
    scene = Scene(*(f"n{number}" for number in range(2000)))
    assert len(scene.choose(0.0, room=2)) == 2


def test_a_look_costs_the_same_in_any_mesh() -> None:
    scene = Scene(*(f"n{number}" for number in range(2000)))
    asked: list[str] = []

    def is_linked(peer: PeerName) -> bool:
        asked.append(peer)
        return False

    scene.discovery.choose(
        linked_count=0,
        unreachable_count=0,
        is_linked=is_linked,
        is_reachable=lambda _: True,
        addresses=lambda peer: (Target(peer),),
        load=lambda _: 0,
        room=64,
        now=0.0,
    )
    assert len(asked) == LOOKED_AT_MAX


def test_the_deadline_is_none_while_no_wish_is_open() -> None:
    scene = Scene()
    assert scene.deadline() is None
    scene = Scene("n")
    assert scene.deadline() == 0.0
    scene.linked = ["n"]
    assert scene.deadline() is None
    assert scene.deadline(unreachable_count=1) == EXPLORE_INTERVAL_S


def test_switched_off_it_does_nothing() -> None:
    scene = Scene("n", is_enabled=False)
    assert scene.deadline(unreachable_count=1) is None
    assert scene.choose(100.0) == []


def test_we_do_not_meet_ourselves() -> None:
    scene = Scene("m")
    assert scene.deadline() is None
