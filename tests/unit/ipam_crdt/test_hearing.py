"""What others tell is merged once and passed on; what cannot be right becomes a finding and changes nothing."""

from ipaddress import IPv4Address, IPv4Network

import pytest

from ipam_crdt.allocator import Allocator
from ipam_crdt.cidr import Block
from ipam_crdt.event import (
    Allocate,
    Allocated,
    Announce,
    Claim,
    Clear,
    Leave,
    MessageReceived,
    OwnershipChanged,
    PeersReachable,
    Persist,
    Release,
    Remove,
    RingReceived,
)
from ipam_crdt.ring import NO_HEIR, NO_ROSTER, OWNERS_MAX, ROUND_BITS, Entry, Ring, Title
from ipam_crdt.roster import Owner, Roster
from ipam_crdt.snapshot import read_snapshot
from ipam_crdt.wire import (
    Deny,
    DenyReason,
    Notice,
    Settle,
    decode_knowledge,
    decode_message,
    encode_knowledge,
    encode_message,
    knowledge_of,
)
from tests.unit.ipam_crdt.peers import (
    ALONE,
    ANNE,
    BERT,
    CARL,
    DORA,
    FAR,
    UNIVERSE,
    allocator,
    answers,
    converse,
    give,
    mesh,
    pair,
    refusal,
    sends,
    tell,
)


def test_what_a_newcomer_hears_it_persists_and_tells_on_once() -> None:
    anne, bert = allocator(ANNE, ALONE), allocator(BERT)
    anne.outputs()
    outputs = tell(bert, RingReceived(ANNE, anne.state()))
    assert [type(output) for output in outputs] == [Persist, Announce, OwnershipChanged]
    assert tell(bert, RingReceived(ANNE, anne.state()), RingReceived(ANNE, anne.state())) == []
    assert bert.owned(ANNE) == (UNIVERSE,)
    (kept, _) = tell(anne, RingReceived(BERT, bert.state()))
    assert isinstance(kept, Persist), "that bert takes part is news"
    assert bert.digest() == anne.digest() and bert.roster == anne.roster == Roster.of(ANNE, BERT)


@pytest.mark.parametrize("payload", [b"", b"\x01garbage", b"\x07", bytes(2**20 + 1)])
def test_garbage_is_a_finding_and_changes_nothing_until_the_peer_sends_what_is_right(payload: bytes) -> None:
    anne, bert = pair()
    before = bert.digest()
    assert tell(bert, RingReceived(ANNE, payload), MessageReceived(ANNE, payload)) == []
    (finding,) = bert.status().findings
    assert finding.startswith("anne sent ") and bert.digest() == before
    tell(bert, RingReceived(ANNE, anne.state()))
    assert bert.status().findings == ()


def test_nothing_of_another_ring_or_another_range_is_used() -> None:
    anne, bert = pair()
    stranger = allocator(CARL, ALONE)
    stranger.outputs()
    elsewhere = allocator(Owner("dora"), ALONE, universe=IPv4Network("10.9.0.0/24"))
    before = anne.digest()
    outputs = tell(anne, RingReceived(CARL, stranger.state()), RingReceived(Owner("dora"), elsewhere.state()))
    assert outputs == [] and anne.digest() == before
    founded_apart, other_range = anne.status().findings
    assert "carl belongs to ring" in founded_apart and "dora divides 10.9.0.0/24" in other_range
    (request,) = sends(tell(bert, Allocate("pod", FAR)))
    assert tell(stranger, MessageReceived(BERT, request.payload)) == []
    assert stranger.owned(CARL) == (UNIVERSE,)


def test_one_who_waits_for_a_ring_is_told_of_the_foreign_one() -> None:
    elsewhere, bert = allocator(ANNE, ALONE, universe=IPv4Network("10.9.0.0/24")), allocator(BERT)
    tell(bert, RingReceived(ANNE, elsewhere.state()), Allocate("pod", 1.0))
    bert.tick(1.0)
    assert "anne divides 10.9.0.0/24" in refusal(bert.outputs())


def test_messages_from_ourselves_from_no_name_and_before_there_is_a_ring_are_ignored() -> None:
    anne, bert = pair()
    (request,) = sends(tell(bert, Allocate("pod", FAR)))
    assert tell(anne, MessageReceived(ANNE, request.payload), MessageReceived(Owner("\x1b"), request.payload)) == []
    assert tell(allocator(CARL), MessageReceived(BERT, request.payload)) == []
    assert anne.owned(ANNE) == (UNIVERSE,)


def test_a_block_of_ours_that_another_has_by_a_newer_title_is_lost_and_found() -> None:
    anne = allocator(ANNE, ALONE)
    tell(anne, Allocate("pod", FAR))
    assert anne.ring is not None
    stolen = Entry(Block.of(IPv4Network("10.0.0.0/28")), Title(9, BERT, CARL))
    payload = encode_knowledge(knowledge_of(anne.ring, [stolen]))
    assert OwnershipChanged() in tell(anne, RingReceived(BERT, payload))
    (finding,) = anne.status().findings
    assert finding.startswith("10.0.0.0/28 belongs to bert") and "1 addresses in use" in finding
    assert answers(tell(anne, Allocate("next", FAR))) == [Allocated("next", IPv4Address("10.0.0.16"))]


def test_two_titles_of_one_version_are_a_finding_and_both_sides_agree() -> None:
    anne, bert = pair()
    assert anne.ring is not None
    upper = Block.of(UNIVERSE).halves()[1]
    told = [encode_knowledge(knowledge_of(anne.ring, [Entry(upper, Title(2, owner, ANNE))])) for owner in (BERT, CARL)]
    tell(anne, *(RingReceived(CARL, payload) for payload in told))
    tell(bert, *(RingReceived(CARL, payload) for payload in reversed(told)))
    assert anne.digest() == bert.digest() and anne.owned(CARL) == bert.owned(CARL) == (upper.network(),)
    for peer in (anne, bert):
        assert any("given both to carl and to bert" in finding for finding in peer.status().findings)


def test_of_a_ring_heard_of_in_part_the_rest_is_unknown() -> None:
    bert = allocator(BERT)
    upper = Block.of(UNIVERSE).halves()[1]
    ring = Ring.unknown(bytes(16), Block.of(UNIVERSE)).merge([Entry(upper, Title(2, ANNE, CARL))]).ring
    tell(bert, RingReceived(ANNE, encode_knowledge(knowledge_of(ring, ring.known()))))
    assert bert.status().unknown == 128
    tell(bert, Claim("pod", IPv4Address("10.0.0.5"), 1.0))
    bert.tick(1.0)
    assert "nobody is known to own 10.0.0.5" in refusal(bert.outputs())


def told_by(peer: Allocator, *entries: Entry, roster: Roster = NO_ROSTER) -> bytes:
    """Knowledge of the peer's ring, whether it has it or not."""
    assert peer.ring is not None
    return encode_knowledge(knowledge_of(peer.ring, entries, roster))


def ring_of(peer: Allocator) -> Ring:
    assert peer.ring is not None
    return peer.ring


def title_at(peer: Allocator, network: IPv4Network) -> Title:
    assert peer.ring is not None
    (entry,) = peer.ring.within(Block.of(network))
    return entry.title


def test_one_who_hears_of_a_ring_takes_part_in_it() -> None:
    bert = allocator(BERT)
    assert bert.roster == Roster()
    tell(bert, RingReceived(ANNE, mesh(ANNE)[ANNE].state()))
    assert bert.roster == Roster.of(ANNE, BERT)


def test_whoever_speaks_of_a_ring_is_a_member_of_it_and_all_are_told() -> None:
    """Carl was given nothing and says nothing of himself: that he has the ring is enough."""
    anne, _ = pair()
    outputs = tell(anne, RingReceived(CARL, told_by(anne)))
    assert [type(output) for output in outputs] == [Persist, Announce]
    assert isinstance(outputs[1], Announce) and decode_knowledge(outputs[1].payload).roster == Roster.of(CARL)
    tell(anne, MessageReceived(DORA, encode_message(denial_of(anne))))
    assert anne.roster == Roster.of(ANNE, BERT, CARL, DORA)
    assert tell(anne, RingReceived(Owner("\x1b"), told_by(anne)), RingReceived(CARL, told_by(anne))) == []
    assert anne.roster == Roster.of(ANNE, BERT, CARL, DORA) and anne.check() == []


def test_whoever_speaks_of_another_ring_or_of_none_is_no_member() -> None:
    anne, _ = pair()
    stranger = allocator(CARL, ALONE)
    assert tell(anne, RingReceived(CARL, stranger.state()), RingReceived(DORA, allocator(DORA).state())) == []
    assert anne.roster == Roster.of(ANNE, BERT)


def test_nothing_is_heard_of_one_who_was_removed_and_it_is_told_why() -> None:
    peers = mesh(ANNE, BERT, CARL)
    given = give(peers, ANNE, BERT)
    tell(peers[ANNE], Remove(BERT))
    stolen = told_by(peers[BERT], Entry(Block.of(UNIVERSE), Title(9, BERT, ANNE)))
    before = peers[ANNE].digest()
    for event in (RingReceived(BERT, stolen), MessageReceived(BERT, encode_message(denial_of(peers[BERT])))):
        (answer,) = sends(tell(peers[ANNE], event))
        message = decode_message(answer.payload)
        assert answer.destination == BERT and isinstance(message, Notice)
        assert message.knowledge.roster.removed == {BERT}
    assert peers[ANNE].digest() == before
    tell(peers[BERT], MessageReceived(ANNE, answer.payload))
    assert peers[BERT].is_removed and peers[BERT].removal_is_known and peers[BERT].owned(BERT) == ()
    assert given not in peers[ANNE].owned(BERT)


def denial_of(peer: Allocator) -> Deny:
    assert peer.ring is not None
    return Deny(knowledge_of(peer.ring, ()), DenyReason.FULL, None)


def test_two_who_have_removed_each_other_do_not_talk_without_end() -> None:
    peers = mesh(ANNE, BERT)
    tell(peers[ANNE], Remove(BERT))
    tell(peers[BERT], Remove(ANNE))
    converse(peers, ANNE, tell(peers[ANNE], RingReceived(BERT, peers[BERT].state())))


def test_a_notice_from_one_who_was_removed_is_not_answered() -> None:
    peers = mesh(ANNE, BERT)
    tell(peers[ANNE], Remove(BERT))
    notice = Notice(knowledge_of(ring_of(peers[BERT]), (), Roster.of(removed=(ANNE,))))
    assert tell(peers[ANNE], MessageReceived(BERT, encode_message(notice))) == []
    assert not peers[ANNE].is_removed, "nor is anything of it used"


def test_one_who_was_removed_hands_out_nothing_and_answers_nobody() -> None:
    peers = mesh(ANNE, BERT)
    give(peers, ANNE, BERT)
    bert = peers[BERT]
    (request,) = sends(tell(bert, Claim("waits", IPv4Address("10.0.0.5"), FAR)))
    fenced = told_by(peers[ANNE], roster=Roster.of(removed=(BERT,)))
    assert "was removed from the mesh" in refusal(tell(bert, RingReceived(ANNE, fenced)))
    assert "was removed from the mesh" in refusal(tell(bert, Allocate("late", FAR)))
    assert sends(tell(bert, MessageReceived(ANNE, request.payload))) == []
    assert tell(bert, Remove(ANNE), Leave(), Clear(UNIVERSE)) == [] and bert.deadline() is None
    assert list(bert.allocations()) == [BERT], "what is in use is not forgotten"
    tell(bert, Release(BERT))
    assert bert.allocations() == {}


def test_what_was_given_by_one_who_was_removed_before_is_refused_and_left_to_be_settled() -> None:
    peers = mesh(ANNE, BERT, CARL)
    given = give(peers, ANNE, BERT)
    tell(peers[CARL], Remove(BERT))
    version = title_at(peers[CARL], given).version
    payload = told_by(peers[ANNE], Entry(Block.of(given), Title(version + 1, CARL, BERT)))
    tell(peers[CARL], RingReceived(ANNE, payload))
    assert peers[CARL].owned(CARL) == ()
    assert title_at(peers[CARL], given) == Title(version + 2, BERT, NO_HEIR)


def test_what_one_who_leaves_gives_is_taken_though_it_is_removed_by_the_same_news() -> None:
    peers = mesh(ANNE, BERT)
    given = give(peers, ANNE, BERT)
    (farewell,) = [output for output in tell(peers[BERT], Leave()) if isinstance(output, Announce)]
    tell(peers[ANNE], RingReceived(BERT, farewell.payload))
    assert peers[ANNE].owned(ANNE) == (UNIVERSE,)
    assert peers[ANNE].roster.removed == {BERT} and title_at(peers[ANNE], given).heir == BERT


def test_from_behind_a_fence_nothing_is_taken_that_a_stranger_gives() -> None:
    """Anne has agreed to a settlement of what Carl left; Dora, of whom she had never heard, has it from Carl."""
    peers = mesh(BERT, ANNE, CARL)
    left = give(peers, BERT, CARL)
    anne = peers[ANNE]
    assert anne.ring is not None
    wish = Settle(knowledge_of(anne.ring, anne.ring.entries_of(CARL), Roster.of(removed=(CARL,))), 1, b"")
    tell(anne, MessageReceived(BERT, encode_message(wish)))
    version = title_at(anne, left).version
    tell(anne, RingReceived(BERT, told_by(anne, Entry(Block.of(left), Title(version + 2, ANNE, DORA)))))
    assert anne.owned(ANNE) == () and title_at(anne, left) == Title(version + 3, DORA, NO_HEIR)
    tell(anne, RingReceived(BERT, told_by(anne, Entry(Block.of(left), Title(version + 4, ANNE, BERT)))))
    assert anne.owned(ANNE) == (left,), "bert was known"


def test_what_comes_back_is_ours_whatever_fences_stand_and_what_we_gave_back_is_refused_again() -> None:
    """Anne refuses what Dora gives, for she is behind a fence, each time; but a gift that is refused comes home."""
    peers = mesh(BERT, ANNE, CARL)
    left, anne = give(peers, BERT, CARL), peers[ANNE]
    assert anne.ring is not None
    wish = Settle(knowledge_of(anne.ring, anne.ring.entries_of(CARL), Roster.of(removed=(CARL,))), 1, b"")
    tell(anne, MessageReceived(BERT, encode_message(wish)))
    version = title_at(anne, left).version
    for again in (1, 3):
        given = Title(version + again, ANNE, DORA)
        tell(anne, RingReceived(DORA, told_by(anne, Entry(Block.of(left), given))))
        assert title_at(anne, left) == Title(version + again + 1, DORA, NO_HEIR)
    home = Title(version + 5, ANNE, NO_HEIR)
    outputs = tell(anne, RingReceived(DORA, told_by(anne, Entry(Block.of(left), home))))
    assert title_at(anne, left) == home and anne.owned(ANNE) == (left,)
    kept = outputs[0]
    assert isinstance(kept, Persist)
    assert read_snapshot(kept.snapshot).promises.forbid(Block.of(left), DORA), "the fence stands all the same"


def test_a_block_of_ours_that_was_settled_without_us_is_lost_with_that_reason() -> None:
    peers = mesh(ANNE, BERT)
    given = give(peers, ANNE, BERT)
    settled = told_by(peers[ANNE], Entry(Block.of(given), Title(1 << ROUND_BITS, ANNE, Owner(""))))
    tell(peers[BERT], RingReceived(ANNE, settled))
    (finding,) = peers[BERT].status().findings
    assert finding.startswith(f"{given} belongs to anne: this peer had it from one that was removed")
    assert "1 addresses in use here" in finding


def test_what_both_sides_of_a_conflict_claim_is_isolated_by_the_one_who_has_it_until_it_is_cleared() -> None:
    anne, bert = pair()
    upper = IPv4Network("10.0.0.128/25")
    mine = told_by(anne, Entry(Block.of(upper), Title(2, BERT, ANNE)))
    other = told_by(anne, Entry(Block.of(upper), Title(2, ANNE, CARL)))
    tell(bert, RingReceived(ANNE, mine), RingReceived(ANNE, other))
    assert bert.owned(BERT) == (upper,) and bert.status().quarantined == (upper,)
    assert answers(tell(bert, Claim("pod", IPv4Address("10.0.0.130"), FAR))) == []
    (kept, *_) = tell(bert, Clear(upper))
    assert isinstance(kept, Persist)
    assert bert.status().quarantined == () and bert.status().findings == ()
    assert bert.allocations() == {"pod": IPv4Address("10.0.0.130")}, "who waits is served"


def test_the_loser_of_a_conflict_isolates_nothing_and_what_is_isolated_is_not_given_away() -> None:
    anne, bert = pair()
    upper = IPv4Network("10.0.0.128/25")
    tell(anne, RingReceived(BERT, told_by(anne, Entry(Block.of(upper), Title(2, BERT, ANNE)))))
    tell(anne, RingReceived(BERT, told_by(anne, Entry(Block.of(upper), Title(2, ANNE, CARL)))))
    assert anne.status().quarantined == ()
    tell(bert, RingReceived(ANNE, anne.state()))
    tell(bert, RingReceived(ANNE, told_by(anne, Entry(Block.of(upper), Title(2, ANNE, CARL)))))
    assert bert.status().quarantined == (upper,)
    tell(anne, PeersReachable((BERT,)))
    outputs = tell(anne, Claim("pod", IPv4Address("10.0.0.130"), FAR))
    assert "10.0.0.130 is in use at bert" in refusal(converse({ANNE: anne, BERT: bert}, ANNE, outputs))


def test_who_keeps_a_block_hears_of_the_other_claim_from_whoever_finds_both() -> None:
    peers = mesh(ANNE, BERT, CARL)
    carl, upper = peers[CARL], Block.of(UNIVERSE).halves()[1]
    kept, other = Entry(upper, Title(2, BERT, ANNE)), Entry(upper, Title(2, ANNE, CARL))
    for peer in (BERT, CARL):
        assert sends(tell(peers[peer], RingReceived(ANNE, told_by(carl, kept)))) == []
    (notice,) = sends(tell(carl, RingReceived(ANNE, told_by(carl, other))))
    assert notice.destination == BERT
    assert decode_message(notice.payload) == Notice(knowledge_of(ring_of(carl), [other], free=0))
    outputs = tell(peers[BERT], MessageReceived(CARL, notice.payload))
    assert sends(outputs) == [] and peers[BERT].status().quarantined == (upper.network(),)


def test_of_two_titles_of_one_owner_nobody_is_told() -> None:
    carl, upper = mesh(ANNE, BERT, CARL)[CARL], Block.of(UNIVERSE).halves()[1]
    tell(carl, RingReceived(BERT, told_by(carl, Entry(upper, Title(2, BERT, ANNE)))))
    assert sends(tell(carl, RingReceived(BERT, told_by(carl, Entry(upper, Title(2, BERT, CARL)))))) == []
    (finding,) = carl.status().findings
    assert "given both to bert and to bert" in finding


def test_quarantine_is_kept_over_a_restart() -> None:
    _, bert = pair()
    upper = IPv4Network("10.0.0.128/25")
    tell(bert, RingReceived(ANNE, told_by(bert, Entry(Block.of(upper), Title(2, BERT, ANNE)))))
    kept = tell(bert, RingReceived(ANNE, told_by(bert, Entry(Block.of(upper), Title(2, ANNE, CARL)))))[0]
    assert isinstance(kept, Persist)
    again = allocator(BERT, snapshot=kept.snapshot)
    assert again.status().quarantined == (upper,) and again.check() == []


def test_a_ring_that_would_grow_beyond_its_limits_is_not_taken_in() -> None:
    anne, _ = pair()
    before = anne.digest()
    names = tuple(Owner(f"peer{number}") for number in range(OWNERS_MAX))
    assert tell(anne, RingReceived(BERT, told_by(anne, roster=Roster.of(*names)))) == []
    assert anne.digest() == before
    (finding,) = anne.status().findings
    assert finding.startswith("bert sent more ring entries than a ring may have")


def test_that_we_were_removed_is_known_elsewhere_only_when_another_says_so() -> None:
    peers = mesh(ANNE, BERT)
    give(peers, ANNE, BERT)
    tell(peers[BERT], Leave())
    assert peers[BERT].is_removed and not peers[BERT].removal_is_known
    tell(peers[ANNE], RingReceived(BERT, peers[BERT].state()))
    tell(peers[BERT], RingReceived(ANNE, peers[ANNE].state()))
    assert peers[BERT].removal_is_known
