"""What a removed peer left gets one new owner, once all who live have agreed; until then the status says why not."""

from collections.abc import Sequence
from ipaddress import IPv4Network

import pytest

from ipam_crdt.allocator import Allocator
from ipam_crdt.cidr import Block
from ipam_crdt.event import (
    Allocate,
    Leave,
    MessageReceived,
    Output,
    PeersReachable,
    Persist,
    Remove,
    RingReceived,
)
from ipam_crdt.promise import Fence
from ipam_crdt.ring import ROUND_BITS, ROUND_MAX, Entry, Ring, Title
from ipam_crdt.roster import Owner, Roster
from ipam_crdt.settlement import ASK_AGAIN_S, NAMED_MAX, settled
from ipam_crdt.snapshot import read_snapshot
from ipam_crdt.wire import Agree, Settle, decode_message, digest_of_roster, encode_message, knowledge_of
from tests.unit.ipam_crdt.peers import (
    ANNE,
    BERT,
    CARL,
    DORA,
    FAR,
    UNIVERSE,
    allocator,
    converse,
    give,
    gossip,
    mesh,
    owners_of,
    pass_time,
    remove,
    sends,
    tell,
    wishes,
)


def wish_of(peer: Allocator, outputs: Sequence[Output]) -> Settle:
    wish = decode_message(wishes(outputs)[0].payload)
    assert isinstance(wish, Settle)
    assert wish.digest == digest_of_roster(peer.roster)
    return wish


def agreement_of(outputs: Sequence[Output]) -> Agree:
    (answer,) = [decode_message(output.payload) for output in sends(outputs)]
    assert isinstance(answer, Agree)
    return answer


def test_what_is_left_falls_to_the_heir_by_a_title_of_a_round() -> None:
    peers = mesh(ANNE, BERT, CARL)
    give(peers, ANNE, BERT)
    left = give(peers, BERT, CARL)
    remove(peers, CARL)
    assert owners_of(peers, left) == {(BERT,)}
    ring = peers[BERT].ring
    assert ring is not None
    assert ring.within(Block.of(left)) == [Entry(Block.of(left), Title(1 << ROUND_BITS, BERT, Owner("")))]
    assert all(peer.status().unsettled == () and peer.status().removed == (CARL,) for peer in peers.values())


def test_where_the_heir_is_removed_too_it_falls_to_the_neighbour_so_that_it_is_one_route_again() -> None:
    peers = mesh(BERT, ANNE, CARL, DORA)
    first = give(peers, BERT, CARL)
    left = give(peers, CARL, DORA)
    remove(peers, CARL)
    assert owners_of(peers, first) == {(BERT, DORA)}
    remove(peers, DORA, by=BERT, now=5.0)
    assert owners_of(peers, left) == {(BERT,)} and peers[ANNE].owned(BERT) == (UNIVERSE,)


def test_where_heir_and_neighbour_are_removed_too_it_falls_to_the_executor() -> None:
    peers = mesh(BERT, ANNE, CARL, DORA)
    give(peers, BERT, CARL)
    left = give(peers, CARL, DORA)
    del peers[CARL]
    remove(peers, DORA, by=BERT)
    assert owners_of(peers, left) == {(DORA,)}
    tell(peers[BERT], Remove(CARL), now=5.0)
    gossip(peers, now=5.0)
    pass_time(peers, 6.0)
    assert owners_of(peers, left) == {(ANNE,)}, "the least name of those who live is the executor, whoever removes"


@pytest.mark.parametrize(
    ("heir", "neighbour", "successor"),
    [(BERT, CARL, BERT), (DORA, CARL, CARL), (Owner(""), CARL, CARL), (DORA, DORA, ANNE), (Owner(""), Owner(""), ANNE)],
)
def test_who_gets_what_a_removed_one_left(heir: Owner, neighbour: Owner, successor: Owner) -> None:
    lower, upper = Block.of(UNIVERSE).halves()
    left = Entry(lower, Title(6, DORA, heir))
    others = [left] if not neighbour else [left, Entry(upper, Title(9, neighbour, ANNE))]
    ring = Ring.unknown(bytes(16), Block.of(UNIVERSE)).merge(others, Roster.of(ANNE, BERT, CARL, removed=(DORA,))).ring
    assert settled(ring, left, 3, ANNE) == Title(3 << ROUND_BITS, successor, Owner(""))


def test_what_is_all_there_is_has_no_neighbour() -> None:
    whole = Entry(Block.of(UNIVERSE), Title(6, DORA, Owner("")))
    ring = Ring.unknown(bytes(16), Block.of(UNIVERSE)).merge([whole], Roster.of(ANNE, removed=(DORA,))).ring
    assert settled(ring, whole, 1, ANNE) == Title(1 << ROUND_BITS, ANNE, Owner(""))


def test_what_is_of_one_who_lives_stays_with_him_and_keeps_its_heir() -> None:
    owned = Entry(Block.of(UNIVERSE), Title(6, BERT, DORA))
    ring = Ring.unknown(bytes(16), Block.of(UNIVERSE)).merge([owned], Roster.of(ANNE, removed=(DORA,))).ring
    title = settled(ring, owned, 2, ANNE)
    assert title == Title(2 << ROUND_BITS, BERT, DORA) and title.giver == "", "nobody gave it: it was settled"


def test_what_the_heir_gets_is_handed_out_and_granted_again() -> None:
    universe = IPv4Network("10.0.0.0/30")
    peers = mesh(ANNE, BERT, CARL, universe=universe)
    give(peers, ANNE, CARL)
    remove(peers, CARL)
    asking = tell(peers[BERT], Allocate("one", FAR), Allocate("two", FAR))
    converse(peers, BERT, asking, has_gossip=True)
    tell(peers[BERT], Allocate("two", FAR))
    assert len(peers[BERT].allocations()) == 2 and peers[BERT].check() == []


def test_nothing_is_passed_on_before_all_who_live_have_agreed() -> None:
    peers = mesh(ANNE, BERT, CARL, DORA)
    left = give(peers, ANNE, DORA)
    dora, cut_off = peers[DORA], peers.pop(CARL)
    remove(peers, DORA)
    assert dora.owned(DORA) == (left,)
    for second in range(1, 9):
        pass_time(peers, second * ASK_AGAIN_S)
    assert owners_of(peers, left) == {(DORA,)}
    assert all(peer.owned(DORA) == () for peer in peers.values()), "but it owns it no more"
    peers[CARL] = cut_off
    gossip(peers, now=10.0)
    pass_time(peers, 11.0)
    assert owners_of(peers, left) == {(ANNE,)}


def test_one_who_does_not_answer_is_asked_again_and_those_who_agreed_are_not() -> None:
    peers = mesh(ANNE, BERT, CARL, DORA)
    give(peers, ANNE, DORA)
    anne = peers[ANNE]
    del peers[CARL]
    remove(peers, DORA)
    assert anne.deadline() == ASK_AGAIN_S
    anne.tick(ASK_AGAIN_S / 2)
    assert wishes(anne.outputs()) == []
    anne.tick(ASK_AGAIN_S)
    assert [wish.destination for wish in wishes(anne.outputs())] == [CARL]
    assert anne.deadline() == 2 * ASK_AGAIN_S


def test_while_nobody_who_is_missing_can_be_reached_there_is_nothing_to_wake_for() -> None:
    peers = mesh(ANNE, BERT, CARL)
    give(peers, ANNE, CARL)
    tell(peers[ANNE], PeersReachable(()))
    assert wishes(tell(peers[ANNE], Remove(CARL))) == []
    assert peers[ANNE].deadline() is None
    assert len(wishes(tell(peers[ANNE], PeersReachable((BERT,)), now=5.0))) == 1


def test_the_removal_of_the_one_who_is_missing_lets_the_rest_go_on() -> None:
    peers = mesh(ANNE, BERT, CARL, DORA)
    give(peers, ANNE, CARL)
    left = give(peers, CARL, DORA)
    cut_off = peers.pop(CARL)
    remove(peers, DORA)
    assert owners_of(peers, left) == {(DORA,)}
    peers[CARL] = cut_off
    remove(peers, CARL, by=BERT, now=5.0)
    pass_time(peers, 6.0)
    assert all(peer.owned(ANNE) == (UNIVERSE,) for peer in peers.values())


def test_when_the_executor_is_removed_the_next_one_takes_over_with_a_greater_round() -> None:
    peers = mesh(BERT, ANNE, CARL, DORA)
    left = give(peers, BERT, DORA)
    executor = peers.pop(ANNE)
    remove(peers, DORA, by=BERT)
    assert owners_of(peers, left) == {(DORA,)}
    for wish in wishes(tell(executor, Remove(DORA))):
        tell(peers[wish.destination], MessageReceived(ANNE, wish.payload))
    peers[ANNE] = executor
    remove(peers, ANNE, by=BERT)
    pass_time(peers, 2.0)
    assert owners_of(peers, left) == {(BERT,)}
    ring = peers[CARL].ring
    assert ring is not None and ring.entry_at(Block.of(left).start).title.round == 2


def test_an_agreement_is_persisted_before_it_is_sent_and_kept_over_a_restart() -> None:
    peers = mesh(ANNE, BERT, CARL)
    left = give(peers, ANNE, CARL)
    (wish,) = wishes(tell(peers[ANNE], Remove(CARL)))
    outputs = tell(peers[BERT], MessageReceived(ANNE, wish.payload))
    kept = outputs[0]
    assert isinstance(kept, Persist)
    promises = read_snapshot(kept.snapshot).promises
    assert promises.round == 1
    assert promises.fences == {Block.of(left): Fence(1, frozenset({ANNE, BERT}))}
    again = allocator(BERT, snapshot=kept.snapshot)
    answer = agreement_of(tell(again, MessageReceived(ANNE, wish.payload)))
    assert (answer.round, answer.digest) == (1, digest_of_roster(peers[ANNE].roster))


def test_an_executor_that_restarts_begins_a_greater_round() -> None:
    peers = mesh(ANNE, BERT, CARL)
    left = give(peers, ANNE, CARL)
    outputs = tell(peers[ANNE], Remove(CARL))
    assert isinstance(outputs[0], Persist)
    first = wish_of(peers[ANNE], outputs)
    peers[ANNE] = allocator(ANNE, snapshot=outputs[0].snapshot)
    del peers[CARL]
    outputs = tell(peers[ANNE], PeersReachable((BERT,)))
    assert wish_of(peers[ANNE], outputs).round > first.round
    converse(peers, ANNE, outputs, has_gossip=True)
    assert owners_of(peers, left) == {(ANNE,)}


def test_an_estate_found_in_a_snapshot_is_settled_at_once() -> None:
    peers = mesh(ANNE, BERT, CARL)
    give(peers, ANNE, CARL)
    kept = tell(peers[ANNE], Remove(CARL))[0]
    assert isinstance(kept, Persist)
    again = allocator(ANNE, snapshot=kept.snapshot)
    promised = again.outputs()[0]
    assert isinstance(promised, Persist) and read_snapshot(promised.snapshot).promises.round == 2
    assert again.deadline() is None, "until somebody can be reached"


def test_what_the_removed_one_gave_away_unheard_is_left_to_its_owner() -> None:
    """Anne, the executor, has not heard that Carl gave Bert a part."""
    peers = mesh(ANNE, BERT, CARL)
    left = give(peers, ANNE, CARL)
    part = give(peers, CARL, BERT, has_gossip=False)
    assert peers[ANNE].owned(BERT) == () and part.subnet_of(left)
    remove(peers, CARL)
    pass_time(peers, 2.0)
    assert peers[ANNE].owned(BERT) == peers[BERT].owned(BERT) == (part,)
    assert owners_of(peers, left) == {(ANNE, BERT)}


def test_one_who_knows_better_tells_it_with_its_agreement() -> None:
    peers = mesh(ANNE, BERT, CARL)
    give(peers, ANNE, CARL)
    part = give(peers, CARL, BERT, has_gossip=False)
    (wish,) = wishes(tell(peers[ANNE], Remove(CARL)))
    answer = agreement_of(tell(peers[BERT], MessageReceived(ANNE, wish.payload)))
    assert (answer.round, answer.digest) == (1, digest_of_roster(peers[BERT].roster))
    assert [(entry.block, entry.title.owner) for entry in answer.knowledge.entries if entry.title.owner != CARL] == [
        (Block.of(part), BERT)
    ]


def test_the_word_of_one_who_knows_other_members_does_not_count() -> None:
    peers = mesh(ANNE, BERT, CARL)
    left = give(peers, ANNE, CARL)
    outputs = tell(peers[ANNE], Remove(CARL))
    newcomer = allocator(DORA)
    tell(newcomer, RingReceived(BERT, peers[BERT].state()))
    tell(peers[BERT], RingReceived(DORA, newcomer.state()))
    del peers[CARL]
    converse(peers, ANNE, wishes(outputs))
    assert owners_of({ANNE: peers[ANNE]}, left) == {(CARL,)}
    peers[DORA] = newcomer
    gossip(peers, now=1.0)
    pass_time(peers, 1.0)
    assert owners_of(peers, left) == {(CARL,)}, "dora, who lives, has not been asked: she cannot be reached"
    tell(peers[ANNE], PeersReachable((BERT, DORA)), now=2.0)
    pass_time(peers, 2.0 + ASK_AGAIN_S)
    assert owners_of(peers, left) == {(ANNE,)}


def test_a_word_given_for_an_earlier_round_does_not_count() -> None:
    peers = mesh(ANNE, BERT, CARL)
    left = give(peers, ANNE, CARL)
    outputs = tell(peers[ANNE], Remove(CARL))
    late = agreement_of(tell(peers[BERT], MessageReceived(ANNE, wishes(outputs)[0].payload)))
    kept = outputs[0]
    assert isinstance(kept, Persist)
    peers[ANNE] = allocator(ANNE, snapshot=kept.snapshot)
    tell(peers[ANNE], PeersReachable((BERT,)))
    assert tell(peers[ANNE], MessageReceived(BERT, encode_message(late))) == []
    assert owners_of({ANNE: peers[ANNE]}, left) == {(CARL,)}


def test_who_is_bound_to_a_greater_round_says_so_and_is_outbid_a_second_later() -> None:
    peers = mesh(ANNE, BERT, CARL)
    left = give(peers, ANNE, CARL)
    ring = peers[BERT].ring
    assert ring is not None
    other = Settle(knowledge_of(ring, (), Roster.of(DORA)), 5, b"")
    tell(peers[BERT], MessageReceived(DORA, encode_message(other)))
    remove(peers, CARL)
    assert owners_of(peers, left) == {(CARL,)}
    assert peers[ANNE].deadline() == ASK_AGAIN_S
    tell(peers[ANNE], RingReceived(BERT, peers[BERT].state()))
    del peers[BERT]
    peers[ANNE].tick(ASK_AGAIN_S)
    assert wish_of(peers[ANNE], peers[ANNE].outputs()).round == 6


def test_a_settlement_that_somebody_else_made_is_a_greater_round_for_the_next_one() -> None:
    peers = mesh(ANNE, BERT, CARL, DORA)
    give(peers, ANNE, CARL)
    give(peers, ANNE, DORA)
    remove(peers, CARL)
    remove(peers, DORA, now=5.0)
    ring = peers[BERT].ring
    assert ring is not None
    assert {title.round for _, title in ring.entries} == {0, 1, 2}


def test_an_alone_survivor_settles_without_asking() -> None:
    peers = mesh(BERT, ANNE)
    give(peers, BERT, ANNE)
    remove(peers, BERT, by=ANNE)
    assert peers[ANNE].owned(ANNE) == (UNIVERSE,)
    assert peers[ANNE].deadline() is None


def test_of_one_who_left_nothing_is_left_to_settle() -> None:
    peers = mesh(ANNE, BERT, CARL)
    give(peers, ANNE, CARL)
    converse(peers, CARL, tell(peers[CARL], Leave()), has_gossip=True)
    ring = peers[ANNE].ring
    assert ring is not None and ring.estate() == () and ring.roster.removed == {CARL}
    assert peers[ANNE].owned(ANNE) == (UNIVERSE,)


def test_a_round_that_cannot_be_outbid_leaves_the_estate_alone_and_wakes_nobody_for_ever() -> None:
    peers = mesh(ANNE, BERT, CARL)
    give(peers, ANNE, CARL)
    ring = peers[ANNE].ring
    assert ring is not None
    last = Agree(knowledge_of(ring, ()), round=ROUND_MAX, digest=b"")
    tell(peers[ANNE], MessageReceived(BERT, encode_message(last)))
    assert wishes(tell(peers[ANNE], Remove(CARL), now=5.0)) == []
    assert peers[ANNE].deadline() is None


def test_the_status_names_who_is_missing_and_what_to_do() -> None:
    peers = mesh(ANNE, BERT, CARL, DORA)
    left = give(peers, ANNE, DORA)
    tell(peers[ANNE], PeersReachable((BERT,)))
    del peers[CARL]
    remove(peers, DORA)
    (sentence,) = peers[ANNE].status().unsettled
    assert sentence.startswith(f"{left} of dora, which was removed, cannot be handed out yet: ")
    assert "carl is unreachable; start those peers, or remove them too" in sentence
    (sentence,) = peers[BERT].status().unsettled
    assert "anne is about to pass it on; start that peer" in sentence
    tell(peers[BERT], PeersReachable(()))
    assert "anne has to pass it on and is unreachable" in peers[BERT].status().unsettled[0]
    tell(peers[ANNE], PeersReachable((BERT, CARL)))
    assert "and carl is asked" in peers[ANNE].status().unsettled[0]


def test_an_excuse_counts_the_peers_and_blocks_beyond_a_few() -> None:
    names = tuple(Owner(f"p{number}") for number in range(NAMED_MAX + 3))
    anne = mesh(ANNE, *names, CARL)[ANNE]
    ring = anne.ring
    assert ring is not None
    start = Block.of(UNIVERSE).start
    scattered = [Entry(Block(start + 8 * at, 32), Title(2, CARL, ANNE)) for at in range(NAMED_MAX + 1)]
    told = encode_message(Agree(knowledge_of(ring, scattered), round=0, digest=b""))
    tell(anne, MessageReceived(names[0], told), PeersReachable(()), Remove(CARL))
    (sentence,) = anne.status().unsettled
    assert "10.0.0.24/32 and more of carl" in sentence and "10.0.0.32" not in sentence
    assert "p0, p1, p2, p3 and 3 more are unreachable" in sentence


@pytest.mark.parametrize("name", [ANNE, CARL])
def test_one_who_was_removed_agrees_to_nothing(name: Owner) -> None:
    peers = mesh(ANNE, BERT, CARL)
    give(peers, ANNE, BERT)
    wish = wishes(tell(peers[ANNE], Remove(BERT)))[0]
    removed = peers[BERT]
    assert [
        output
        for output in sends(tell(removed, MessageReceived(name, wish.payload)))
        if isinstance(decode_message(output.payload), Agree)
    ] == []
    assert removed.is_removed and removed.status().unsettled == ()
