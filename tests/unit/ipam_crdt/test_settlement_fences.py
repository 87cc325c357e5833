"""The fences that an agreement leaves behind: what they forbid, who is reminded of them, and when they fall."""

from ipaddress import IPv4Network

from ipam_crdt.allocator import Allocator
from ipam_crdt.cidr import Block
from ipam_crdt.event import (
    Allocate,
    Allocated,
    Announce,
    Claim,
    Leave,
    MessageReceived,
    Output,
    PeersReachable,
    Remove,
    RingReceived,
    Send,
)
from ipam_crdt.ring import ROUND_BITS, Entry, Ring, Title
from ipam_crdt.roster import Owner, Roster
from ipam_crdt.settlement import ASK_AGAIN_S, NUDGE_S
from ipam_crdt.wire import (
    Agree,
    Deny,
    DenyReason,
    Grant,
    Settle,
    decode_knowledge,
    decode_message,
    encode_message,
    knowledge_of,
)
from tests.unit.ipam_crdt.peers import (
    ANNE,
    BERT,
    CARL,
    DORA,
    FAR,
    UNIVERSE,
    answers,
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

Peers = dict[Owner, Allocator]


def ring_of(peer: Allocator) -> Ring:
    assert peer.ring is not None
    return peer.ring


def bind(peer: Allocator, executor: Owner, estate: IPv4Network, *, gone: Owner, round_: int = 1) -> list[Output]:
    """The peer's answer to an executor who wants to settle a range."""
    block = Block.of(estate)
    knowledge = knowledge_of(ring_of(peer), ring_of(peer).within(block), Roster.of(removed=(gone,)))
    return tell(peer, MessageReceived(executor, encode_message(Settle(knowledge, round_, b""))))


def abandoned() -> tuple[Peers, IPv4Network]:
    """Bert has agreed to settle what Carl left, Anne has done it, and Bert has not heard of it."""
    peers = mesh(ANNE, BERT, CARL)
    left = give(peers, ANNE, CARL)
    del peers[CARL]
    (wish,) = wishes(tell(peers[ANNE], Remove(CARL), PeersReachable((BERT,))))
    (word,) = sends(tell(peers[BERT], PeersReachable((ANNE,)), MessageReceived(ANNE, wish.payload)))
    tell(peers[ANNE], MessageReceived(BERT, word.payload))
    assert peers[ANNE].owned(ANNE) == (UNIVERSE,) != peers[BERT].owned(ANNE)
    return peers, left


def test_who_stands_behind_a_fence_reminds_the_executor_now_and_then() -> None:
    bert = abandoned()[0][BERT]
    assert bert.deadline() == NUDGE_S
    bert.tick(NUDGE_S / 2)
    assert bert.outputs() == []
    for times in (1, 2, 3):
        assert bert.deadline() == times * NUDGE_S
        bert.tick(times * NUDGE_S)
        (reminder,) = bert.outputs()
        assert isinstance(reminder, Send) and reminder.destination == ANNE
        message = decode_message(reminder.payload)
        assert isinstance(message, Settle) and message.round == 1
        assert message.knowledge.roster.removed == {CARL}


def test_an_executor_that_cannot_be_reached_is_reminded_when_it_can() -> None:
    bert = abandoned()[0][BERT]
    tell(bert, PeersReachable(()))
    assert bert.deadline() is None
    bert.tick(3 * NUDGE_S)
    assert bert.outputs() == []
    assert [wish.destination for wish in wishes(tell(bert, PeersReachable((ANNE,)), now=3 * NUDGE_S))] == [ANNE]


def test_an_executor_that_is_reminded_of_what_is_settled_tells_it_and_binds_itself_to_nothing() -> None:
    peers, left = abandoned()
    peers[BERT].tick(NUDGE_S)
    (reminder,) = sends(peers[BERT].outputs())
    (answer,) = sends(tell(peers[ANNE], MessageReceived(BERT, reminder.payload), now=NUDGE_S))
    message = decode_message(answer.payload)
    assert isinstance(message, Agree)
    assert message.knowledge.entries == (Entry(Block.of(left), Title(1 << ROUND_BITS, ANNE, Owner(""))),)
    assert peers[ANNE].deadline() is None, "no fence of its own to settle"
    tell(peers[BERT], MessageReceived(ANNE, answer.payload), now=NUDGE_S)
    assert owners_of(peers, left) == {(ANNE,)} and peers[BERT].deadline() is None


def test_who_has_no_fence_reminds_nobody_of_an_estate() -> None:
    peers = mesh(ANNE, BERT, CARL)
    give(peers, ANNE, CARL)
    assert wishes(tell(peers[BERT], Remove(CARL))) == [] and peers[BERT].deadline() is None
    peers[BERT].tick(FAR)
    assert peers[BERT].outputs() == []


def test_fences_that_a_lost_executor_left_behind_are_settled_by_the_next_one() -> None:
    """Anne, who is lost, had asked Carl alone, and Bert knows nothing of what Dora left."""
    peers = mesh(BERT, ANNE, CARL, DORA)
    left = give(peers, BERT, DORA)
    bind(peers[CARL], ANNE, left, gone=DORA)
    for name in (BERT, CARL):
        tell(peers[name], Remove(ANNE), PeersReachable((BERT, CARL)))
    assert peers[BERT].deadline() is None
    del peers[ANNE], peers[DORA]
    wake_at = peers[CARL].deadline()
    assert wake_at == NUDGE_S
    pass_time(peers, NUDGE_S)
    assert owners_of(peers, left) == {(BERT,)} and ring_of(peers[CARL]).entry_at(Block.of(left).start).title.round == 2
    assert [peer.deadline() for peer in peers.values()] == [None, None]


def test_what_was_asked_for_and_is_of_one_who_lives_gets_a_title_of_the_round_and_stays_his() -> None:
    peers = mesh(ANNE, BERT, CARL)
    left = give(peers, ANNE, CARL)
    part = give(peers, CARL, BERT, has_gossip=False)
    remove(peers, CARL)
    assert owners_of(peers, left) == {(ANNE, BERT)}
    for peer in peers.values():
        titles = [title for _, title in ring_of(peer).within(Block.of(left))]
        assert [title.round for title in titles] == [1, 1] and peer.owned(BERT) == (part,)
    assert peers[BERT].deadline() is None, "so its fence fell, too"


def test_a_settlement_is_told_with_the_removals_behind_it() -> None:
    peers = mesh(ANNE, BERT, CARL)
    give(peers, ANNE, CARL)
    del peers[CARL]
    (wish,) = wishes(tell(peers[ANNE], Remove(CARL)))
    (word,) = sends(tell(peers[BERT], MessageReceived(ANNE, wish.payload)))
    outputs = tell(peers[ANNE], MessageReceived(BERT, word.payload))
    (told,) = [decode_knowledge(output.payload) for output in outputs if isinstance(output, Announce)]
    assert told.roster.removed == {CARL} and [entry.title.round for entry in told.entries] == [1]


def test_what_is_behind_a_fence_is_handed_out_but_not_given_away_until_it_is_settled() -> None:
    """Bert owns what Anne wants to settle as Dora's; he knows better and says so, and until it is settled keeps it."""
    peers = mesh(ANNE, BERT, CARL, DORA)
    left = give(peers, ANNE, BERT)
    bert = peers[BERT]
    bind(bert, ANNE, left, gone=DORA)
    assert isinstance(answers(tell(bert, Allocate("pod", FAR)))[0], Allocated)
    tell(peers[CARL], PeersReachable((BERT,)))
    for wish in (Allocate("any", FAR), Claim("one", left[9], FAR)):
        (request,) = sends(tell(peers[CARL], wish))
        (denial,) = sends(tell(bert, MessageReceived(CARL, request.payload)))
        message = decode_message(denial.payload)
        assert isinstance(message, Deny) and message.reason is DenyReason.FULL
    assert bert.owned(BERT) == (left,)
    settled = Entry(Block.of(left), Title(1 << ROUND_BITS, BERT, ANNE))
    tell(bert, MessageReceived(ANNE, encode_message(Grant(knowledge_of(ring_of(bert), [settled])))))
    (grant,) = sends(tell(bert, MessageReceived(CARL, request.payload)))
    assert isinstance(decode_message(grant.payload), Grant) and bert.owned(CARL) == (IPv4Network(f"{left[9]}/32"),)


def test_what_is_beside_a_fence_is_given_away_as_ever() -> None:
    peers = mesh(ANNE, BERT, CARL)
    left = give(peers, ANNE, BERT)
    bind(peers[ANNE], BERT, left, gone=DORA)
    assert peers[ANNE].owned(ANNE) == (IPv4Network("10.0.0.0/25"),)
    assert give(peers, ANNE, CARL).subnet_of(IPv4Network("10.0.0.0/25"))


def test_a_reminder_of_fences_that_overlap_can_be_read() -> None:
    peers = mesh(ANNE, BERT, CARL)
    left = give(peers, ANNE, CARL)
    bert, (low, high) = peers[BERT], left.subnets()
    bind(bert, ANNE, high, gone=CARL)
    bind(bert, ANNE, left, gone=CARL, round_=2)
    bert.tick(NUDGE_S)
    (reminder,) = sends(bert.outputs())
    message = decode_message(reminder.payload)
    assert isinstance(message, Settle) and message.round == 2
    assert sum(entry.block.size for entry in message.knowledge.entries) == left.num_addresses
    outputs = tell(peers[ANNE], MessageReceived(BERT, reminder.payload), now=NUDGE_S)
    converse({ANNE: peers[ANNE], BERT: bert}, ANNE, outputs, NUDGE_S, has_gossip=True)
    assert bert.owned(ANNE) == (UNIVERSE,) and bert.deadline() is None and low.subnet_of(left)


def test_one_who_leaves_from_behind_a_fence_gives_nothing_of_it_to_one_who_would_lose_it() -> None:
    """Bert has what Dora left; he agrees, leaves, and Carl uses it before Anne, who settles, hears of either."""
    peers = mesh(ANNE, BERT, CARL, DORA)
    give(peers, ANNE, DORA)
    part = give(peers, DORA, BERT, has_gossip=False)
    del peers[DORA]
    asked = {wish.destination: wish for wish in wishes(tell(peers[ANNE], Remove(DORA)))}
    words = {
        name: sends(tell(peers[name], MessageReceived(ANNE, asked[name].payload), PeersReachable((BERT, CARL))))
        for name in (CARL, BERT)
    }
    (farewell,) = [output for output in tell(peers.pop(BERT), Leave()) if isinstance(output, Announce)]
    tell(peers[CARL], RingReceived(BERT, farewell.payload), Claim("pod", part[5], FAR))
    for name, (word, *_) in words.items():
        tell(peers[ANNE], MessageReceived(name, word.payload))
    for now in (1.0, 1.0 + ASK_AGAIN_S, 3.0):
        gossip(peers, now)
        pass_time(peers, now)
    tell(peers[ANNE], Claim("other", part[5], FAR), now=4.0)
    in_use = [address for peer in peers.values() for address in peer.allocations().values()]
    assert len(in_use) == len({*in_use}), "no address is in use twice"
