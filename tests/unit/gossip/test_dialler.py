from gossip import PublishSummary, Target, TargetPhase, wire
from gossip.target import REFERRED_S
from tests.unit.gossip.transcript import Conversation, record


def test_a_target_is_not_dialled_a_second_time_as_a_discovered_address() -> None:
    talk = Conversation()
    talk.connect("dan:1")
    talk.fail("dan:1")
    talk.meet(1, "bob", record("bob", 1, 1, ["me"]), record("dan", 1, 1, summary=b"dan:1"))
    talk.forget()
    talk.pass_time(0.1)
    talk.reads("""
        >> 0.10 s
        << 1: records me@1.2[bob]
        << changed me
    """)


def test_a_dial_that_was_discovered_fails_as_such() -> None:
    talk = Conversation()
    talk.meet(1, "bob", record("bob", 1, 1, ["me"]), record("dan", 1, 1, summary=b"dan:1"))
    talk.pass_time(0.1)
    talk.fail("dan:1")
    talk.pass_time(0.3)
    talk.forget()
    talk.pass_time(0.4)
    talk.reads("""
        >> 0.80 s
        << dial dan:1
    """)
    assert talk.mesh.targets() == ()


def test_only_the_last_link_to_a_peer_matters() -> None:
    talk = Conversation()
    talk.connect("h:1")
    talk.meet(1, "bob", target="h:1")
    talk.open(2, "bob")
    talk.close(1)
    assert [view.phase for view in talk.mesh.targets()] == [TargetPhase.LINKED]
    talk.close(2)
    assert [view.phase for view in talk.mesh.targets()] == [TargetPhase.WAITING]


def test_a_peer_that_gives_an_address_later_is_dialled_then() -> None:
    talk = Conversation()
    talk.feed(PublishSummary(b"me:1"))
    talk.meet(1, "bob", record("bob", 1, 1, ["me"]), record("dan", 1, 1))
    for _ in range(4):
        talk.pass_time(0.9)
    talk.say(1, wire.Records((record("dan", 1, 2, summary=b"dan:1"),)))
    talk.forget()
    talk.pass_time(0.5)
    talk.reads("""
        >> 4.10 s
        << dial dan:1
    """)


def refused(*others: str) -> Conversation:
    """By a hub that has no room and names others."""
    talk = Conversation()
    talk.connect("hub:1")
    talk.open(1, "bob", target="hub:1")
    talk.pass_time(1.0)
    talk.forget()
    talk.say(1, wire.Bye("no room", wire.ByeCode.BUSY, tuple(Target(other) for other in others)))
    talk.tick()
    assert all(f"dial {other}" in talk.page() for other in others)
    return talk


def test_who_is_refused_dials_the_named_at_once_and_the_full_one_much_later() -> None:
    talk = refused("cat:1")
    while talk.now < 101.0 + REFERRED_S:
        talk.forget()
        talk.tick()
    assert "dial hub:1" in talk.page(), "the named one does not answer"


def test_the_full_one_is_dialled_again_as_soon_as_all_that_it_named_have_failed() -> None:
    talk = refused("cat:1", "dan:1")
    talk.forget()
    talk.fail("cat:1")
    assert "dial hub:1" not in talk.page()
    talk.fail("dan:1")
    assert "dial hub:1" in talk.page()


def test_the_full_one_is_dialled_again_where_the_one_that_it_named_is_full_too_and_names_nobody() -> None:
    talk = refused("cat:1")
    talk.open(2, "cat", target="cat:1")
    talk.forget()
    talk.say(2, wire.Bye("no room", wire.ByeCode.BUSY, ()))
    assert "dial hub:1" in talk.page()
