from gossip import Counters, FrameReceived, LinkId, wire
from gossip.link import HEARTBEAT_INTERVAL_S
from gossip.neighbourhood import MIRRORS_MAX, PING_SLACK_S
from tests.unit.gossip.transcript import Conversation, record


def test_two_hellos_are_one_too_many() -> None:
    talk = Conversation()
    talk.meet(1, "bob")
    talk.say(1, wire.Hello(1, 1, 1, 1))
    assert talk.mesh.links() == ()
    assert talk.mesh.counters() == Counters(violations=1)


def test_a_later_release_that_still_speaks_our_version_is_welcome() -> None:
    talk = Conversation()
    talk.open(1, "bob")
    talk.say(1, wire.Hello(1, 9, 1, 1))
    assert talk.mesh.links()[0].established


def test_a_release_without_a_common_version_is_told_why() -> None:
    talk = Conversation()
    talk.open(1, "bob")
    talk.forget()
    talk.say(1, wire.Hello(2, 3, 1, 1))
    talk.reads("""
        >> 1: hello, wire 2 to 3, epoch 1, serial 1
        << 1: bye: 'no common wire version: they speak 2 to 3, we 1 to 1'
        << close 1: no common wire version: they speak 2 to 3, we 1 to 1
    """)


def test_links_that_come_together_are_named_in_one_record() -> None:
    talk = Conversation()
    talk.pass_time(1)
    talk.open(1, "ann")
    talk.open(2, "bob")
    talk.open(3, "cat")
    talk.forget()
    for link in (1, 2, 3):
        talk.say(link, wire.Hello(1, 1, 1, 1))
    talk.pass_time(0.1)
    talk.reads("""
        >> 1: hello, wire 1 to 1, epoch 1, serial 1
        << 1: ping 1
        >> 2: hello, wire 1 to 1, epoch 1, serial 1
        << 2: ping 1
        >> 3: hello, wire 1 to 1, epoch 1, serial 1
        << 3: ping 1
        >> 1.10 s
        << 1: records me@1.2[ann,bob,cat]
        << 2: records me@1.2[ann,bob,cat]
        << 3: records me@1.2[ann,bob,cat]
        << changed me
    """)


def test_a_peer_that_is_lost_is_named_no_more() -> None:
    talk = Conversation()
    talk.meet(1, "ann", record("ann", 1, 1, ["me"]))
    talk.meet(2, "bob", record("bob", 1, 1, ["me"]))
    talk.pass_time(0.2)
    talk.pass_time(0.2)
    talk.forget()
    talk.close(1)
    talk.reads("""
        >> link 1 closed: reset
        << 2: records me@1.3[bob]
        << changed ann
        << changed me
    """)


def test_who_dialled_pings_and_tells_what_it_measured_the_other_answers() -> None:
    talk = Conversation()
    talk.meet(1, "ann")
    talk.meet(2, "bob", target="h:2")
    talk.meet(3, "cat", target="h:3")
    talk.pass_time(0.25)
    talk.mesh.receive(FrameReceived(LinkId(3), wire.encode(wire.Pong(1))), talk.now)
    talk.pass_time(0.25)
    talk.forget()
    talk.pass_time(1.25)
    talk.say(1, wire.Ping(77, 1500))
    talk.reads("""
        >> 1.75 s
        << 2: ping 2
        << 3: ping 2
        >> 1: ping 77, 1500 us
        << 1: pong 77
    """)


def test_who_is_awake_as_it_has_heard_something_sends_the_pings_that_are_nearly_due() -> None:
    talk = Conversation()
    talk.meet(1, "ann")
    talk.meet(2, "bob", target="h:2")
    talk.pass_time(HEARTBEAT_INTERVAL_S - PING_SLACK_S - 0.1)
    talk.forget()
    talk.say(1, wire.Ping(77))
    talk.pass_time(0.2)
    talk.say(1, wire.Ping(78))
    talk.reads("""
        >> 1: ping 77
        << 1: pong 77
        >> 1.50 s
        >> 1: ping 78
        << 1: pong 78
        << 2: ping 2
    """)
    due = talk.mesh.deadline()
    assert due is not None
    assert due > talk.now + 1.0, "a waking is spared"


def test_links_to_ourselves_are_bounded() -> None:
    talk = Conversation()
    for link in range(1, MIRRORS_MAX + 1):
        talk.open(link, "me")
    talk.forget()
    talk.open(MIRRORS_MAX + 1, "me")
    talk.reads(f"""
        >> link {MIRRORS_MAX + 1} opened to me
        << close {MIRRORS_MAX + 1}: this is ourselves
    """)
