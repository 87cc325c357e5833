import itertools

from gossip import LinkId
from gossip.link import ANSWER_INTERVAL_S, PINGS_MAX, Link, LinkTable
from tests.unit.gossip.transcript import NAMES


def link(ident: int, peer: str = "bob", *, outbound: bool = False, smaller: bool = False, serial: int = 0) -> Link:
    return Link(
        ident=LinkId(ident),
        peer=NAMES[peer],
        address="192.0.2.1:1",
        outbound=outbound,
        serial=serial,
        is_dialled_by_smaller=smaller,
        opened_at=0.0,
        heard_at=0.0,
    )


def test_a_link_is_no_neighbour_before_it_is_established() -> None:
    table, one = LinkTable(), link(1)
    table.add(one)
    assert table.is_linked(NAMES["bob"])
    assert table.neighbours() == ()
    assert table.current(NAMES["bob"]) is None
    table.establish(one, peer_epoch=1, serial=4)
    assert table.neighbours() == (NAMES["bob"],)
    assert table.current(NAMES["bob"]) is one
    assert one.serial == 4


def test_both_ends_keep_the_same_of_several_links() -> None:
    # (dialled by the smaller name, serial of the dial, epoch of the other end): as either end sees them.
    links = [(True, 1, 1), (True, 2, 1), (False, 9, 1), (False, 3, 1)]
    for order in itertools.permutations(range(4)):
        table = LinkTable()
        for index in order:
            smaller, serial, epoch = links[index]
            it = link(index, smaller=smaller)
            table.add(it)
            table.establish(it, peer_epoch=epoch, serial=serial)
        current = table.current(NAMES["bob"])
        assert current is not None
        assert current.ident == 1, "dialled by the smaller name, and the later of its dials"


def test_the_newer_life_wins_over_all_else() -> None:
    table, old, new = LinkTable(), link(1, smaller=True), link(2)
    for it, epoch in ((old, 1), (new, 2)):
        table.add(it)
        table.establish(it, peer_epoch=epoch, serial=1)
    assert table.current(NAMES["bob"]) is new


def test_surplus_links_go_only_when_the_kept_one_is_confirmed() -> None:
    table, one, other = LinkTable(), link(1), link(2, smaller=True)
    for it in (one, other):
        table.add(it)
        table.establish(it, peer_epoch=1, serial=1)
    one.is_confirmed = True
    assert table.surplus(one) == []
    other.is_confirmed = True
    assert table.surplus(other) == [one]


def test_a_removed_link_leaves_its_place_to_another() -> None:
    table, one, other = LinkTable(), link(1), link(2, smaller=True)
    for it in (one, other):
        table.add(it)
        table.establish(it, peer_epoch=1, serial=1)
    table.remove(other)
    assert table.current(NAMES["bob"]) is one
    table.remove(one)
    assert not table.is_linked(NAMES["bob"])
    assert (len(table), table.peer_count(), table.currents()) == (0, 0, ())
    assert table.get(LinkId(1)) is None


def test_unanswered_pings_are_bounded_and_unknown_pongs_ignored() -> None:
    it = link(1)
    for second in range(100):
        it.next_ping(float(second))
    assert len(it.pings) == PINGS_MAX
    it.pong(1, 100.0)
    assert it.view().rtt_s is None


def test_the_round_trip_time_is_smoothed() -> None:
    it = link(1)
    first, second = it.next_ping(1.0), it.next_ping(2.0)
    it.pong(first, 1.25)
    assert it.view().rtt_s == 0.25
    it.pong(second, 10.25)
    assert it.view().rtt_s == 0.25 + 1.0


def test_one_kind_of_question_is_answered_at_a_bounded_rate() -> None:
    it = link(1)
    assert it.may_answer("digest", 0.0)
    assert not it.may_answer("digest", ANSWER_INTERVAL_S / 2)
    assert it.may_answer("request", ANSWER_INTERVAL_S / 2)
    assert it.may_answer("digest", ANSWER_INTERVAL_S)
