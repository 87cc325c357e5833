from __future__ import annotations

import msgspec
import pytest

from gossip import Counters, Delivered, LinkId, LocalMisuse, SendFrame
from gossip.exchange import (
    FORGED_MAX,
    HOLD_S,
    HOLD_STARVED_S,
    PASSED_ON_MAX,
    PUSH_INTERVAL_S,
    PUSH_RECORD_S,
    RECORDS_FRAME_BYTES,
    Exchange,
)
from gossip.health import LATE_S, LocalHealth
from gossip.link import ANSWER_INTERVAL_S, Link, LinkTable
from gossip.outbox import Outbox
from gossip.record import Record, RecordBody, is_authentic, seal
from gossip.store import RecordStore
from gossip.wire import (
    CHANNELS_MAX,
    PAYLOAD_BYTES_MAX,
    ChannelDigest,
    Digest,
    Frame,
    Glance,
    News,
    Records,
    Request,
    State,
    decode,
    encode,
)
from tests.unit.gossip.fake_signer import FakeSigner, fake_verify
from tests.unit.gossip.test_link import link
from tests.unit.gossip.transcript import NAMES, Words, record


class Scene:
    """An Exchange with links to ann and bob."""

    def __init__(self, *records: Record) -> None:
        self.counters = Counters()
        self.store = RecordStore(is_authentic=lambda it: is_authentic(it, fake_verify), counters=self.counters)
        for each in records:
            self.store.merge(each, 0.0)
        self.links, self.outbox, self.words = LinkTable(), Outbox(), Words(b"ours")
        self.health = LocalHealth(0.0)
        self.exchange = Exchange(
            store=self.store, links=self.links, outbox=self.outbox, counters=self.counters, health=self.health
        )
        self.exchange.register("words", self.words)
        self.ann, self.bob = (self._linked(number, peer) for number, peer in ((1, "ann"), (2, "bob")))

    def _linked(self, ident: int, peer: str) -> Link:
        it = link(ident, peer)
        self.links.add(it)
        self.links.establish(it, peer_epoch=1, serial=1)
        return it

    def sent(self, now: float = 100.0) -> list[tuple[LinkId, Frame] | Delivered]:
        self.exchange.flush(now)
        outputs: list[tuple[LinkId, Frame] | Delivered] = []
        for output in self.outbox.take():
            if isinstance(output, SendFrame):
                outputs.append((output.link, decode(output.frame)))
            elif isinstance(output, Delivered):
                outputs.append(output)
        return outputs


def test_a_glance_shows_records_and_channels() -> None:
    scene = Scene(record("cat", 1, 1))
    scene.exchange.glance(scene.ann)
    assert scene.sent() == [(1, Glance(scene.store.fingerprint(), (ChannelDigest("words", b"ours"),)))]


def test_a_digest_is_answered_by_what_they_lack_and_a_request_for_what_we_lack() -> None:
    cat, dan = record("cat", 1, 1), record("dan", 1, 1)
    scene = Scene(cat, record("eve", 1, 1))
    theirs = Scene(dan, record("eve", 1, 2)).store.digest()
    scene.exchange.digest_received(scene.ann, Digest(theirs), 0.0)
    assert scene.sent() == [(1, Records((cat,))), (1, Request((NAMES["dan"], NAMES["eve"])))]


def test_an_equal_digest_is_not_answered() -> None:
    scene = Scene(record("cat", 1, 1))
    scene.exchange.digest_received(scene.ann, Digest(scene.store.digest()), 0.0)
    assert scene.sent() == []


def test_news_is_owed_once_however_often_it_changes() -> None:
    scene = Scene()
    for version in (1, 2, 3):
        scene.exchange.records_received(scene.ann, Records((record("cat", 1, version),)), 0.0)
    assert scene.sent() == [(2, Records((record("cat", 1, 3),)))]
    assert scene.sent() == []


def test_who_shows_that_it_knows_is_not_told() -> None:
    scene = Scene()
    scene.exchange.records_received(scene.ann, Records((record("cat", 1, 1),)), 0.0)
    scene.exchange.records_received(scene.bob, Records((record("cat", 1, 1),)), 0.0)
    assert scene.sent() == []


def test_an_origin_is_not_told_of_itself() -> None:
    scene = Scene()
    scene.exchange.records_received(scene.ann, Records((record("bob", 1, 1),)), 0.0)
    assert scene.sent() == []


def test_both_sides_of_a_differing_channel_send_their_state() -> None:
    scene = Scene()
    glance = Glance(scene.store.fingerprint(), (ChannelDigest("words", b"theirs"),))
    scene.exchange.glance_received(scene.ann, glance, 0.0)
    scene.exchange.state_received(scene.bob, State("words", b"theirs", answer=True), 0.0)
    assert scene.sent() == [
        (1, State("words", b"ours", answer=True)),
        Delivered("words", NAMES["bob"], b"theirs", unicast=False),
        (2, State("words", b"ours", answer=False)),
    ]


def test_a_channel_that_nobody_registered_is_counted() -> None:
    scene = Scene()
    scene.exchange.state_received(scene.ann, State("else", b"", answer=True), 0.0)
    assert scene.sent() == []
    assert scene.counters == Counters(unregistered=1)


def test_news_of_a_channel_unknown_here_is_passed_on_once() -> None:
    scene = Scene()
    for neighbour in (scene.ann, scene.bob, scene.ann):
        scene.exchange.news_received(neighbour, News("else", b"hear"))
    scene.exchange.news_received(scene.bob, News("else", b"hear more"))
    assert scene.sent() == [(2, News("else", b"hear")), (1, News("else", b"hear more"))]
    assert scene.counters == Counters(unregistered=4)


def test_what_is_remembered_of_news_passed_on_is_bounded() -> None:
    scene = Scene()
    for number in (*range(PASSED_ON_MAX + 1), 0):
        scene.exchange.news_received(scene.ann, News("else", b"%d" % number))
    assert len(scene.sent()) == PASSED_ON_MAX + 2, "the oldest was forgotten and went again"


def test_news_goes_in_batches_where_there_is_much_of_it() -> None:
    scene = Scene()
    scene.exchange.records_received(scene.ann, Records((record("cat", 1, 1),)), 0.0)
    assert scene.sent(0.0) == []
    assert scene.exchange.deadline() == HOLD_S
    assert scene.sent(HOLD_S) == [(2, Records((record("cat", 1, 1),)))]
    assert scene.exchange.deadline() is None
    scene.exchange.records_received(scene.ann, Records((record("dan", 1, 1),)), HOLD_S)
    scene.exchange.records_received(scene.ann, Records((record("eve", 1, 1),)), HOLD_S)
    due = HOLD_S + PUSH_INTERVAL_S + PUSH_RECORD_S
    assert scene.exchange.deadline() == pytest.approx(due)
    assert scene.sent(due) == [(2, Records((record("dan", 1, 1), record("eve", 1, 1))))]
    scene.exchange.records_received(scene.ann, Records((record("eve", 1, 2),)), due)
    doubled_s = 2 * (PUSH_INTERVAL_S + PUSH_RECORD_S) + 2 * PUSH_RECORD_S
    assert scene.exchange.deadline() == pytest.approx(due + doubled_s), "the news goes on and on"
    assert len(scene.sent(due + doubled_s)) == 1
    later = due + 10.0
    scene.exchange.records_received(scene.ann, Records((record("eve", 1, 3),)), later)
    assert len(scene.sent(later + HOLD_S)) == 1
    scene.exchange.records_received(scene.ann, Records((record("eve", 1, 4),)), later + HOLD_S)
    assert scene.exchange.deadline() == pytest.approx(later + HOLD_S + PUSH_INTERVAL_S + PUSH_RECORD_S), "it paused"


def test_our_own_record_is_not_held() -> None:
    scene = Scene(record("me", 1, 1))
    scene.exchange.push({NAMES["me"]: None}, brought_by=None, now=1.0)
    assert scene.exchange.deadline() == 1.0
    assert scene.sent(1.0) == [(1, Records((record("me", 1, 1),))), (2, Records((record("me", 1, 1),)))]


def test_what_is_owed_over_a_link_goes_over_the_one_that_is_kept() -> None:
    scene = Scene()
    scene.exchange.records_received(scene.ann, Records((record("cat", 1, 1),)), 0.0)
    newer = link(3, "bob")
    scene.links.add(newer)
    scene.links.establish(newer, peer_epoch=2, serial=1)
    assert scene.sent(1.0) == []
    assert scene.sent(1.0) == [(3, Records((record("cat", 1, 1),)))]


def test_a_starved_host_holds_what_it_learns_longer_and_does_not_tell_who_shows_that_he_knows() -> None:
    scene = Scene()
    scene.health.called(late_s=2 * LATE_S, now=0.0)
    cat = Records((record("cat", 1, 1),))
    scene.exchange.records_received(scene.ann, cat, 0.0)
    assert scene.sent(2 * HOLD_S) == []
    scene.exchange.records_received(scene.bob, cat, 2 * HOLD_S)
    scene.exchange.records_received(scene.ann, Records((record("dan", 1, 1),)), 2 * HOLD_S)
    assert scene.sent(3 * HOLD_STARVED_S) == [(2, Records((record("dan", 1, 1),)))]


def test_what_is_owed_goes_before_its_turn_when_a_unicast_needs_it() -> None:
    scene = Scene()
    for version in (1, 2):
        scene.exchange.records_received(scene.ann, Records((record("cat", 1, version),)), 0.0)
        scene.sent(0.0)
    scene.exchange.push_now(scene.bob)
    assert scene.sent(0.0) == [(2, Records((record("cat", 1, 2),)))]


def test_over_a_blocked_link_debts_are_merged_until_it_is_free() -> None:
    scene = Scene()
    scene.exchange.block(scene.bob)
    for number in range(100):
        scene.words.text = b"words %d" % number
        scene.exchange.spread("words", b"word %d" % number)
        scene.exchange.records_received(scene.ann, Records((record("cat", 1, number + 1),)), float(number))
    glance = Glance(b"another", (ChannelDigest("words", b"theirs"),))
    scene.exchange.glance_received(scene.bob, glance, 100.0)
    scene.exchange.digest_received(scene.bob, Digest(()), 100.0)
    scene.exchange.request_received(scene.bob, Request((NAMES["cat"],)), 100.0)
    scene.exchange.state_received(scene.bob, State("words", b"theirs", answer=True), 100.0)
    said = [output for output in scene.sent() if not isinstance(output, Delivered)]
    assert [frame for ident, frame in said if ident == scene.bob.ident] == []
    scene.exchange.unblock(scene.bob)
    assert scene.sent(200.0) == [(2, State("words", b"words 99", answer=False)), (2, Records((record("cat", 1, 100),)))]
    assert scene.bob.owed == {}


def test_a_glance_that_differs_while_news_is_under_way_is_passed_over_twice() -> None:
    scene = Scene(record("cat", 1, 1))
    glance = Glance(b"another", ())
    answers = []
    for number in range(6):
        at = 10.0 * number
        scene.exchange.records_received(scene.ann, Records((record("cat", 1, number + 2),)), at)
        scene.exchange.glance_received(scene.bob, glance, at + 0.1)
        answers.append(
            any(isinstance(output[1], Digest) for output in scene.sent() if not isinstance(output, Delivered))
        )
    assert answers == [True, False, False, True, False, False], "never the first one, and not for ever"
    scene.exchange.glance_received(scene.ann, glance, 55.0)
    assert any(isinstance(output[1], Digest) for output in scene.sent() if not isinstance(output, Delivered))


def test_a_neighbour_that_brings_forged_records_is_not_listened_to_for_ever() -> None:
    scene = Scene()
    forged = msgspec.structs.replace(record("cat", 1, 1), version=2)
    news = scene.exchange.records_received(scene.ann, Records((record("dan", 1, 1), *[forged] * 99)), 0.0)
    assert [it.origin for it, _ in news] == [NAMES["dan"]], "what came before is true"
    assert scene.ann.forged == FORGED_MAX
    assert scene.counters == Counters(forged=FORGED_MAX)


def test_a_state_too_large_to_send_is_counted_and_nothing_breaks() -> None:
    scene = Scene()
    scene.words.text = bytes(PAYLOAD_BYTES_MAX + 1)
    scene.exchange.state_received(scene.ann, State("words", b"", answer=True), ANSWER_INTERVAL_S)
    assert scene.counters == Counters(oversized=1)


def test_many_records_go_in_frames_of_bounded_size() -> None:
    body = RecordBody(bytes(8000), ())
    records = [seal(FakeSigner(f"peer {number}"), 1, 1, body) for number in range(70)]
    scene = Scene(*records)
    asked = tuple(each.origin for each in records)
    scene.exchange.request_received(scene.ann, Request(asked + asked), 0.0)
    frames = [output[1] for output in scene.sent() if not isinstance(output, Delivered)]
    batches = [frame.records for frame in frames if isinstance(frame, Records)]
    assert [each for batch in batches for each in batch] == records, "each is sent once"
    assert len(batches) == 3
    assert all(len(encode(frame)) <= RECORDS_FRAME_BYTES + 10_000 for frame in frames)


def test_channels_are_registered_once_and_bounded() -> None:
    scene = Scene()
    for name in ("words", "", "x" * 33, "mesh"):
        with pytest.raises(LocalMisuse):
            scene.exchange.register(name, Words())
    for number in range(CHANNELS_MAX - 1):
        scene.exchange.register(f"c{number}", Words())
    with pytest.raises(LocalMisuse):
        scene.exchange.register("one too many", Words())
