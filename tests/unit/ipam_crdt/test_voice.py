"""What the parts of the allocator say is said once, in order, and no change of the ring is kept to ourselves."""

from ipam_crdt.cidr import Block
from ipam_crdt.event import Allocated, Announce, Output, OwnershipChanged, Refused, Send
from ipam_crdt.holding import Holding
from ipam_crdt.ring import Entry, Title
from ipam_crdt.roster import Roster
from ipam_crdt.voice import Voice
from ipam_crdt.wire import Deny, DenyReason, Knowledge, decode_knowledge, decode_message, knowledge_of
from tests.unit.ipam_crdt.peers import ANNE, BERT, CARL, UNIVERSE

BLOCK = Block.of(UNIVERSE)
UPPER = BLOCK.halves()[1]


def founder() -> tuple[Holding, Voice]:
    holding = Holding(ANNE, BLOCK, BLOCK)
    holding.settle_in(bytes(16), (ANNE,))
    return holding, Voice(holding)


def told(output: Output) -> Knowledge:
    assert isinstance(output, Announce)
    return decode_knowledge(output.payload)


def test_what_is_said_is_taken_once_in_order() -> None:
    _, voice = founder()
    first, second = Refused("pod", "why; do this"), Allocated("pod", UNIVERSE[1])
    voice.say(first, second)
    voice.say(first)
    assert voice.take() == [first, second, first]
    assert voice.take() == []


def test_a_message_goes_to_one_peer_as_its_payload() -> None:
    holding, voice = founder()
    assert holding.ring is not None
    message = Deny(knowledge_of(holding.ring, ()), DenyReason.FULL, None, 3)
    voice.send(BERT, message)
    (output,) = voice.take()
    assert isinstance(output, Send) and output.destination == BERT
    assert decode_message(output.payload) == message


def test_a_change_of_owner_is_ours_announced_and_noted() -> None:
    holding, voice = founder()
    assert holding.ring is not None
    merged = holding.ring.grant(UPPER, giver=ANNE, taker=BERT)
    voice.adopt(merged)
    announcement, changed = voice.take()
    assert holding.ring is merged.ring
    assert told(announcement).entries == merged.news
    assert told(announcement).free == holding.space.free_count < 128
    assert changed == OwnershipChanged()


def test_a_removal_is_told_and_changes_who_owns_what() -> None:
    holding, voice = founder()
    assert holding.ring is not None
    voice.adopt(holding.ring.merge((), Roster.of(BERT)))
    (announcement,) = voice.take()
    assert told(announcement).roster == Roster.of(BERT)
    voice.adopt(holding.ring.merge((), Roster.of(removed=(BERT,))))
    announcement, changed = voice.take()
    assert told(announcement).roster == Roster.of(ANNE, removed=(BERT,)), "all of it goes with a removal"
    assert changed == OwnershipChanged()


def test_the_removals_behind_a_change_are_told_with_it_though_they_are_no_news() -> None:
    holding, voice = founder()
    assert holding.ring is not None
    voice.adopt(holding.ring.merge((), Roster.of(CARL, removed=(BERT,))))
    voice.take()
    voice.adopt(holding.ring.grant(UPPER, giver=ANNE, taker=CARL), because=Roster.of(removed=(BERT,)))
    announcement, _ = voice.take()
    assert told(announcement).roster == Roster.of(ANNE, CARL, removed=(BERT,))


def test_a_new_title_of_the_same_owner_is_told_but_is_no_change_of_owner() -> None:
    holding, voice = founder()
    assert holding.ring is not None
    merged = holding.ring.merge([Entry(UPPER, Title(3, ANNE, CARL))])
    voice.adopt(merged)
    (announcement,) = voice.take()
    assert told(announcement).entries == merged.news
    assert told(announcement).roster == Roster.of(ANNE, CARL)


def test_what_is_announced_several_times_before_it_is_taken_is_told_once_and_as_it_is_then() -> None:
    holding, voice = founder()
    assert holding.ring is not None
    voice.adopt(holding.ring.grant(UPPER, giver=ANNE, taker=BERT))
    quarter = UPPER.halves()[0]
    voice.adopt(holding.ring.grant(quarter, giver=BERT, taker=CARL))
    announcements = [output for output in voice.take() if isinstance(output, Announce)]
    assert len(announcements) == 1
    assert told(announcements[0]).entries == tuple(holding.ring.within(UPPER))
    assert {ANNE, BERT, CARL} >= told(announcements[0]).roster.members >= {BERT, CARL}
    assert voice.take() == []
