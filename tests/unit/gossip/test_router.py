"""The router knows the ways, sends unicasts on them, delivers each once, and tells who came and went."""

import random

import msgspec
import pytest

from gossip import (
    Counters,
    Delivered,
    FrameReceived,
    LinkId,
    LocalMisuse,
    Output,
    PeerChanged,
    SendFrame,
    SendUnicast,
    wire,
)
from gossip.exchange import Exchange
from gossip.health import LocalHealth
from gossip.link import Link, LinkTable
from gossip.outbox import Outbox
from gossip.record import is_authentic
from gossip.router import ROUTES_INTERVAL_S, Router
from gossip.store import RecordStore
from gossip.topology import Route
from gossip.unicast import is_authentic_unicast, write_unicast
from tests.unit.gossip.fake_signer import fake_verify
from tests.unit.gossip.transcript import NAMES, SIGNERS, Conversation, Words, record

ME, ANN, BOB, CAT = (NAMES[nickname] for nickname in ("me", "ann", "bob", "cat"))


class Bench:
    """A router of "me" with a link to bob, who has one to cat; ann is known and out of reach."""

    def __init__(self) -> None:
        self.counters = Counters()
        self.outbox = Outbox()
        self.links = LinkTable()
        store = RecordStore(is_authentic=lambda it: is_authentic(it, fake_verify), counters=self.counters)
        for nickname in ("me", "ann", "bob", "cat"):
            store.merge(record(nickname, 1, 1), 0.0)
        exchange = Exchange(
            store=store, links=self.links, outbox=self.outbox, counters=self.counters, health=LocalHealth(0.0)
        )
        exchange.register("words", Words())
        self.router = Router(
            signer=SIGNERS["me"],
            verify=fake_verify,
            store=store,
            links=self.links,
            exchange=exchange,
            outbox=self.outbox,
            counters=self.counters,
            now=0.0,
        )
        self.link = Link(
            ident=LinkId(1),
            peer=BOB,
            address="192.0.2.1:6783",
            outbound=True,
            serial=1,
            is_dialled_by_smaller=False,
            opened_at=0.0,
            heard_at=0.0,
        )
        self.links.add(self.link)
        self.links.establish(self.link, peer_epoch=1, serial=0)
        self.router.name_links(ME, (BOB,))
        self.router.name_links(BOB, (ME, CAT))
        self.router.name_links(CAT, (BOB,))
        self.router.search(0.0)
        self.outbox.take()

    def hear(self, unicast: wire.Unicast) -> list[Output]:
        """Let a unicast come; return what follows."""
        self.router.unicast_received(unicast)
        return self.outbox.take()


def to_me(source: str = "cat", sequence: int = 1, channel: str = "words") -> wire.Unicast:
    """Return what `source` says to us."""
    return write_unicast(SIGNERS[source], channel, ME, b"hi", epoch=1, sequence=sequence)


def test_the_ways_lead_over_the_neighbour() -> None:
    router = Bench().router
    assert (router.route(ME), router.route(BOB), router.route(CAT)) == (Route(0, None), Route(1, BOB), Route(2, BOB))
    assert (router.route(ANN), router.is_reachable(ANN), router.unreachable_count()) == (None, False, 1)
    assert router.check()


def test_who_is_lost_is_told_once_all_news_is_in() -> None:
    bench = Bench()
    bench.router.name_links(BOB, (ME,))
    bench.router.name_links(BOB, (ME, CAT))
    assert bench.router.search(1.0) == ()
    bench.router.name_links(BOB, (ME,))
    assert bench.router.search(2.0) == (CAT,)
    assert not bench.router.is_reachable(CAT)
    assert bench.router.reachable_until(CAT) == 2.0
    assert bench.outbox.take() == [PeerChanged(CAT)]
    assert bench.router.deadline() is None


def test_ways_round_what_is_avoided_are_searched_at_a_bounded_rate() -> None:
    bench = Bench()
    bench.router.avoid((BOB,))
    bench.router.search(0.0)
    bench.router.name_links(BOB, (ME,))
    assert bench.router.deadline() == ROUTES_INTERVAL_S
    bench.router.search(ROUTES_INTERVAL_S / 2)
    assert bench.router.is_reachable(CAT)
    bench.router.search(ROUTES_INTERVAL_S)
    assert not bench.router.is_reachable(CAT)
    assert bench.router.reachable_until(CAT) == ROUTES_INTERVAL_S
    assert bench.outbox.take() == [PeerChanged(CAT)]


def test_a_unicast_goes_to_the_next_hop_signed_with_a_hop_less() -> None:
    bench = Bench()
    for sequence in (1, 2):
        bench.router.send(SendUnicast("words", CAT, b"hi"), epoch=7)
        (output,) = bench.outbox.take()
        assert isinstance(output, SendFrame)
        unicast = wire.decode(output.frame)
        assert isinstance(unicast, wire.Unicast)
        assert (output.link, unicast.hops, unicast.epoch, unicast.sequence) == (1, wire.HOPS_MAX - 1, 7, sequence)
        assert is_authentic_unicast(unicast, fake_verify)


def test_a_unicast_to_ourselves_needs_no_way() -> None:
    bench = Bench()
    bench.router.send(SendUnicast("words", ME, b"hi"), epoch=1)
    assert bench.outbox.take() == [Delivered("words", ME, b"hi", unicast=True)]


def test_without_a_way_it_is_dropped_and_counted() -> None:
    bench = Bench()
    bench.router.send(SendUnicast("words", ANN, b"hi"), epoch=1)
    assert bench.outbox.take() == []
    assert bench.counters == Counters(unroutable=1)


@pytest.mark.parametrize(
    "event", [SendUnicast("other", BOB, b""), SendUnicast("words", BOB, bytes(wire.PAYLOAD_BYTES_MAX + 1))]
)
def test_what_the_caller_may_not_send_is_refused(event: SendUnicast) -> None:
    bench = Bench()
    with pytest.raises(LocalMisuse):
        bench.router.send(event, epoch=1)
    assert bench.outbox.take() == []


def test_each_unicast_is_delivered_once() -> None:
    bench = Bench()
    assert bench.hear(to_me()) == [Delivered("words", CAT, b"hi", unicast=True)]
    assert bench.hear(to_me()) == []
    assert bench.hear(to_me("bob")) == [Delivered("words", BOB, b"hi", unicast=True)]
    assert bench.counters == Counters(replayed=1)


def test_a_forgery_neither_arrives_nor_keeps_the_true_one_from_arriving() -> None:
    bench = Bench()
    assert bench.hear(msgspec.structs.replace(to_me(), payload=b"ho")) == []
    assert bench.counters == Counters(forged=1)
    assert len(bench.hear(to_me())) == 1


def test_strangers_and_unknown_channels_are_counted() -> None:
    bench = Bench()
    assert bench.hear(to_me("eve")) == bench.hear(to_me(channel="other")) == []
    assert bench.counters == Counters(strangers=1, unregistered=1)


def test_what_is_for_another_is_passed_on_unchanged_until_its_hops_are_spent() -> None:
    bench = Bench()
    passing = write_unicast(SIGNERS["ann"], "other", CAT, b"hi", epoch=1, sequence=1)
    assert bench.hear(msgspec.structs.replace(passing, hops=1)) == [
        SendFrame(LinkId(1), wire.encode(msgspec.structs.replace(passing, hops=0)))
    ]
    assert bench.hear(msgspec.structs.replace(passing, hops=0)) == []
    assert bench.counters == Counters(unroutable=1)


def test_unicasts_that_overtake_each_other_all_arrive() -> None:
    bench = Bench()
    numbers = list(range(1, 40))
    random.Random(1).shuffle(numbers)
    assert sum(len(bench.hear(to_me(sequence=number))) for number in numbers) == 39


def test_reachability_is_told_when_it_changes_and_only_then() -> None:
    talk = Conversation()
    talk.meet(1, "bob", record("bob", 1, 1, ["me", "cat"]), record("cat", 1, 1, ["bob"]))
    talk.pass_time(0.2)
    talk.forget()
    talk.say(1, wire.Records((record("bob", 1, 2, ["me", "cat"], b"more"),)))
    talk.say(1, wire.Records((record("bob", 1, 3, ["me"], b"more"),)))
    talk.pass_time(0.1)
    talk.reads("""
        >> 1: records bob@1.2[cat,me]
        << changed bob
        << persist
        >> 1: records bob@1.3[me]
        << changed cat
        << changed bob
        >> 0.30 s
    """)


def test_a_unicast_prefers_a_link_to_a_way() -> None:
    talk = Conversation()
    talk.meet(1, "bob", record("bob", 1, 1, ["me", "cat"]), record("cat", 1, 1, ["bob"]))
    talk.meet(2, "cat")
    talk.pass_time(0.1)
    talk.forget()
    talk.feed(SendUnicast("words", NAMES["cat"], b"straight"))
    talk.reads("""
        >> unicast on words to cat: straight
        << 2: unicast on words me to cat, 31 hops left: straight
    """)


def test_what_circles_ends() -> None:
    talk = Conversation()
    talk.meet(1, "bob")
    lost = wire.Unicast("words", NAMES["eve"], NAMES["bob"], 0, 1, 1, b"", b"", b"")
    talk.say(1, lost)
    assert talk.mesh.counters() == Counters(unroutable=1)


def test_owed_records_go_before_a_unicast_that_needs_them() -> None:
    talk = Conversation()
    talk.meet(1, "bob", record("bob", 1, 1, ["me"]))
    talk.meet(2, "cat", record("cat", 1, 1, ["me"]))
    talk.pass_time(0.1)
    talk.forget()
    # The shell may take the outputs of several inputs at once.
    news = wire.encode(wire.Records((record("eve", 1, 1),)))
    talk.mesh.receive(FrameReceived(LinkId(1), news), talk.now)
    unicast = wire.Unicast("words", NAMES["eve"], NAMES["cat"], 5, 1, 1, b"", b"hear", b"")
    talk.say(1, unicast)
    talk.reads("""
        >> 1: unicast on words eve to cat, 5 hops left: hear
        << 2: records eve@1.1[]
        << 2: unicast on words eve to cat, 4 hops left: hear
        << changed eve
        << persist
    """)
