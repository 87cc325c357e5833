"""What is said on a link that is gone, or on one to ourselves, changes nothing. The rest is in test_mesh.py."""

from gossip import Counters, FrameReceived, LinkId, wire
from tests.unit.gossip.transcript import Conversation, record


def test_frames_of_unknown_links_are_ignored() -> None:
    talk = Conversation()
    for frame in (wire.encode(wire.Ping(1)), b"\xc1", b""):
        talk.mesh.receive(FrameReceived(LinkId(7), frame), talk.now)
    assert talk.mesh.counters() == Counters()


def test_garbage_on_a_link_to_ourselves_closes_it() -> None:
    talk = Conversation()
    talk.open(1, "me")
    talk.forget()
    talk.mesh.receive(FrameReceived(LinkId(1), b"\xc1"), talk.now)
    assert [str(output) for output in talk.mesh.outputs()] == ["CloseLink(link=1, reason='this is ourselves')"]


def test_what_follows_a_violation_on_the_same_link_is_not_heard() -> None:
    talk = Conversation()
    talk.meet(1, "bob")
    talk.mesh.receive(FrameReceived(LinkId(1), b"\xc1"), talk.now)
    talk.say(1, wire.Records((record("ann", 1, 1),)))
    assert len(talk.mesh.peers()) == 1
