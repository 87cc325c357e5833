"""Real allocators that talk over a wire which the test holds in its hands."""

from collections.abc import Sequence
from ipaddress import IPv4Network
from random import Random

from ipam_crdt.allocator import Allocator
from ipam_crdt.cidr import Block
from ipam_crdt.event import (
    Allocate,
    Allocated,
    Announce,
    Input,
    MessageReceived,
    Output,
    PeersReachable,
    Persist,
    Refused,
    Remove,
    RingReceived,
    Send,
)
from ipam_crdt.roster import Owner
from ipam_crdt.vote import Electorate
from ipam_crdt.wire import Settle, decode_message

ANNE, BERT, CARL, DORA = (Owner(name) for name in ("anne", "bert", "carl", "dora"))
UNIVERSE = IPv4Network("10.0.0.0/24")
ALONE = Electorate.addressed(0)
"""Of one who founds a ring by itself, at once."""
FAR = 100.0
QUIET_BY = 1_000
"""Outputs after which all must long have been said."""


def allocator(
    owner: Owner,
    electorate: Electorate | None = None,
    *,
    universe: IPv4Network = UNIVERSE,
    subnet: IPv4Network | None = None,
    snapshot: bytes | None = None,
    seed: int = 1,
) -> Allocator:
    """An allocator with a seed made of its name."""
    rng = Random(f"{owner}{seed}")
    return Allocator(
        owner=owner, universe=universe, subnet=subnet, electorate=electorate, snapshot=snapshot, rng=rng, now=0.0
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
    """A founder, and one who takes part in its ring and owns nothing; each knows and can reach the other."""
    anne, bert = allocator(ANNE, ALONE), allocator(BERT)
    anne.outputs()
    tell(bert, RingReceived(ANNE, anne.state()), PeersReachable((ANNE,)))
    tell(anne, RingReceived(BERT, bert.state()), PeersReachable((BERT,)))
    return anne, bert


def mesh(*names: Owner, universe: IPv4Network = UNIVERSE) -> dict[Owner, Allocator]:
    """The first founds, all have heard of each other, and each can reach all."""
    peers = {name: allocator(name, universe=universe) for name in names[1:]}
    peers[names[0]] = founder = allocator(names[0], ALONE, universe=universe)
    for name in names:
        peers[name].outputs()
        converse(peers, name, tell(peers[name], RingReceived(names[0], founder.state())), has_gossip=True)
        tell(peers[name], PeersReachable(names))
    assert len({peer.digest() for peer in peers.values()}) == 1
    return peers


def give(peers: dict[Owner, Allocator], giver: Owner, taker: Owner, *, has_gossip: bool = True) -> IPv4Network:
    """The range that the taker, who owns nothing, is given by this giver for an ident of its own name."""
    tell(peers[taker], PeersReachable((giver,)))
    asking = tell(peers[taker], Allocate(taker, FAR))
    two = peers if has_gossip else {giver: peers[giver], taker: peers[taker]}
    converse(two, taker, asking, has_gossip=has_gossip)
    tell(peers[taker], PeersReachable(tuple(peers)))
    (given,) = peers[taker].owned(taker)
    return given


def gossip(peers: dict[Owner, Allocator], now: float = 0.0) -> None:
    """Everyone hears all that everyone knows, and all is said that is to be said."""
    for source in sorted(peers):
        for name in sorted(peers.keys() - {source}):
            heard = tell(peers[name], RingReceived(source, peers[source].state()), now=now)
            converse(peers, name, heard, now, has_gossip=True)


def converse(
    peers: dict[Owner, Allocator],
    source: Owner,
    outputs: Sequence[Output],
    now: float = 0.0,
    *,
    has_gossip: bool = False,
) -> list[Output]:
    """Deliver messages, and announcements if there is gossip, until none is under way; all other outputs.

    What is sent to somebody who is not among the peers is lost.
    """
    rest: list[Output] = []
    queue = [(source, output) for output in outputs]
    for sender, output in queue:
        assert len(queue) < QUIET_BY, "a conversation that does not end"
        if isinstance(output, Send) and output.destination in peers:
            replies = tell(peers[output.destination], MessageReceived(sender, output.payload), now=now)
            queue += [(output.destination, reply) for reply in replies]
        elif isinstance(output, Announce) and has_gossip:
            for name in sorted(peers.keys() - {sender}):
                heard = tell(peers[name], RingReceived(sender, output.payload), now=now)
                queue += [(name, further) for further in heard]
        elif not isinstance(output, Send):
            rest.append(output)
    return rest


def remove(peers: dict[Owner, Allocator], gone: Owner, *, by: Owner = ANNE, now: float = 0.0) -> list[Output]:
    """The peer is gone, and one who is left says so; what is said then reaches all who are left."""
    del peers[gone]
    return converse(peers, by, tell(peers[by], Remove(gone), now=now), now, has_gossip=True)


def pass_time(peers: dict[Owner, Allocator], now: float) -> None:
    for name in sorted(peers):
        peers[name].tick(now)
        converse(peers, name, peers[name].outputs(), now, has_gossip=True)


def owners_of(peers: dict[Owner, Allocator], network: IPv4Network) -> set[tuple[Owner, ...]]:
    """Whom each peer holds to be the owners of a range, in order of address."""
    found = set()
    for peer in peers.values():
        assert peer.ring is not None
        found.add(tuple(entry.title.owner for entry in peer.ring.within(Block.of(network))))
    return found


def wishes(outputs: Sequence[Output]) -> list[Send]:
    return [output for output in sends(outputs) if isinstance(decode_message(output.payload), Settle)]
