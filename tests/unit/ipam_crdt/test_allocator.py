"""The allocator's laws, on real allocators that talk over a wire which the test holds in its hands."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from random import Random

import pytest

from ipam_crdt.allocator import Allocator
from ipam_crdt.cidr import Block
from ipam_crdt.donor import ANSWER_S, DENIED_REST_S
from ipam_crdt.error import LocalMisuse, SnapshotCorrupt, SnapshotForeign, UniverseMismatch
from ipam_crdt.event import (
    Allocate,
    Allocated,
    Announce,
    Claim,
    Founding,
    Input,
    MessageReceived,
    Output,
    OwnershipChanged,
    PeersReachable,
    Persist,
    Refused,
    Release,
    RingReceived,
    Send,
)
from ipam_crdt.ring import Entry, Owner, Ring, Title
from ipam_crdt.wire import Grant, decode_message, encode_knowledge, encode_message, knowledge_of

ANNE, BERT, CARL = Owner("anne"), Owner("bert"), Owner("carl")
UNIVERSE = IPv4Network("10.0.0.0/24")
FAR = 100.0
QUIET_BY = 1_000
"""Outputs after which all must long have been said."""


def allocator(
    owner: Owner,
    founding: Founding = Founding.JOIN,
    *,
    universe: IPv4Network = UNIVERSE,
    snapshot: bytes | None = None,
    seed: int = 1,
) -> Allocator:
    return Allocator(
        owner=owner, universe=universe, founding=founding, snapshot=snapshot, rng=Random(f"{owner}{seed}"), now=0.0
    )


def tell(peer: Allocator, *events: Input, now: float = 0.0) -> list[Output]:
    """The outputs of some inputs, each checked for the laws that hold always."""
    outputs: list[Output] = []
    for event in events:
        peer.receive(event, now)
        some = peer.outputs()
        assert not any(isinstance(output, Persist) for output in some[1:]), "what is promised is persisted first"
        assert peer.outputs() == [], "each output is returned once"
        assert peer.check() == []
        outputs += some
    return outputs


def sends(outputs: Sequence[Output]) -> list[Send]:
    return [output for output in outputs if isinstance(output, Send)]


def answers(outputs: Sequence[Output]) -> list[Allocated | Refused]:
    return [output for output in outputs if isinstance(output, Allocated | Refused)]


def refusal(outputs: Sequence[Output]) -> str:
    (answer,) = answers(outputs)
    assert isinstance(answer, Refused)
    return answer.reason


def pair() -> tuple[Allocator, Allocator]:
    """A founder, and one who has heard of its ring and owns nothing; each can reach the other."""
    anne, bert = allocator(ANNE, Founding.FOUND), allocator(BERT)
    anne.outputs()
    tell(bert, RingReceived(ANNE, anne.state()), PeersReachable((ANNE,)))
    tell(anne, PeersReachable((BERT,)))
    return anne, bert


def converse(
    peers: dict[Owner, Allocator],
    source: Owner,
    outputs: Sequence[Output],
    now: float = 0.0,
    *,
    has_gossip: bool = False,
) -> list[Output]:
    """Deliver messages, and announcements if there is gossip, until none is under way; all other outputs."""
    rest: list[Output] = []
    queue = [(source, output) for output in outputs]
    for sender, output in queue:
        assert len(queue) < QUIET_BY, "a conversation that does not end"
        if isinstance(output, Send):
            replies = tell(peers[output.destination], MessageReceived(sender, output.payload), now=now)
            queue += [(output.destination, reply) for reply in replies]
        elif isinstance(output, Announce) and has_gossip:
            for name in sorted(peers.keys() - {sender}):
                heard = tell(peers[name], RingReceived(sender, output.payload), now=now)
                queue += [(name, further) for further in heard]
        else:
            rest.append(output)
    return rest


def test_a_founder_persists_its_ring_before_it_tells_of_it() -> None:
    anne = allocator(ANNE, Founding.FOUND)
    assert [type(output) for output in anne.outputs()] == [Persist, Announce, OwnershipChanged]
    assert anne.ready and anne.owned(ANNE) == (UNIVERSE,)


def test_one_who_joins_never_makes_a_ring() -> None:
    bert = allocator(BERT)
    assert (bert.outputs(), bert.ready, bert.ring_id, bert.digest()) == ([], False, None, b"")
    assert tell(bert, Allocate("pod", 5.0)) == []
    assert bert.deadline() == 5.0
    bert.tick(5.0)
    assert "no peer has told us" in refusal(bert.outputs())
    assert bert.deadline() is None


def test_an_address_is_persisted_before_it_is_handed_out() -> None:
    anne = allocator(ANNE, Founding.FOUND)
    anne.outputs()
    kept, answer = tell(anne, Allocate("pod", FAR))
    assert isinstance(kept, Persist)
    assert answer == Allocated("pod", IPv4Address("10.0.0.1"))
    again = allocator(ANNE, snapshot=kept.snapshot)
    assert again.allocations() == {"pod": IPv4Address("10.0.0.1")}
    assert again.ring == anne.ring and again.outputs() == []


def test_a_snapshot_wins_over_founding() -> None:
    kept = allocator(ANNE, Founding.FOUND).outputs()[0]
    assert isinstance(kept, Persist)
    again = allocator(ANNE, Founding.FOUND, snapshot=kept.snapshot, seed=2)
    assert again.ring_id == allocator(ANNE, Founding.FOUND).ring_id
    assert again.outputs() == []


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


def test_what_a_newcomer_hears_it_persists_and_tells_on_once() -> None:
    anne, bert = allocator(ANNE, Founding.FOUND), allocator(BERT)
    outputs = tell(bert, RingReceived(ANNE, anne.state()))
    assert [type(output) for output in outputs] == [Persist, Announce, OwnershipChanged]
    assert tell(bert, RingReceived(ANNE, anne.state()), RingReceived(CARL, anne.state())) == []
    assert bert.digest() == anne.digest()


def test_nobody_unreachable_is_asked_and_the_reason_says_so() -> None:
    _, bert = pair()
    tell(bert, PeersReachable(()))
    assert tell(bert, Allocate("pod", 5.0)) == []
    assert "anne (unreachable)" in bert.status().pending[0].reason
    assert [output.destination for output in sends(tell(bert, PeersReachable((ANNE,)), now=1.0))] == [ANNE]


def test_an_ident_that_asks_again_has_the_same_address_until_it_is_released() -> None:
    anne = allocator(ANNE, Founding.FOUND)
    first, second = answers(tell(anne, Allocate("pod", FAR), Allocate("pod", FAR)))
    assert first == second
    tell(anne, Release("pod"))
    assert anne.allocations() == {}
    assert answers(tell(anne, Allocate("pod", FAR))) != [first]


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
    anne, bert = allocator(ANNE, Founding.FOUND, universe=tiny), allocator(BERT, universe=tiny)
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
    anne, bert = allocator(ANNE, Founding.FOUND, universe=tiny), allocator(BERT, universe=tiny)
    tell(anne, Allocate("a", FAR), Allocate("b", FAR))
    tell(bert, RingReceived(ANNE, anne.state()), PeersReachable((ANNE,)))
    peers = {ANNE: anne, BERT: bert}
    converse(peers, BERT, tell(bert, Allocate("pod", 20.0)))
    tell(anne, Release("a"))
    wake_at = bert.deadline()
    assert wake_at is not None
    bert.tick(wake_at)
    assert answers(converse(peers, BERT, bert.outputs(), wake_at)) == [Allocated("pod", IPv4Address("10.0.0.1"))]


def test_ticks_early_late_or_twice_do_no_harm() -> None:
    _, bert = pair()
    tell(bert, Allocate("pod", 5.0))
    for now in (0.1, 0.1, 0.2):
        bert.tick(now)
        assert bert.outputs() == []
    bert.tick(50.0)
    assert len(answers(bert.outputs())) == 1
    bert.tick(60.0)
    assert bert.outputs() == []


def test_no_address_is_handed_out_twice_however_many_ask_for_all() -> None:
    names = [Owner(f"peer{number}") for number in range(4)]
    universe = IPv4Network("10.0.0.0/26")
    peers = {name: allocator(name, universe=universe) for name in names[1:]}
    peers[names[0]] = founder = allocator(names[0], Founding.FOUND, universe=universe)
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
    stranger = allocator(CARL, Founding.FOUND)
    stranger.outputs()
    elsewhere = allocator(Owner("dora"), Founding.FOUND, universe=IPv4Network("10.9.0.0/24"))
    before = anne.digest()
    outputs = tell(anne, RingReceived(CARL, stranger.state()), RingReceived(Owner("dora"), elsewhere.state()))
    assert outputs == [] and anne.digest() == before
    founded_apart, other_range = anne.status().findings
    assert "carl belongs to ring" in founded_apart and "dora divides 10.9.0.0/24" in other_range
    (request,) = sends(tell(bert, Allocate("pod", FAR)))
    assert tell(stranger, MessageReceived(BERT, request.payload)) == []
    assert stranger.owned(CARL) == (UNIVERSE,)


def test_one_who_waits_for_a_ring_is_told_of_the_foreign_one() -> None:
    elsewhere, bert = allocator(ANNE, Founding.FOUND, universe=IPv4Network("10.9.0.0/24")), allocator(BERT)
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
    anne = allocator(ANNE, Founding.FOUND)
    tell(anne, Allocate("pod", FAR))
    assert anne.ring is not None
    stolen = Entry(Block.of(IPv4Network("10.0.0.0/28")), Title(9, BERT, CARL))
    payload = encode_knowledge(knowledge_of(anne.ring, [stolen], free=None))
    assert OwnershipChanged() in tell(anne, RingReceived(BERT, payload))
    (finding,) = anne.status().findings
    assert finding.startswith("10.0.0.0/28 belongs to bert") and "1 addresses in use" in finding
    assert answers(tell(anne, Allocate("next", FAR))) == [Allocated("next", IPv4Address("10.0.0.16"))]


def test_two_titles_of_one_version_are_a_finding_and_both_sides_agree() -> None:
    anne, bert = pair()
    assert anne.ring is not None
    upper = Block.of(UNIVERSE).halves()[1]
    told = [
        encode_knowledge(knowledge_of(anne.ring, [Entry(upper, Title(2, owner, ANNE))], free=None))
        for owner in (BERT, CARL)
    ]
    tell(anne, *(RingReceived(CARL, payload) for payload in told))
    tell(bert, *(RingReceived(CARL, payload) for payload in reversed(told)))
    assert anne.digest() == bert.digest() and anne.owned(CARL) == bert.owned(CARL) == (upper.network(),)
    for peer in (anne, bert):
        assert any("given both to carl and to bert" in finding for finding in peer.status().findings)


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
    nothing = encode_message(Grant(knowledge_of(anne.ring, (), free=None)))
    assert answers(tell(bert, MessageReceived(ANNE, nothing))) == []
    assert [waiting.ident for waiting in bert.status().pending] == ["pod"]


def test_the_status_counts_every_address_once() -> None:
    anne, bert = pair()
    converse({ANNE: anne, BERT: bert}, BERT, tell(bert, Allocate("pod", FAR)))
    status = bert.status()
    assert [(owner.owner, owner.addresses, owner.free, owner.reachable) for owner in status.owners] == [
        (ANNE, 128, 127, True),
        (BERT, 128, 126, True),
    ]
    assert (status.unknown, status.allocated, status.pending, status.findings) == (0, 1, (), ())


def test_of_a_ring_heard_of_in_part_the_rest_is_unknown() -> None:
    bert = allocator(BERT)
    upper = Block.of(UNIVERSE).halves()[1]
    ring = Ring.unknown(bytes(16), Block.of(UNIVERSE)).merge([Entry(upper, Title(2, ANNE, CARL))]).ring
    tell(bert, RingReceived(ANNE, encode_knowledge(knowledge_of(ring, ring.known(), free=None))))
    assert bert.status().unknown == 128
    tell(bert, Claim("pod", IPv4Address("10.0.0.5"), 1.0))
    bert.tick(1.0)
    assert "nobody is known to own 10.0.0.5" in refusal(bert.outputs())


def test_what_can_never_be_right_is_refused_at_birth() -> None:
    for owner, universe in ((Owner(""), UNIVERSE), (Owner("\n"), UNIVERSE), (ANNE, IPv4Network("10.0.0.0/31"))):
        with pytest.raises(LocalMisuse):
            allocator(owner, universe=universe)


def test_a_snapshot_that_cannot_be_obeyed_is_refused_at_birth() -> None:
    kept = allocator(ANNE, Founding.FOUND).outputs()[0]
    assert isinstance(kept, Persist)
    with pytest.raises(SnapshotForeign):
        allocator(BERT, snapshot=kept.snapshot)
    with pytest.raises(UniverseMismatch):
        allocator(ANNE, snapshot=kept.snapshot, universe=IPv4Network("10.9.0.0/24"))
    with pytest.raises(SnapshotCorrupt):
        allocator(ANNE, snapshot=kept.snapshot[:-1])
