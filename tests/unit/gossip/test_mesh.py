"""The Mesh, as transcripts: what goes in, what comes out, whole."""

from __future__ import annotations

import msgspec
import pytest

from gossip import (
    Counters,
    FrameReceived,
    GossipNews,
    LinkId,
    LinkOpened,
    LocalMisuse,
    PublishSummary,
    SendUnicast,
    SnapshotCorrupt,
    Target,
    TargetPhase,
    wire,
)
from gossip.discovery import links_wanted
from gossip.exchange import HOLD_S
from gossip.link import LINKS_MAX, LINKS_PER_PEER_MAX
from gossip.record import Record, signed_bytes
from gossip.trimmer import ROOM
from gossip.unicast import write_unicast
from gossip.wire import RECORDS_MAX
from tests.unit.gossip.fake_signer import FakeSigner
from tests.unit.gossip.transcript import NAMES, SIGNERS, Conversation, Words, record

# In the order of names: eve < ann < cat < bob < me < dan.


def test_a_target_is_dialled_until_it_answers_then_both_tell_what_they_know() -> None:
    talk = Conversation()
    talk.connect("h:1")
    talk.fail("h:1")
    talk.tick()
    talk.open(1, "bob", target="h:1")
    talk.say(1, wire.Hello(1, 1, 7, 0))
    talk.say(1, wire.Ping(1))
    talk.say(1, wire.Digest(()))
    talk.say(1, wire.Records((record("bob", 7, 2, ["me", "cat"]), record("cat", 1, 1, ["bob"]))))
    talk.tick()
    talk.reads("""
        << changed me
        << persist
        >> connect h:1
        << dial h:1
        << persist
        >> dial h:1 failed: refused
        >> 0.50 s
        << dial h:1
        >> link 1 opened to bob, dialled h:1
        << 1: hello, wire 1 to 1, epoch 1, serial 1
        >> 1: hello, wire 1 to 1, epoch 7, serial 0
        << 1: ping 1
        << 1: glance words=
        >> 1: ping 1
        << 1: pong 1
        >> 1: digest
        << 1: records me@1.1[]
        >> 1: records bob@7.2[cat,me] cat@1.1[bob]
        << changed cat
        << changed bob
        << persist
        >> 0.52 s
        << 1: records me@1.2[bob]
        << changed me
    """)
    me, cat, bob = talk.mesh.peers()
    assert (me.name, me.reachable, me.hops, me.next_hop) == (NAMES["me"], True, 0, None)
    assert (cat.name, cat.reachable, cat.hops, cat.next_hop) == (NAMES["cat"], True, 2, NAMES["bob"])
    assert (bob.epoch, bob.version, bob.hops, bob.links) == (7, 2, 1, tuple(sorted((NAMES["cat"], NAMES["me"]))))
    assert bob.linked is not None
    assert cat.linked is None
    assert talk.mesh.peer(NAMES["bob"]) == bob
    assert talk.mesh.peer(NAMES["eve"]) is None


def test_who_was_dialled_waits_for_the_glance_and_answers_what_differs() -> None:
    talk = Conversation()
    talk.words.text = b"ours"
    talk.meet(1, "bob")
    talk.say(1, wire.Glance(b"different", (wire.ChannelDigest("words", b"theirs"), wire.ChannelDigest("else", b"x"))))
    talk.say(1, wire.Records((record("bob", 1, 1, ["me"], b"h:2"),)))
    talk.say(1, wire.Request((NAMES["me"], NAMES["eve"])))
    talk.say(1, wire.State("words", b"theirs", answer=False))
    talk.reads("""
        << changed me
        << persist
        >> 1: glance words=theirs else=x
        << 1: digest me@1.1
        << 1: state of words: ours, and yours?
        >> 1: records bob@1.1[me]
        << changed bob
        << persist
        >> 1: request me eve
        << 1: records me@1.1[]
        >> 1: state of words: theirs
        << news on words from bob: theirs
    """)


def test_a_glance_that_shows_the_same_is_not_answered() -> None:
    talk = Conversation()
    talk.meet(1, "bob")
    talk.say(1, wire.Glance(talk.mesh.fingerprint(), (wire.ChannelDigest("words", b""),)))
    talk.reads("""
        << changed me
        << persist
        >> 1: glance words=
    """)


def test_questions_are_answered_at_a_bounded_rate() -> None:
    talk = Conversation()
    talk.meet(1, "bob")
    for _ in range(3):
        talk.say(1, wire.Glance(b"different", (wire.ChannelDigest("words", b"theirs"),)))
        talk.say(1, wire.Digest(()))
        talk.say(1, wire.Request((NAMES["me"],)))
    talk.reads("""
        << changed me
        << persist
        >> 1: glance words=theirs
        << 1: digest me@1.1
        << 1: state of words: , and yours?
        >> 1: digest
        << 1: records me@1.1[]
        >> 1: request me
        << 1: records me@1.1[]
        >> 1: glance words=theirs
        >> 1: digest
        >> 1: request me
        >> 1: glance words=theirs
        >> 1: digest
        >> 1: request me
    """)


def test_news_goes_to_all_neighbours_but_the_one_who_brought_it() -> None:
    talk = Conversation()
    for link, peer in enumerate(("ann", "bob", "cat"), start=1):
        talk.meet(link, peer, record(peer, 1, 1, ["me"]))
    for _ in range(2):
        talk.pass_time(0.1)
    talk.forget()
    talk.say(1, wire.Records((record("eve", 1, 1, ["ann"]),)))
    talk.say(2, wire.Records((record("eve", 1, 1, ["ann"]),)))
    talk.pass_time(HOLD_S)
    talk.feed(GossipNews("words", b"hear"))
    talk.say(2, wire.News("words", b"hear too"))
    talk.reads("""
        >> 1: records eve@1.1[ann]
        << changed eve
        << persist
        >> 2: records eve@1.1[ann]
        >> 0.22 s
        << 3: records eve@1.1[ann]
        >> GossipNews(channel='words', payload=b'hear')
        << 1: news on words: hear
        << 2: news on words: hear
        << 3: news on words: hear
        >> 2: news on words: hear too
        << news on words from bob: hear too
    """)


def test_our_record_says_what_changed_at_once_but_not_more_often_than_needed() -> None:
    talk = Conversation()
    talk.meet(1, "bob", record("bob", 1, 1, ["me"]))
    talk.pass_time(0.5)
    talk.pass_time(0.5)
    talk.forget()
    talk.feed(PublishSummary(b"h:1"))
    talk.feed(PublishSummary(b"h:1"))
    talk.feed(PublishSummary(b"h:2"))
    talk.feed(PublishSummary(b"h:3"))
    talk.tick()
    talk.reads("""
        >> PublishSummary(summary=b'h:1')
        << 1: records me@1.3[bob]
        << changed me
        << persist
        >> PublishSummary(summary=b'h:1')
        >> PublishSummary(summary=b'h:2')
        >> PublishSummary(summary=b'h:3')
        >> 1.30 s
        << 1: records me@1.4[bob]
        << changed me
        << persist
    """)


def test_a_silent_link_is_closed_and_its_target_dialled_again() -> None:
    talk = Conversation()
    talk.connect("h:1")
    talk.meet(1, "bob", record("bob", 1, 1, ["me"]), target="h:1")
    talk.pass_time(0.1)
    talk.forget()
    for _ in range(6):
        talk.tick()
    talk.reads("""
        >> 1.75 s
        << 1: ping 2
        >> 2.75 s
        << 1: ping 3
        << 1: glance words=
        >> 3.25 s
        << 1: ping 4
        >> 3.50 s
        << 1: bye: 'nothing heard for 3.5 s'
        << close 1: nothing heard for 3.5 s
        << changed bob
        << changed me
        >> 3.75 s
        >> 4.00 s
        << dial h:1
    """)
    bob = talk.mesh.peer(NAMES["bob"])
    assert bob is not None
    assert (bob.reachable, bob.linked, bob.last_heard) == (False, None, 103.5)


def test_a_stall_of_our_own_costs_no_link() -> None:
    talk = Conversation()
    talk.meet(1, "bob", record("bob", 1, 1, ["me"]))
    talk.pass_time(0.5)
    talk.forget()
    talk.pass_time(60)
    talk.reads("""
        >> 60.50 s
        << 1: glance words=
    """)
    for _ in range(6):
        talk.tick()
    assert talk.mesh.links() == ()


def test_a_link_to_ourselves_is_recognised_at_both_ends() -> None:
    talk = Conversation()
    talk.connect("h:1")
    talk.open(1, "me", target="h:1")
    talk.open(2, "me")
    talk.say(2, wire.Hello(1, 1, 1, 1))
    (target,) = talk.mesh.targets()
    assert target.phase is TargetPhase.OURSELVES
    talk.say(1, wire.Hello(1, 1, 1, 0))
    assert talk.mesh.deadline() is None
    talk.connect("h:1")
    talk.reads("""
        << changed me
        << persist
        >> connect h:1
        << dial h:1
        << persist
        >> link 1 opened to me, dialled h:1
        << 1: hello, wire 1 to 1, epoch 1, serial 0
        >> link 2 opened to me
        << 2: hello, wire 1 to 1, epoch 1, serial 0
        >> 2: hello, wire 1 to 1, epoch 1, serial 1
        << close 2: this is ourselves
        >> 1: hello, wire 1 to 1, epoch 1, serial 0
        << close 1: this is ourselves
        >> connect h:1
        << dial h:1
    """)


def test_of_two_links_that_of_the_smaller_name_stays_and_nobody_flaps() -> None:
    talk = Conversation()
    talk.connect("h:1")
    talk.meet(1, "bob", record("bob", 1, 1, ["me"]), target="h:1")
    talk.forget()
    talk.open(2, "bob")
    talk.say(2, wire.Hello(1, 1, 1, 5))
    talk.say(2, wire.Ping(1))
    talk.close(1)
    talk.reads("""
        >> link 2 opened to bob
        << 2: hello, wire 1 to 1, epoch 1, serial 0
        >> 2: hello, wire 1 to 1, epoch 1, serial 5
        << 2: ping 1
        >> 2: ping 1
        << 1: bye: 'another link to the same peer is kept'
        << close 1: another link to the same peer is kept
        << 2: pong 1
        >> link 1 closed: reset
    """)
    assert [view.phase for view in talk.mesh.targets()] == [TargetPhase.LINKED]


def test_of_two_links_that_of_the_larger_name_goes() -> None:
    talk = Conversation()
    talk.meet(1, "bob", record("bob", 1, 1, ["me"]))
    talk.connect("h:1")
    talk.open(2, "bob", target="h:1")
    talk.say(2, wire.Hello(1, 1, 1, 0))
    talk.say(2, wire.Ping(1))
    talk.reads("""
        << changed me
        << persist
        >> connect h:1
        << dial h:1
        << persist
        >> link 2 opened to bob, dialled h:1
        << 2: hello, wire 1 to 1, epoch 1, serial 1
        >> 2: hello, wire 1 to 1, epoch 1, serial 0
        << 2: ping 1
        >> 2: ping 1
        << 2: bye: 'another link to the same peer is kept'
        << close 2: another link to the same peer is kept
    """)
    assert [view.phase for view in talk.mesh.targets()] == [TargetPhase.LINKED]


def test_the_link_of_a_newer_life_stays_whoever_dialled() -> None:
    talk = Conversation()
    talk.meet(1, "bob", record("bob", 1, 1, ["me"]))
    talk.open(2, "bob", outbound=True)
    talk.say(2, wire.Hello(1, 1, 2, 0))
    talk.say(2, wire.Ping(1))
    talk.reads("""
        << changed me
        << persist
        >> link 2 opened to bob, dialled None
        << 2: hello, wire 1 to 1, epoch 1, serial 1
        >> 2: hello, wire 1 to 1, epoch 2, serial 0
        << 2: ping 1
        << 2: glance words=
        >> 2: ping 1
        << 1: bye: 'another link to the same peer is kept'
        << close 1: another link to the same peer is kept
        << 2: pong 1
    """)


def test_the_target_of_a_peer_that_dialled_us_is_not_dialled() -> None:
    talk = Conversation()
    talk.connect("h:1")
    talk.meet(1, "dan", target="h:1")
    talk.close(1)
    talk.open(2, "dan")
    talk.pass_time(5)
    assert [view.phase for view in talk.mesh.targets()] == [TargetPhase.LINKED]


def test_a_peer_heard_of_is_dialled_by_the_smaller_name_at_once_by_the_larger_later() -> None:
    talk = Conversation()
    records = (record("bob", 1, 1, ["me"]), record("dan", 1, 1, [], b"dan:1"), record("cat", 1, 1, [], b"cat:1"))
    talk.meet(1, "bob", *records)
    talk.tick()
    talk.reads("""
        << changed me
        << persist
        >> 0.00 s
        << dial dan:1
    """)
    talk.pass_time(4)
    talk.say(1, wire.Ping(2))
    talk.forget()
    talk.pass_time(1.1)
    talk.reads("""
        >> 5.10 s
        << dial cat:1
    """)


def test_without_discovery_only_targets_are_dialled() -> None:
    talk = Conversation(discovery=False)
    talk.meet(1, "bob", record("bob", 1, 1, ["me"]), record("dan", 1, 1, [], b"dan:1"))
    for _ in range(5):
        talk.pass_time(1.0)
        talk.say(1, wire.Ping(1))
    talk.connect("h:1")
    talk.pass_time(0.5)
    talk.forget()
    assert [view.target for view in talk.mesh.targets()] == ["h:1"]


def test_forged_old_and_unreadable_records_are_ignored_and_counted() -> None:
    talk = Conversation()
    genuine = record("bob", 2, 2, ["me"])
    talk.meet(1, "bob", genuine)
    stolen = record("ann", 9, 9)
    unreadable = b"no map"
    signature = SIGNERS["cat"].sign(signed_bytes(NAMES["cat"], 1, 1, unreadable))
    bad = (
        msgspec.structs.replace(genuine, version=3),
        msgspec.structs.replace(stolen, origin=NAMES["bob"]),
        msgspec.structs.replace(stolen, origin=NAMES["dan"], public_key=SIGNERS["dan"].public_key),
        record("bob", 2, 1),
        record("bob", 1, 99),
        Record(NAMES["cat"], 1, 1, SIGNERS["cat"].public_key, unreadable, signature),
    )
    before = talk.mesh.peers(), talk.mesh.fingerprint()
    talk.say(1, wire.Records(bad[:3]))
    talk.say(1, wire.Records(bad[3:5]))
    talk.say(1, wire.Records(bad[5:]))
    talk.reads("""
        << changed me
        << persist
        >> 1: records bob@2.3[me] bob@9.9[] dan@9.9[]
        >> 1: records bob@2.1[] bob@1.99[]
        >> 1: records cat@1.1 unreadable
    """)
    assert (talk.mesh.peers(), talk.mesh.fingerprint()) == before
    assert talk.mesh.counters() == Counters(forged=3, stale=2, malformed=1)


def test_a_record_of_ours_from_another_life_is_overtaken() -> None:
    talk = Conversation(epoch=3)
    talk.meet(1, "bob", record("bob", 1, 1, ["me"]))
    talk.pass_time(0.5)
    talk.forget()
    talk.say(1, wire.Records((record("me", 2, 40),)))
    talk.say(1, wire.Records((record("me", 8, 40),)))
    talk.say(1, wire.Records((record("me", 9, 50),)))
    talk.pass_time(0.9)
    talk.say(1, wire.Ping(1))
    talk.pass_time(0.2)
    talk.reads("""
        >> 1: records me@2.40[]
        >> 1: records me@8.40[]
        << changed me
        << persist
        >> 1: records me@9.50[]
        >> 1.40 s
        << 1: records me@9.50[]
        >> 1: ping 1
        << 1: pong 1
        >> 1.60 s
        << 1: records me@10.1[bob]
        << changed me
        << persist
    """)
    assert talk.mesh.counters() == Counters(stale=1, overtaken=2)


def test_fields_of_a_later_release_travel_on_untouched() -> None:
    body = msgspec.msgpack.encode({"summary": b"h:9", "links": [NAMES["me"]], "future": {"answer": 42}})
    later = Record(
        NAMES["bob"], 1, 1, SIGNERS["bob"].public_key, body, SIGNERS["bob"].sign(signed_bytes(NAMES["bob"], 1, 1, body))
    )
    talk = Conversation()
    talk.meet(1, "bob", later)
    again = Conversation(snapshot=talk.mesh.snapshot(), epoch=2)
    again.open(1, "cat")
    again.mesh.receive(FrameReceived(LinkId(1), wire.encode(wire.Hello(1, 1, 1, 1))), again.now)
    again.mesh.receive(FrameReceived(LinkId(1), wire.encode(wire.Request((NAMES["bob"],)))), again.now)
    frames = [wire.decode(output.frame) for output in again.mesh.outputs() if hasattr(output, "frame")]
    assert wire.Records((later,)) in frames
    view = again.mesh.peer(NAMES["bob"])
    assert view is not None
    assert view.summary == b"h:9"


def test_unicasts_go_hop_by_hop_and_arrive_once() -> None:
    talk = Conversation()
    talk.meet(1, "bob", record("bob", 1, 1, ["me", "cat"]), record("cat", 1, 1, ["bob", "eve"]), record("dan", 1, 1))
    talk.meet(2, "dan", record("dan", 1, 2, ["me"]))
    talk.pass_time(0.1)
    talk.forget()
    talk.feed(SendUnicast("words", NAMES["cat"], b"near"))
    talk.feed(SendUnicast("words", NAMES["eve"], b"no way there"))
    talk.feed(SendUnicast("words", NAMES["me"], b"to myself"))
    through = write_unicast(SIGNERS["dan"], "words", NAMES["cat"], b"through", epoch=1, sequence=1)
    talk.say(2, through)
    talk.say(2, msgspec.structs.replace(through, hops=0))
    for_us = write_unicast(SIGNERS["cat"], "words", NAMES["me"], b"for us", epoch=1, sequence=1)
    talk.say(1, for_us)
    talk.say(1, for_us)
    talk.say(1, msgspec.structs.replace(for_us, sequence=2))
    talk.say(1, write_unicast(SIGNERS["eve"], "words", NAMES["me"], b"who?", epoch=1, sequence=1))
    talk.say(1, write_unicast(SIGNERS["cat"], "unheard", NAMES["me"], b"where?", epoch=1, sequence=3))
    talk.reads("""
        >> unicast on words to cat: near
        << 1: unicast on words me to cat, 31 hops left: near
        >> unicast on words to eve: no way there
        >> unicast on words to me: to myself
        << unicast on words from me: to myself
        >> 2: unicast on words dan to cat, 32 hops left: through
        << 1: unicast on words dan to cat, 31 hops left: through
        >> 2: unicast on words dan to cat, 0 hops left: through
        >> 1: unicast on words cat to me, 32 hops left: for us
        << unicast on words from cat: for us
        >> 1: unicast on words cat to me, 32 hops left: for us
        >> 1: unicast on words cat to me, 32 hops left: for us
        >> 1: unicast on words eve to me, 32 hops left: who?
        >> 1: unicast on unheard cat to me, 32 hops left: where?
    """)
    assert talk.mesh.counters() == Counters(unroutable=2, replayed=1, forged=1, strangers=1, unregistered=1)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"\xc1", "unreadable frame"),
        (b"", "unreadable frame"),
        (wire.encode(wire.Hello(1, 1, 1, 1)), "a second hello"),
        (b"\x00" * (wire.FRAME_BYTES_MAX + 1), "frame too long"),
        (msgspec.msgpack.encode([99, 1]), "unreadable frame"),
        (msgspec.msgpack.encode([6, ["not a name"]]), "unreadable frame"),
    ],
)
def test_a_violation_costs_the_link_and_nothing_else(frame: bytes, reason: str) -> None:
    talk = Conversation()
    talk.meet(1, "bob")
    talk.meet(2, "cat")
    talk.mesh.receive(FrameReceived(LinkId(1), frame), talk.now)
    bye = wire.decode(talk.mesh.outputs()[0].frame)  # type: ignore[union-attr]  # the Bye comes first
    assert isinstance(bye, wire.Bye)
    assert bye.reason.startswith(reason)
    assert [view.link for view in talk.mesh.links()] == [2]
    assert talk.mesh.counters() == Counters(violations=1)
    talk.mesh.receive(FrameReceived(LinkId(1), frame), talk.now)
    assert talk.mesh.counters() == Counters(violations=1), "frames of a closed link are ignored"


def test_nothing_is_heard_before_hello_or_in_another_version() -> None:
    talk = Conversation()
    talk.open(1, "bob")
    talk.say(1, wire.Ping(1))
    talk.open(2, "bob")
    talk.say(2, wire.Hello(7, 8, 1, 1))
    talk.open(3, "bob")
    talk.say(3, wire.Bye("no room\n"))
    talk.open(4, "bob")
    talk.pass_time(0.1)
    talk.forget()
    talk.tick()
    talk.reads("""
        >> 3.50 s
        << 4: bye: 'nothing heard for 3.5 s'
        << close 4: nothing heard for 3.5 s
    """)
    assert talk.mesh.links() == ()


def test_what_is_said_in_a_bye_is_shown_without_tricks() -> None:
    talk = Conversation()
    talk.connect("h:1")
    talk.open(1, "bob", target="h:1")
    talk.forget()
    talk.say(1, wire.Bye("no room\n\x1b[2J"))
    talk.reads(r"""
        >> 1: bye: 'no room\n\x1b[2J'
        << close 1: closed by the peer: no room??[2J
    """)
    (target,) = talk.mesh.targets()
    assert target.reason == "closed by the peer: no room??[2J"


def test_a_snapshot_brings_back_peers_and_targets_as_hearsay() -> None:
    talk = Conversation()
    talk.connect("h:1", "h:2")
    talk.meet(1, "bob", record("bob", 5, 2, ["me"], b"h:1"), target="h:1")
    again = Conversation(snapshot=talk.mesh.snapshot(), epoch=2)
    again.reads("""
        << dial h:1
        << dial h:2
        << changed bob
        << changed me
        << persist
    """)
    me, bob = again.mesh.peers()
    assert (me.epoch, me.version) == (2, 1)
    assert (bob.summary, bob.epoch, bob.reachable, bob.last_heard) == (b"h:1", 5, False, None)
    assert [view.target for view in again.mesh.targets()] == ["h:1", "h:2"]


def test_a_life_begins_above_the_epochs_of_its_snapshot() -> None:
    talk = Conversation(epoch=6)
    assert Conversation(snapshot=talk.mesh.snapshot(), epoch=6).mesh.peers()[0].epoch == 7
    assert Conversation(snapshot=talk.mesh.snapshot(), epoch=2).mesh.peers()[0].epoch == 7


def test_a_corrupt_snapshot_is_refused() -> None:
    for snapshot in (b"", b"\xc1", b"\x80", Conversation().mesh.snapshot()[:-3]):
        with pytest.raises(SnapshotCorrupt):
            Conversation(snapshot=snapshot)


def test_links_are_bounded() -> None:
    talk = Conversation()
    talk.meet(1, "bob", record("bob", 1, 1, ["me"], b"bob:1"))
    talk.pass_time(0.2)
    room = links_wanted(2) + ROOM
    for link in range(2, room + 1):
        opened = LinkOpened(LinkId(link), FakeSigner(f"peer {link}").name, "h:1", outbound=False, target=None)
        talk.mesh.receive(opened, talk.now)
    talk.mesh.outputs()
    talk.connect("h:1")
    talk.forget()
    talk.open(room + 1, "cat")
    talk.reads(f"""
        >> link {room + 1} opened to cat
        << {room + 1}: bye: 'no room: {room} links already', code 2, others bob:1
        << close {room + 1}: no room: {room} links already
    """)


def test_links_that_are_the_users_design_are_bounded_too() -> None:
    talk = Conversation(discovery=False)
    talk.meet(1, "bob", record("bob", 1, 1, ["me"], b"bob:1"))
    for link in range(2, LINKS_MAX + 1):
        opened = LinkOpened(LinkId(link), FakeSigner(f"peer {link}").name, "h:1", outbound=False, target=None)
        talk.mesh.receive(opened, talk.now)
    talk.mesh.outputs()
    talk.connect("h:1")
    talk.forget()
    talk.open(LINKS_MAX + 1, "cat")
    talk.reads("""
        >> link 65 opened to cat
        << 65: bye: 'no room: 64 links already', code 2, others bob:1
        << close 65: no room: 64 links already
    """)
    (target,) = talk.mesh.targets()
    assert (target.phase, target.reason) == (TargetPhase.WAITING, "other targets are tried first")


def test_links_with_one_peer_are_bounded() -> None:
    talk = Conversation()
    for link in range(1, LINKS_PER_PEER_MAX + 1):
        talk.open(link, "bob")
    talk.forget()
    talk.open(LINKS_PER_PEER_MAX + 1, "bob")
    talk.reads("""
        >> link 9 opened to bob
        << 9: bye: 'no room: 8 links with this peer already', code 2
        << close 9: no room: 8 links with this peer already
    """)


def test_records_are_bounded() -> None:
    talk = Conversation()
    talk.meet(1, "bob")
    strangers = []
    for number in range(RECORDS_MAX + 10):
        stranger = FakeSigner(f"stranger {number}")
        body = msgspec.msgpack.encode({"summary": b"", "links": []})
        signature = stranger.sign(signed_bytes(stranger.name, 1, 1, body))
        strangers.append(Record(stranger.name, 1, 1, stranger.public_key, body, signature))
    for first in range(0, len(strangers), 1000):
        frame = wire.encode(wire.Records(tuple(strangers[first : first + 1000])))
        talk.mesh.receive(FrameReceived(LinkId(1), frame), talk.now)
        talk.mesh.outputs()
    assert len(talk.mesh.peers()) == RECORDS_MAX + 1, "bob is linked, though there was no room for his record"
    assert talk.mesh.counters() == Counters(refused=11)


def test_what_the_caller_does_wrong_is_refused_and_changes_nothing() -> None:
    talk = Conversation()
    talk.meet(1, "bob")
    before = talk.mesh.snapshot()
    with pytest.raises(LocalMisuse):
        talk.mesh.register("words", Words())
    with pytest.raises(LocalMisuse):
        talk.open(1, "bob")
    with pytest.raises(LocalMisuse):
        talk.feed(GossipNews("unheard", b""))
    with pytest.raises(LocalMisuse):
        talk.feed(GossipNews("words", bytes(wire.PAYLOAD_BYTES_MAX + 1)))
    with pytest.raises(LocalMisuse):
        talk.feed(SendUnicast("unheard", NAMES["bob"], b""))
    with pytest.raises(LocalMisuse):
        talk.feed(PublishSummary(bytes(10_000)))
    with pytest.raises(LocalMisuse):
        talk.connect(*(f"h:{port}" for port in range(2000)))
    assert talk.mesh.snapshot() == before
    assert talk.mesh.outputs() == []


def test_counters_are_a_copy() -> None:
    talk = Conversation()
    counters = talk.mesh.counters()
    counters.forged = 9
    assert talk.mesh.counters() == msgspec.structs.replace(counters, forged=0)
    assert Target("h:1") not in [view.target for view in talk.mesh.targets()]
