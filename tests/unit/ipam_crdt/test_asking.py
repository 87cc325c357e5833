"""Space changes hands: what is asked for is granted once, repeated if lost, denied with a reason, never stranded."""

from ipaddress import IPv4Address, IPv4Network

from ipam_crdt.cidr import Block
from ipam_crdt.donor import ANSWER_S, DENIED_REST_S
from ipam_crdt.event import (
    Allocate,
    Allocated,
    Announce,
    Claim,
    Leave,
    MessageReceived,
    Output,
    OwnershipChanged,
    PeersReachable,
    Persist,
    Release,
    Remove,
    RingReceived,
    Send,
)
from ipam_crdt.ring import Entry, Title
from ipam_crdt.roster import Owner, Roster
from ipam_crdt.wire import (
    Deny,
    DenyReason,
    Grant,
    Request,
    Settle,
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


def test_one_who_owns_nothing_asks_is_granted_a_half_and_hands_out_of_it() -> None:
    anne, bert = pair()
    (request,) = tell(bert, Allocate("pod", FAR))
    outputs = converse({ANNE: anne, BERT: bert}, BERT, [request])
    assert answers(outputs) == [Allocated("pod", IPv4Address("10.0.0.128"))]
    assert anne.owned(BERT) == bert.owned(BERT) == (IPv4Network("10.0.0.128/25"),)
    assert anne.owned(ANNE) == (IPv4Network("10.0.0.0/25"),)
    assert anne.digest() == bert.digest()
    assert bert.deadline() is None


def test_a_grant_is_persisted_by_its_giver_before_anybody_hears_of_it() -> None:
    anne, bert = pair()
    (request,) = sends(tell(bert, Allocate("pod", FAR)))
    outputs = tell(anne, MessageReceived(BERT, request.payload))
    assert [type(output) for output in outputs] == [Persist, Announce, OwnershipChanged, Send]
    assert isinstance(outputs[0], Persist)
    assert allocator(ANNE, snapshot=outputs[0].snapshot).owned(BERT) == (IPv4Network("10.0.0.128/25"),)


def test_a_lost_grant_is_repeated_and_not_followed_by_another() -> None:
    anne, bert = pair()
    (request,) = sends(tell(bert, Allocate("pod", FAR)))
    (lost,) = sends(tell(anne, MessageReceived(BERT, request.payload)))
    bert.tick(ANSWER_S)
    (again,) = sends(bert.outputs())
    repeated = tell(anne, MessageReceived(BERT, again.payload), now=ANSWER_S)
    assert [type(output) for output in repeated] == [Send]
    first, second = decode_message(lost.payload), decode_message(sends(repeated)[0].payload)
    assert isinstance(first, Grant) and isinstance(second, Grant)
    assert first.knowledge == second.knowledge and first.number != second.number
    assert len(answers(tell(bert, MessageReceived(ANNE, sends(repeated)[0].payload), now=ANSWER_S))) == 1


def test_a_donor_that_repeats_what_was_passed_on_in_part_is_not_asked_again_at_once() -> None:
    """Anne does not hear that Bert gave Carl a part of what she gave him: no gossip reaches her."""
    anne, bert = pair()
    (request,) = sends(tell(bert, Allocate("pod", FAR)))
    converse({ANNE: anne, BERT: bert}, BERT, [request])
    carl = allocator(CARL)
    tell(carl, RingReceived(BERT, bert.state()), PeersReachable((BERT,)))
    converse({BERT: bert, CARL: carl}, CARL, tell(carl, Allocate("pod", FAR)))
    assert bert.owned(CARL) and not anne.owned(CARL)
    wanting: list[Output] = []
    while not sends(wanting):
        wanting = tell(bert, Allocate(f"more{len(bert.allocations())}", FAR))
    assert answers(converse({ANNE: anne, BERT: bert}, BERT, wanting)) == []
    assert bert.deadline() == DENIED_REST_S


def test_a_grant_that_comes_twice_or_by_gossip_first_does_no_harm() -> None:
    anne, bert = pair()
    (request,) = sends(tell(bert, Allocate("pod", FAR)))
    (grant,) = sends(tell(anne, MessageReceived(BERT, request.payload)))
    assert len(answers(tell(bert, RingReceived(ANNE, anne.state())))) == 1
    for _ in range(2):
        assert tell(bert, MessageReceived(ANNE, grant.payload)) == []
    assert len(bert.allocations()) == 1


def test_nobody_unreachable_is_asked_and_the_reason_says_so() -> None:
    _, bert = pair()
    tell(bert, PeersReachable(()))
    assert tell(bert, Allocate("pod", 5.0)) == []
    assert "anne (unreachable)" in bert.status().pending[0].reason
    assert [output.destination for output in sends(tell(bert, PeersReachable((ANNE,)), now=1.0))] == [ANNE]


def test_a_release_of_one_who_waits_refuses_it_and_of_one_unknown_does_nothing() -> None:
    _, bert = pair()
    tell(bert, Allocate("pod", FAR))
    assert "released while it waited" in refusal(tell(bert, Release("pod")))
    assert tell(bert, Release("pod"), Release("nobody")) == []
    assert bert.deadline() is None


def test_a_claim_of_a_free_address_of_another_brings_that_address_alone() -> None:
    anne, bert = pair()
    outputs = converse({ANNE: anne, BERT: bert}, BERT, tell(bert, Claim("pod", IPv4Address("10.0.0.77"), FAR)))
    assert answers(outputs) == [Allocated("pod", IPv4Address("10.0.0.77"))]
    assert anne.owned(BERT) == bert.owned(BERT) == (IPv4Network("10.0.0.77/32"),)


def test_a_claim_of_an_address_in_use_elsewhere_is_refused_with_where() -> None:
    anne, bert = pair()
    tell(anne, Claim("pod", IPv4Address("10.0.0.77"), FAR))
    outputs = converse({ANNE: anne, BERT: bert}, BERT, tell(bert, Claim("other", IPv4Address("10.0.0.77"), FAR)))
    assert "10.0.0.77 is in use at anne" in refusal(outputs)
    assert anne.owned(ANNE) == (UNIVERSE,)


def test_a_denial_by_one_who_does_not_own_the_address_refuses_no_claim() -> None:
    anne, bert = pair()
    tell(anne, Claim("pod", IPv4Address("10.0.0.77"), FAR))
    (request,) = sends(tell(bert, Claim("other", IPv4Address("10.0.0.77"), FAR)))
    (denial,) = sends(tell(anne, MessageReceived(BERT, request.payload)))
    assert answers(tell(bert, MessageReceived(CARL, denial.payload))) == []
    assert len(answers(tell(bert, MessageReceived(ANNE, denial.payload)))) == 1


def test_a_donor_without_free_space_denies_and_is_asked_again_until_the_deadline() -> None:
    tiny = IPv4Network("10.0.0.0/30")
    anne, bert = allocator(ANNE, ALONE, universe=tiny), allocator(BERT, universe=tiny)
    tell(anne, Allocate("a", FAR), Allocate("b", FAR))
    tell(bert, RingReceived(ANNE, anne.state()), PeersReachable((ANNE,)))
    peers, now, asked = {ANNE: anne, BERT: bert}, 0.0, 1
    assert answers(converse(peers, BERT, tell(bert, Allocate("pod", 20.0)))) == []
    while now < 20.0:
        wake_at = bert.deadline()
        assert wake_at is not None and now < wake_at <= 20.0
        now = wake_at
        bert.tick(now)
        outputs = bert.outputs()
        asked += len(sends(outputs))
        rest = converse(peers, BERT, outputs, now)
    assert asked > 3
    assert "anne (has no free address)" in refusal(rest)


def test_space_that_comes_free_at_a_donor_finds_who_waits() -> None:
    tiny = IPv4Network("10.0.0.0/30")
    anne, bert = allocator(ANNE, ALONE, universe=tiny), allocator(BERT, universe=tiny)
    tell(anne, Allocate("a", FAR), Allocate("b", FAR))
    tell(bert, RingReceived(ANNE, anne.state()), PeersReachable((ANNE,)))
    peers = {ANNE: anne, BERT: bert}
    converse(peers, BERT, tell(bert, Allocate("pod", 20.0)))
    tell(anne, Release("a"))
    wake_at = bert.deadline()
    assert wake_at is not None
    bert.tick(wake_at)
    assert answers(converse(peers, BERT, bert.outputs(), wake_at)) == [Allocated("pod", IPv4Address("10.0.0.1"))]


def test_no_address_is_handed_out_twice_however_many_ask_for_all() -> None:
    names = [Owner(f"peer{number}") for number in range(4)]
    universe = IPv4Network("10.0.0.0/26")
    peers = {name: allocator(name, universe=universe) for name in names[1:]}
    peers[names[0]] = founder = allocator(names[0], ALONE, universe=universe)
    for name in names:
        tell(peers[name], RingReceived(names[0], founder.state()), PeersReachable(tuple(names)))
    given: list[IPv4Address] = []
    for number in range(62):
        name = names[number % 4]
        now = number * 10.0
        outputs = converse(
            peers, name, tell(peers[name], Allocate(f"pod{number}", now + 9), now=now), now, has_gossip=True
        )
        while not answers(outputs):
            wake_at = peers[name].deadline()
            assert wake_at is not None
            peers[name].tick(wake_at)
            outputs = converse(peers, name, peers[name].outputs(), wake_at, has_gossip=True)
        (answer,) = answers(outputs)
        assert isinstance(answer, Allocated), (number, answer)
        given.append(answer.address)
    assert sorted(given) == list(universe.hosts())


def test_a_donor_never_grants_what_it_has_in_use() -> None:
    anne, bert = pair()
    tell(anne, Claim("pod", IPv4Address("10.0.0.200"), FAR))
    (request,) = sends(tell(bert, Allocate("pod", FAR)))
    (grant,) = sends(tell(anne, MessageReceived(BERT, request.payload)))
    message = decode_message(grant.payload)
    assert isinstance(message, Grant)
    assert not any(entry.block.holds(int(IPv4Address("10.0.0.200"))) for entry in message.knowledge.entries)
    assert anne.allocations() == {"pod": IPv4Address("10.0.0.200")}


def test_an_empty_grant_leaves_the_request_waiting() -> None:
    anne, bert = pair()
    tell(bert, Allocate("pod", FAR))
    assert anne.ring is not None
    nothing = encode_message(Grant(knowledge_of(anne.ring, ())))
    assert answers(tell(bert, MessageReceived(ANNE, nothing))) == []
    assert [waiting.ident for waiting in bert.status().pending] == ["pod"]


def test_space_is_asked_for_and_given_inside_the_subnet_of_the_asker() -> None:
    subnet = IPv4Network("10.0.0.64/26")
    anne, bert = allocator(ANNE, ALONE), allocator(BERT, subnet=subnet)
    tell(bert, RingReceived(ANNE, anne.state()), PeersReachable((ANNE,)))
    outputs = converse({ANNE: anne, BERT: bert}, BERT, tell(bert, Allocate("pod", FAR)))
    (given,) = anne.owned(BERT)
    assert given.subnet_of(subnet)
    (answer,) = answers(outputs)
    assert isinstance(answer, Allocated) and answer.address in given


def test_one_with_a_subnet_gives_of_all_that_it_owns_and_hands_out_of_the_subnet_alone() -> None:
    subnet = IPv4Network("10.0.0.0/28")
    anne, bert = allocator(ANNE, ALONE, subnet=subnet), allocator(BERT)
    tell(bert, RingReceived(ANNE, anne.state()), PeersReachable((ANNE,)))
    converse({ANNE: anne, BERT: bert}, BERT, tell(bert, Allocate("pod", FAR)))
    assert anne.owned(BERT) == (IPv4Network("10.0.0.128/25"),)
    tell(anne, *(Allocate(f"pod{number}", FAR) for number in range(20)))
    assert sorted(anne.allocations().values()) == list(subnet)[2:-1], "but for network, gateway and broadcast"
    tell(anne, Claim("outside", IPv4Address("10.0.0.100"), FAR))
    assert anne.allocations()["outside"] == IPv4Address("10.0.0.100")


def test_a_donor_with_nothing_free_in_the_subnet_of_the_asker_denies() -> None:
    subnet = IPv4Network("10.0.0.252/30")
    anne, bert = allocator(ANNE, ALONE), allocator(BERT, subnet=subnet)
    tell(anne, *(Claim(f"pod{last}", IPv4Address(f"10.0.0.{last}"), FAR) for last in (252, 253, 254)))
    tell(bert, RingReceived(ANNE, anne.state()), PeersReachable((ANNE,)))
    (request,) = sends(tell(bert, Allocate("pod", FAR)))
    (denial,) = sends(tell(anne, MessageReceived(BERT, request.payload)))
    message = decode_message(denial.payload)
    assert isinstance(message, Deny) and message.reason is DenyReason.FULL


def test_one_who_leaves_gives_back_to_who_gave_and_the_rest_to_anybody_who_can_be_reached() -> None:
    peers = mesh(ANNE, BERT, CARL)
    given = give(peers, ANNE, BERT)
    part = give(peers, BERT, CARL)
    outputs = tell(peers[BERT], Leave())
    assert [type(output) for output in outputs] == [Persist, Announce, OwnershipChanged]
    converse(peers, BERT, outputs, has_gossip=True)
    assert peers[CARL].owned(CARL) == (part,)
    assert peers[CARL].owned(BERT) == () and BERT in peers[CARL].roster.removed
    assert sum(network.num_addresses for network in peers[CARL].owned(ANNE)) == 256 - part.num_addresses
    assert given not in peers[BERT].owned(BERT) and peers[BERT].is_removed


def test_a_founder_who_leaves_gives_all_to_those_who_can_be_reached_and_were_not_removed() -> None:
    peers = mesh(ANNE, BERT, CARL)
    tell(peers[ANNE], Remove(CARL), PeersReachable((ANNE, BERT, CARL, DORA)), Leave())
    assert peers[ANNE].is_removed
    assert peers[ANNE].owned(BERT) == (UNIVERSE,)


def test_nobody_leaves_while_no_member_can_be_reached() -> None:
    peers = mesh(ANNE, BERT)
    assert tell(peers[ANNE], PeersReachable(()), Leave()) == []
    assert tell(peers[ANNE], PeersReachable((DORA,)), Leave()) == []
    assert not peers[ANNE].is_removed and peers[ANNE].owned(ANNE) == (UNIVERSE,)


def test_whoever_waits_at_one_who_leaves_is_refused() -> None:
    peers = mesh(ANNE, BERT)
    tell(peers[BERT], PeersReachable((ANNE,)), Allocate("pod", FAR))
    assert "was removed from the mesh" in refusal(tell(peers[BERT], Leave()))


def test_nobody_is_asked_for_space_who_was_removed() -> None:
    peers = mesh(ANNE, BERT, CARL)
    give(peers, ANNE, BERT)
    tell(peers[CARL], PeersReachable((BERT,)), Remove(BERT))
    assert [
        output
        for output in sends(tell(peers[CARL], Allocate("pod", FAR)))
        if isinstance(decode_message(output.payload), Request)
    ] == []


def test_one_who_gives_what_must_be_refused_is_not_asked_without_end() -> None:
    """Bert has agreed to settle all that Dora left, before he heard of Anne, who has it."""
    anne, bert, whole = allocator(ANNE, ALONE), allocator(BERT), Block.of(UNIVERSE)
    assert anne.ring is not None
    taken = knowledge_of(anne.ring, [Entry(whole, Title(3, ANNE, DORA))])
    left = knowledge_of(anne.ring, [Entry(whole, Title(2, DORA, CARL))], Roster.of(removed=(DORA,)))
    tell(anne, RingReceived(CARL, encode_knowledge(taken)), PeersReachable((BERT,)))
    tell(bert, RingReceived(CARL, encode_knowledge(left)))
    tell(bert, MessageReceived(CARL, encode_message(Settle(left, 1, b""))))
    tell(bert, RingReceived(ANNE, anne.state()), PeersReachable((ANNE,)))
    for wish, again_at in ((Allocate("pod", 5.0), DENIED_REST_S), (Claim("claim", UNIVERSE[7], 5.0), ANSWER_S)):
        asking = tell(bert, wish)
        assert answers(converse({ANNE: anne, BERT: bert}, BERT, asking, has_gossip=True)) == []
        assert bert.deadline() == again_at and anne.owned(BERT) == ()
        tell(bert, Release(wish.ident))
