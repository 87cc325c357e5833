"""Removed peers: nothing of theirs is kept, taken or passed on, and they are told."""

import msgspec

from gossip import Counters, FencedBy, FencePeers, LinkId, LinkOpened, TargetPhase, wire
from gossip.unicast import write_unicast
from gossip.wire import ByeCode
from tests.unit.gossip.transcript import NAMES, SIGNERS, Conversation, record


def linked() -> Conversation:
    """A talk with ann and bob, who are linked with us; bob tells of cat, who is linked with him."""
    talk = Conversation()
    talk.meet(1, "ann", record("ann", 1, 1, ["me"]))
    talk.meet(2, "bob", record("bob", 1, 1, ["me", "cat"], b"h:2"), record("cat", 1, 1, ["bob"]))
    talk.pass_time(0.5)
    talk.pass_time(0.5)
    talk.forget()
    return talk


def test_a_fenced_neighbour_is_told_and_forgotten() -> None:
    talk = linked()
    talk.fence("bob")
    talk.pass_time(0.2)
    talk.reads("""
        >> fence bob
        << 2: bye: 'this peer was removed from the mesh', code 1
        << close 2: this peer was removed from the mesh
        << 1: records me@1.3[ann]
        << changed cat
        << changed bob
        << changed me
        << persist
        >> 1.20 s
    """)
    assert talk.mesh.peer(NAMES["bob"]) is None
    cat = talk.mesh.peer(NAMES["cat"])
    assert cat is not None and not cat.reachable
    again = Conversation(snapshot=talk.mesh.snapshot())
    assert again.mesh.peer(NAMES["bob"]) is None, "it is not in the snapshot either"


def test_fencing_again_does_nothing_and_nobody_is_ever_let_in_again() -> None:
    talk = linked()
    talk.fence("bob", "eve")
    fingerprint = talk.mesh.fingerprint()
    talk.forget()
    talk.fence("bob", "eve")
    talk.fence()
    talk.say(1, wire.Records((record("bob", 9, 9, ["ann"]), record("eve", 1, 1))))
    talk.open(3, "bob")
    talk.reads("""
        >> fence bob eve
        >> fence
        >> 1: records bob@9.9[ann] eve@1.1[]
        >> link 3 opened to bob
        << 3: bye: 'this peer was removed from the mesh', code 1
        << close 3: this peer was removed from the mesh
    """)
    assert talk.mesh.fingerprint() == fingerprint
    assert talk.mesh.counters() == Counters(fenced=2)


def test_ourselves_we_cannot_fence() -> None:
    talk = linked()
    talk.fence("me")
    talk.reads(">> fence me")
    assert talk.mesh.peers()[0].summary is not None


def test_records_of_fenced_peers_are_not_asked_for() -> None:
    talk = linked()
    talk.fence("cat")
    talk.forget()
    talk.say(1, wire.Digest(tuple(wire.DigestEntry(NAMES[name], 5, 5, b"") for name in ("me", "cat"))))
    talk.reads("""
        >> 1: digest me@5.5 cat@5.5
        << 1: records ann@1.1[me] bob@1.1[cat,me]
        << 1: request me
    """)


def test_unicasts_of_fenced_peers_are_neither_delivered_nor_passed_on() -> None:
    talk = linked()
    talk.fence("cat")
    talk.forget()
    for destination in ("me", "ann"):
        unicast = write_unicast(SIGNERS["cat"], "words", NAMES[destination], b"hear", epoch=1, sequence=1)
        talk.say(2, msgspec.structs.replace(unicast, hops=3))
    talk.reads("""
        >> 2: unicast on words cat to me, 3 hops left: hear
        >> 2: unicast on words cat to ann, 3 hops left: hear
    """)
    assert talk.mesh.counters() == Counters(fenced=2)


def test_a_target_that_leads_to_a_fenced_peer_says_so_and_is_tried_again() -> None:
    talk = Conversation()
    talk.fence("bob")
    talk.connect("h:1")
    talk.open(1, "bob", target="h:1")
    (target,) = talk.mesh.targets()
    assert (target.phase, target.reason) == (TargetPhase.WAITING, "this peer was removed from the mesh")
    assert target.next_dial_at is not None


def test_a_discovered_peer_is_dialled_no_more_once_it_is_fenced() -> None:
    talk = linked()
    talk.say(1, wire.Records((record("dan", 1, 1, ["ann"], b"h:5"),)))
    talk.fence("dan", "cat")
    talk.forget()
    for _ in range(20):
        talk.pass_time(0.5)
        talk.say(1, wire.Ping(1))
        talk.say(2, wire.Ping(1))
    assert "<< dial" not in talk.page()
    assert talk.mesh.peer(NAMES["dan"]) is None


def test_a_dial_under_way_to_a_peer_that_is_being_fenced_ends_well() -> None:
    talk = Conversation()
    talk.meet(1, "bob", record("bob", 1, 1, ["me"], b"h:2"), record("dan", 1, 1, ["bob"], b"h:5"))
    while "dial h:5" not in (said := talk.page()):
        assert said
        talk.tick()
    talk.fence("dan")
    talk.fail("h:5")
    talk.open(2, "dan", target="h:5")
    assert [link.peer for link in talk.mesh.links()] == [NAMES["bob"]]


def test_who_is_told_that_it_was_removed_tells_the_shell() -> None:
    talk = linked()
    talk.say(1, wire.bye("this peer was removed from the mesh", ByeCode.REMOVED))
    talk.reads("""
        >> 1: bye: 'this peer was removed from the mesh', code 1
        << fenced by ann
        << close 1: closed by the peer: this peer was removed from the mesh
        << 2: records me@1.3[bob]
        << changed ann
        << changed me
    """)


def test_a_removed_peer_hears_of_it_before_any_hello() -> None:
    talk = Conversation()
    talk.open(1, "bob", outbound=True)
    talk.forget()
    talk.say(1, wire.bye("away", ByeCode.REMOVED))
    talk.reads("""
        >> 1: bye: 'away', code 1
        << fenced by bob
        << close 1: closed by the peer: away
    """)


def test_a_bye_of_an_earlier_or_a_later_release_is_only_a_bye() -> None:
    assert wire.decode(msgspec.msgpack.encode([1, "gone"])) == wire.Bye("gone", 0)
    talk = linked()
    talk.say(1, wire.Bye("gone", 77))
    assert not any(isinstance(output, FencedBy) for output in talk.mesh.outputs())
    assert len(talk.mesh.links()) == 1


def test_two_meshes_agree_about_who_is_fenced_whoever_hears_first() -> None:
    one, other = linked(), linked()
    one.fence("cat")
    one.fence("bob")
    other.fence("bob", "cat")
    for talk in (one, other):
        talk.pass_time(0.2)
    assert one.mesh.fingerprint() == other.mesh.fingerprint()
    assert one.mesh.peers() == other.mesh.peers()


def test_two_links_to_a_fenced_peer_are_both_closed() -> None:
    talk = linked()
    talk.mesh.receive(LinkOpened(LinkId(9), NAMES["bob"], "192.0.2.9:1", outbound=True, target=None), talk.now)
    talk.mesh.receive(FencePeers((NAMES["bob"],)), talk.now)
    assert [link.peer for link in talk.mesh.links()] == [NAMES["ann"]]
