"""Until there is a ring, votes are kept before they are told; what is decided becomes a ring of all founders, once."""

from collections.abc import Sequence
from random import Random

import pytest

from ipam_crdt.allocator import Allocator
from ipam_crdt.cidr import Block
from ipam_crdt.election import ABSENT_S, FIRST_DELAY_S, Election
from ipam_crdt.error import RemoteViolation
from ipam_crdt.event import Allocate, Announce, InitialPeers, OwnershipChanged, PeersReachable, RingReceived
from ipam_crdt.founding import Founding
from ipam_crdt.holding import Holding
from ipam_crdt.roster import Owner, Roster
from ipam_crdt.snapshot import read_snapshot, read_votes
from ipam_crdt.voice import Voice
from ipam_crdt.vote import VOTES_FORMAT, Electorate, decode_votes
from ipam_crdt.wire import decode_knowledge, digest_of_bytes
from tests.unit.ipam_crdt.peers import ALONE, ANNE, BERT, CARL, DORA, FAR, UNIVERSE, allocator, answers, tell

BLOCK = Block.of(UNIVERSE)
THREE = Electorate.counted(3)
NAMES = (ANNE, BERT, CARL)
LATEST_S = FIRST_DELAY_S[1] + ABSENT_S


class Peer:
    """One peer's founding and what it works upon."""

    def __init__(self, owner: Owner, electorate: Electorate | None, votes: bytes | None = None) -> None:
        election = Election(owner, electorate=electorate, snapshot=votes, rng=Random(owner), now=0.0)
        self.holding = Holding(owner, BLOCK, BLOCK)
        self.voice = Voice(self.holding)
        self.founding = Founding(self.voice, self.holding, election)
        self.votes = b""
        """What was told of them last, and so is on disk."""

    def advance(self, now: float = 0.0) -> list[bytes]:
        """What is announced, after it was kept; nothing may be told that is not."""
        if self.holding.ring is None:
            self.founding.advance(now)
        told = [output.payload for output in self.voice.take() if isinstance(output, Announce)]
        snapshot = self.holding.take_snapshot()
        assert not told or snapshot is not None
        self.votes = next((payload for payload in told if payload.startswith(VOTES_FORMAT)), self.votes)
        return told


def agree(peers: Sequence[Peer], now: float = 0.0) -> None:
    """All can reach all and hear the votes of all, and then time passes, until nothing is new."""
    for peer in peers:
        peer.founding.set_reachable(NAMES, now)
    for moment in (now, now + LATEST_S):
        queue = [payload for peer in peers for payload in (peer.holding.state(), *peer.advance(moment))]
        for payload in queue:
            for peer in peers:
                if payload.startswith(VOTES_FORMAT) and peer.holding.ring is None:
                    peer.founding.hear(payload, moment)
                    queue += peer.advance(moment)


def test_one_alone_founds_a_ring_at_once_and_tells_its_votes_first() -> None:
    anne = Peer(ANNE, ALONE)
    anne.founding.advance(0.0)
    votes, ring, changed = anne.voice.take()
    assert isinstance(votes, Announce) and [vote.name for vote in decode_votes(votes.payload)] == [ANNE]
    assert isinstance(ring, Announce) and decode_knowledge(ring.payload).roster == Roster.of(ANNE)
    assert changed == OwnershipChanged()
    assert anne.holding.space.blocks == (BLOCK,) and anne.founding.deadline() is None
    snapshot = anne.holding.take_snapshot()
    assert snapshot is not None and read_snapshot(snapshot).ring == anne.holding.ring


def test_one_who_joins_founds_nothing_says_nothing_and_tells_why() -> None:
    anne = Peer(ANNE, None)
    assert anne.advance(FAR) == [] and anne.holding.ring is None and anne.founding.deadline() is None
    assert anne.holding.take_snapshot() is None and anne.holding.digest() == b""
    assert "joins a ring and founds none" in anne.founding.excuse()


def test_votes_are_kept_told_and_our_state_until_there_is_a_ring() -> None:
    anne = Peer(ANNE, THREE)
    anne.founding.advance(0.0)
    (told,) = anne.voice.take()
    snapshot = anne.holding.take_snapshot()
    assert isinstance(told, Announce) and snapshot is not None
    assert read_votes(snapshot) == told.payload == anne.holding.state()
    assert anne.holding.digest() == digest_of_bytes(told.payload) != b""
    assert anne.advance() == [] and anne.holding.take_snapshot() is None, "what is known is no news"
    assert anne.founding.excuse().startswith("waiting for 1 more of 3 initial peers: heard of anne;")


def test_initial_peers_found_one_ring_with_a_share_for_each() -> None:
    peers = [Peer(name, THREE) for name in NAMES]
    agree(peers)
    rings = {peer.holding.ring for peer in peers}
    assert len(rings) == 1
    (ring,) = rings
    assert ring is not None and ring.roster == Roster.of(*NAMES) and ring.owners() == NAMES
    assert all(peer.holding.check() == [] and peer.holding.space.free_count > 0 for peer in peers)
    assert all(peer.founding.excuse() == "" for peer in peers)


def test_a_majority_founds_without_the_rest_a_little_later() -> None:
    peers = [Peer(ANNE, THREE), Peer(BERT, THREE)]
    for peer in peers:
        peer.founding.set_reachable((ANNE, BERT), 0.0)
    for peer in peers:
        peers[0].founding.hear(peer.holding.state(), 0.0)
    deadline = peers[0].founding.deadline()
    assert deadline is not None and ABSENT_S < deadline <= LATEST_S


def test_by_addresses_it_needs_to_be_known_who_is_there() -> None:
    peers = [Peer(name, Electorate.addressed(2)) for name in NAMES]
    agree(peers)
    assert all(peer.holding.ring is None for peer in peers), "nobody has learned whose vote counts"
    for peer in peers:
        peer.founding.set_known(NAMES, LATEST_S)
    agree(peers, LATEST_S)
    assert len({peer.holding.ring for peer in peers}) == 1 and peers[0].holding.ring is not None


def test_a_restart_goes_on_from_the_votes_that_were_kept_and_founds_the_ring_that_was_decided() -> None:
    anne, bert, carl = (Peer(name, THREE) for name in NAMES)
    anne.founding.hear(bert.holding.state(), 0.0)
    anne.founding.set_reachable(NAMES, 0.0)
    anne.advance(LATEST_S)
    again = Peer(ANNE, THREE, anne.votes)
    assert again.holding.state() == anne.votes
    agree([again, bert, carl], LATEST_S)
    for peer in (again, bert, carl):
        late = Peer(peer.holding.owner, THREE, peer.votes)
        late.advance()
        assert late.holding.ring == bert.holding.ring is not None


def test_garbage_is_refused_and_changes_nothing() -> None:
    anne = Peer(ANNE, THREE)
    before = anne.holding.state()
    with pytest.raises(RemoteViolation):
        anne.founding.hear(VOTES_FORMAT + b"garbage", 0.0)
    anne.advance()
    assert anne.holding.state() == before


def exchange(peers: dict[Owner, Allocator], now: float) -> None:
    """All hear the state of all until all have the same."""
    while len({peer.digest() for peer in peers.values()}) > 1:
        for source in peers:
            for name in peers:
                tell(peers[name], RingReceived(source, peers[source].state()), now=now)


def founders(electorate: Electorate = THREE) -> dict[Owner, Allocator]:
    peers = {name: allocator(name, electorate) for name in NAMES}
    for peer in peers.values():
        peer.outputs()
        tell(peer, InitialPeers(NAMES), PeersReachable(NAMES))
    exchange(peers, 0.0)
    return peers


@pytest.mark.parametrize("electorate", [THREE, Electorate.addressed(2)])
def test_allocators_found_a_ring_by_its_deadline_and_serve_who_waits(electorate: Electorate) -> None:
    peers = founders(electorate)
    assert answers([output for name in NAMES for output in tell(peers[name], Allocate("pod", FAR))]) == []
    deadlines = [peer.deadline() for peer in peers.values()]
    assert all(deadline is not None and 0.0 < deadline <= FIRST_DELAY_S[1] for deadline in deadlines)
    outputs = []
    for peer in peers.values():
        peer.tick(FIRST_DELAY_S[1])
        outputs += peer.outputs()
        exchange(peers, FIRST_DELAY_S[1])
    given = [dict(peer.allocations()) for peer in peers.values()]
    assert all(set(allocations) == {"pod"} for allocations in given)
    assert len({allocations["pod"] for allocations in given}) == len(NAMES)
    assert len({peer.ring_id for peer in peers.values()}) == 1


def test_votes_that_come_when_there_is_a_ring_change_nothing() -> None:
    anne, votes = allocator(ANNE, ALONE), founders()[BERT].state()
    anne.outputs()
    assert tell(anne, RingReceived(BERT, votes), RingReceived(BERT, VOTES_FORMAT + b"garbage")) == []
    assert anne.status().findings == () and anne.roster == Roster.of(ANNE)


def test_an_initial_peer_that_hears_of_a_ring_takes_part_in_it() -> None:
    anne, dora = founders()[ANNE], allocator(DORA, ALONE)
    tell(anne, RingReceived(DORA, dora.state()))
    assert anne.ring_id == dora.ring_id and anne.owned(ANNE) == () and anne.deadline() is None
    assert anne.roster == Roster.of(ANNE, DORA)


def test_votes_that_cannot_be_right_are_a_finding() -> None:
    anne = founders()[ANNE]
    before = anne.state()
    assert tell(anne, RingReceived(BERT, VOTES_FORMAT + b"garbage")) == [] and anne.state() == before
    (finding,) = anne.status().findings
    assert finding.startswith("bert sent votes that cannot be read")
