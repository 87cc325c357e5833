"""Of several links to one peer both ends keep the same one, and never close it before it is sure."""

import itertools

import pytest

from gossip import LinkId
from gossip.link import ANSWER_INTERVAL_S, HEARTBEAT_INTERVAL_S, PINGS_MAX, RTT_WEIGHT, Link, LinkTable
from tests.unit.gossip.transcript import NAMES


def make(ident: int, peer: str = "ann", *, outbound: bool = True, serial: int = 1, by_smaller: bool = True) -> Link:
    """Return a link just opened."""
    return Link(
        ident=LinkId(ident),
        peer=NAMES[peer],
        address="192.0.2.1:6783",
        outbound=outbound,
        serial=serial if outbound else 0,
        is_dialled_by_smaller=by_smaller,
        opened_at=0.0,
        heard_at=0.0,
    )


def test_a_link_carries_nothing_until_it_is_established() -> None:
    table = LinkTable()
    link = make(1)
    table.add(link)
    assert table.is_linked(NAMES["ann"])
    assert (table.peer_count(), table.neighbours(), table.current(NAMES["ann"])) == (1, (), None)
    table.establish(link, peer_epoch=3, serial=0)
    assert (table.neighbours(), table.current(NAMES["ann"])) == ((NAMES["ann"],), link)
    assert link.view().established


def test_the_serial_is_the_diallers() -> None:
    table = LinkTable()
    ours, theirs = make(1, serial=4), make(2, outbound=False)
    for link in (ours, theirs):
        table.add(link)
        table.establish(link, peer_epoch=1, serial=9)
    assert (ours.serial, theirs.serial) == (4, 9)


def test_the_same_link_is_current_in_whatever_order_they_were_established() -> None:
    for order in itertools.permutations(range(4)):
        table = LinkTable()
        links = [make(1, serial=5, by_smaller=False), make(2, serial=1), make(3, serial=2), make(4, serial=9)]
        epochs = [2, 2, 2, 1]
        for link in links:
            table.add(link)
        for index in order:
            table.establish(links[index], peer_epoch=epochs[index], serial=0)
        assert table.current(NAMES["ann"]) is links[2]


def test_no_link_is_surplus_until_the_current_one_is_confirmed() -> None:
    table = LinkTable()
    old, new, opened = make(1, serial=1), make(2, serial=2), make(3, serial=3)
    for link in (old, new, opened):
        table.add(link)
    table.establish(old, peer_epoch=1, serial=0)
    old.is_confirmed = True
    table.establish(new, peer_epoch=1, serial=0)
    assert table.surplus(old) == []
    new.is_confirmed = True
    assert table.surplus(new) == table.surplus(old) == [old]


def test_another_established_link_takes_the_place_of_one_that_goes() -> None:
    table = LinkTable()
    old, new = make(1, serial=1), make(2, serial=2)
    for link in (old, new):
        table.add(link)
        table.establish(link, peer_epoch=1, serial=0)
    table.remove(new)
    assert table.current(NAMES["ann"]) is old
    table.remove(old)
    assert (len(table), table.peer_count(), table.currents(), table.get(LinkId(1))) == (0, 0, (), None)
    assert not table.is_linked(NAMES["ann"])


def test_links_may_go_while_they_are_looked_through() -> None:
    table = LinkTable()
    for ident, peer in enumerate(("ann", "bob", "cat")):
        table.add(make(ident, peer))
    for link in table:
        table.remove(link)
    assert len(table) == 0


def test_round_trip_times_are_smoothed() -> None:
    link = make(1)
    link.pong(link.next_ping(10.0), 10.2)
    assert link.rtt_s == pytest.approx(0.2)
    link.pong(link.next_ping(20.0), 21.0)
    assert link.rtt_s == pytest.approx(0.2 + RTT_WEIGHT * 0.8)


def test_an_answer_to_no_ping_of_ours_is_no_sample() -> None:
    link = make(1)
    number = link.next_ping(10.0)
    link.pong(number + 1, 10.1)
    assert link.rtt_s is None
    link.pong(number, 10.5)
    link.pong(number, 99.0)
    assert link.rtt_s == pytest.approx(0.5)


def test_unanswered_pings_are_bounded_and_the_oldest_is_forgotten() -> None:
    link = make(1)
    numbers = [link.next_ping(float(second)) for second in range(PINGS_MAX + 3)]
    assert list(link.pings) == numbers[3:]
    assert link.ping_at == PINGS_MAX + 2 + HEARTBEAT_INTERVAL_S


def test_questions_of_one_kind_are_answered_at_a_bounded_rate_each_kind_for_itself() -> None:
    link = make(1)
    assert link.may_answer("glance", 0.0)
    assert not link.may_answer("glance", ANSWER_INTERVAL_S / 2)
    assert link.may_answer("digest", ANSWER_INTERVAL_S / 2)
    assert link.may_answer("glance", ANSWER_INTERVAL_S)
