import pytest

from gossip import Counters, FrameReceived, LinkId, SendUnicast, wire
from tests.unit.gossip.transcript import NAMES, Conversation, record


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
        << changed bob
        >> 0.30 s
        << changed cat
    """)


def test_a_burst_of_changes_is_searched_once() -> None:
    talk = Conversation()
    talk.meet(1, "bob", record("bob", 1, 1, ["me", "cat"]), record("cat", 1, 1, ["bob"]))
    talk.pass_time(0.2)
    talk.pass_time(0.2)
    talk.forget()
    for version in range(2, 6):
        talk.say(1, wire.Records((record("cat", 1, version, ["bob"] * (version % 2)),)))
    cat = talk.mesh.peer(NAMES["cat"])
    assert cat is not None
    assert not cat.reachable
    assert talk.mesh.deadline() == pytest.approx(talk.now + 0.1)
    talk.pass_time(0.1)
    cat = talk.mesh.peer(NAMES["cat"])
    assert cat is not None
    assert cat.reachable


def test_a_unicast_prefers_a_link_to_a_way() -> None:
    talk = Conversation()
    talk.meet(1, "bob", record("bob", 1, 1, ["me", "cat"]), record("cat", 1, 1, ["bob"]))
    talk.meet(2, "cat")
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
