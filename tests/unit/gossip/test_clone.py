from gossip import TargetPhase, wire
from gossip.clone import SHOWN_S, CloneWatch
from tests.unit.gossip.transcript import Conversation, record


def test_once_may_be_a_restored_backup_twice_is_a_clone() -> None:
    watch = CloneWatch()
    watch.record_seen(b"h:1", 10.0)
    assert watch.view(10.0) is None
    watch.record_seen(b"h:2", 11.0)
    view = watch.view(12.0)
    assert view is not None
    assert (view.times, view.last_at, view.summary, view.address) == (2, 11.0, b"h:2", None)


def test_a_link_is_proof_and_names_the_address() -> None:
    watch = CloneWatch()
    watch.link_seen("192.0.2.7:1", 10.0)
    view = watch.view(10.0)
    assert view is not None
    assert (view.summary, view.address) == (None, "192.0.2.7:1")


def test_a_clone_that_went_is_forgotten() -> None:
    watch = CloneWatch()
    watch.link_seen("192.0.2.7:1", 10.0)
    assert watch.view(10.0 + SHOWN_S) is not None
    assert watch.view(10.1 + SHOWN_S) is None
    watch.record_seen(b"", 20.0 + SHOWN_S)
    assert watch.view(20.0 + SHOWN_S) is None, "the count begins anew"


def test_a_mesh_names_the_machine_that_speaks_in_its_name() -> None:
    talk = Conversation()
    talk.meet(1, "bob", record("bob", 1, 1, ["me"]))
    for version in (1, 2):
        talk.say(1, wire.Records((record("me", 5 * version, 1, ["bob"], b"h:666"),)))
        talk.pass_time(0.3)
    clone = talk.mesh.clone()
    assert clone is not None
    assert clone.summary == b"h:666"
    assert Conversation().mesh.clone() is None


def test_a_dial_that_finds_a_clone_is_told_from_one_that_finds_ourselves() -> None:
    talk = Conversation()
    talk.connect("h:1")
    talk.open(1, "me", target="h:1")
    talk.forget()
    talk.say(1, wire.Hello(1, 1, 2, 0))
    talk.reads("""
        >> 1: hello, wire 1 to 1, epoch 2, serial 0
        << close 1: another machine with this peer's identity
    """)
    (target,) = talk.mesh.targets()
    assert (target.phase, target.reason) == (
        TargetPhase.OURSELVES,
        "another machine with this peer's identity is there",
    )
    clone = talk.mesh.clone()
    assert clone is not None
    assert clone.address == "192.0.2.1:6783"


def test_links_to_ourselves_are_bounded_and_end() -> None:
    talk = Conversation()
    for link in range(1, 7):
        talk.open(link, "me")
    assert talk.page().count("hello") == 4
    assert talk.page().count("close") == 2
    talk.close(1)
    talk.say(2, wire.Ping(1))
    talk.forget()
    talk.pass_time(3.5)
    talk.reads("""
        >> 3.50 s
        << close 3: this is ourselves
        << close 4: this is ourselves
    """)
    assert talk.mesh.deadline() is None
