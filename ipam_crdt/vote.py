"""Votes: what each initial peer says while one ring is being founded, and the bytes they travel in. No behaviour.

A vote is a record with a single writer, the peer whose name it bears. Two versions of it merge to the greater by
`Vote.rank`, so the votes of a mesh are a join, and whole states of votes are all that is ever sent. The counterpart is
election.py, which writes one vote and reads the others; electorate.py says whose count.

A payload is the format byte 2 (ring knowledge has another) and MessagePack, arrays throughout, with one table for names
and one for decrees. Elements that a later release appends to an array are ignored. What cannot be right raises
`RemoteViolation` and nothing else.
"""

from collections.abc import Iterable, Sequence
from enum import Enum
from itertools import pairwise
from typing import Annotated, NamedTuple, Self

import msgspec
from msgspec import Struct

from ipam_crdt.error import LocalMisuse, RemoteViolation
from ipam_crdt.ring import RING_ID_BYTES
from ipam_crdt.roster import Owner
from ipam_crdt.wire import PAYLOAD_BYTES_MAX, is_owner_name

FORMAT = 2
VOTES_FORMAT = bytes([FORMAT])
"""How a payload of votes begins."""
PARTICIPANTS_MAX = 256
"""Initial peers, and votes kept: each vote may list all of them, and all lists together fit a frame of 1 MiB four
times over. A mesh is founded by a handful; whoever comes later joins and needs no vote.
"""
NAMES_MAX = 1_024
"""Different names in all votes that are kept: several times the participants, for those that votes name in error."""
COUNTER_MAX = 2**53 - 1
"""Serials and ballot numbers rise by single steps and never come here; every language reads it exactly."""


class Way(Enum):
    """How a peer knows who the initial peers are."""

    COUNT = "count"
    """It was told how many there are; everybody told the same number is one."""
    ADDRESSES = "addresses"
    """It was given the addresses of all others."""
    JOIN = "join"
    """It is none of them (any more): its vote counts for nobody."""


class Electorate(NamedTuple):
    """The initial peers as one command line describes them. Those of one election have equal electorates."""

    way: Way
    """How they are known."""
    expected: int
    """How many there are, this peer included; 0 for a peer that joins."""

    @classmethod
    def counted(cls, number: int) -> Self:
        """So many initial peers, whoever they are (`--initial-peers`); raises LocalMisuse."""
        if not 1 <= number <= PARTICIPANTS_MAX:
            raise LocalMisuse(f"the number of initial peers is between 1 and {PARTICIPANTS_MAX}, not {number}")
        return cls(Way.COUNT, number)

    @classmethod
    def addressed(cls, targets: int) -> Self:
        """This peer and those at the addresses it was given, itself not counted; raises LocalMisuse."""
        if not 0 <= targets < PARTICIPANTS_MAX:
            raise LocalMisuse(f"at most {PARTICIPANTS_MAX - 1} addresses of initial peers can be given, not {targets}")
        return cls(Way.ADDRESSES, 1 + targets)

    @property
    def quorum(self) -> int:
        """A true majority: any two of them among `expected` peers share one."""
        return self.expected // 2 + 1


JOINING = Electorate(Way.JOIN, 0)
"""Of a peer that never founds."""


class Ballot(NamedTuple):
    """An attempt to decide. Ballots sort by number, then proposer; no two proposers have one in common."""

    number: int
    """Greater than any that the proposer had seen."""
    proposer: Owner
    """Who may propose a decree in it."""


NO_BALLOT = Ballot(0, Owner(""))
"""Less than any other: nothing is promised yet."""


class Decree(NamedTuple):
    """What is decided: the identity of the ring, and who gets a share of it at once."""

    ring_id: bytes
    """16 bytes."""
    owners: tuple[Owner, ...]
    """Sorted, not empty."""


class Accepted(NamedTuple):
    """A decree that a peer has accepted, and the ballot in which it did."""

    ballot: Ballot
    decree: Decree


class Vote(Struct, frozen=True):
    """One peer's word. Only that peer changes it, and has it on disk before anybody hears it."""

    name: Owner
    """Whose it is."""
    serial: int
    """Rises with each change."""
    electorate: Electorate
    """Its command line."""
    known: tuple[Owner, ...]
    """Sorted, itself included: by addresses, the initial peers whose names it has learned. By count, itself alone."""
    promised: Ballot = NO_BALLOT
    """It will accept nothing in a lesser ballot."""
    accepted: Accepted | None = None
    """The last decree it has accepted; its ballot is not greater than the one promised."""

    @property
    def rank(self) -> tuple[object, ...]:
        """Decides which of two versions stands: a total order, by serial if the writer is honest and whole."""
        return (
            self.serial,
            self.promised,
            self.accepted or (),
            self.electorate.way.value,
            self.electorate.expected,
            self.known,
        )

    @property
    def accepted_ballot(self) -> Ballot:
        """The ballot in which it last accepted; `NO_BALLOT` if it never did."""
        return NO_BALLOT if self.accepted is None else self.accepted.ballot

    @property
    def own_ballot(self) -> Ballot:
        """The ballot that it asks others to promise; `NO_BALLOT` if it has promised somebody else's since."""
        return self.promised if self.promised.proposer == self.name else NO_BALLOT

    @property
    def proposal(self) -> Accepted | None:
        """The decree that it asks others to accept; None if it has accepted somebody else's since."""
        return self.accepted if self.accepted_ballot.proposer == self.name else None

    def names(self) -> set[Owner]:
        """All that it mentions."""
        mentioned = {self.name, *self.known, self.promised.proposer, self.accepted_ballot.proposer} - {Owner("")}
        return mentioned if self.accepted is None else mentioned | {*self.accepted.decree.owners}


_Index = Annotated[int, msgspec.Meta(ge=0, lt=NAMES_MAX)]
_DecreeIndex = Annotated[int, msgspec.Meta(ge=0, lt=PARTICIPANTS_MAX)]
_Counter = Annotated[int, msgspec.Meta(ge=1, le=COUNTER_MAX)]
_Expected = Annotated[int, msgspec.Meta(ge=0, le=PARTICIPANTS_MAX)]
_Indices = Annotated[list[_Index], msgspec.Meta(min_length=1, max_length=PARTICIPANTS_MAX)]


class _WireDecree(msgspec.Struct, array_like=True):
    ring_id: Annotated[bytes, msgspec.Meta(min_length=RING_ID_BYTES, max_length=RING_ID_BYTES)]
    owners: _Indices


class _WireBallot(msgspec.Struct, array_like=True):
    number: _Counter
    proposer: _Index


class _WireVote(msgspec.Struct, array_like=True):
    name: _Index
    serial: _Counter
    way: Way
    expected: _Expected
    known: _Indices
    promised: _WireBallot | None
    accepted: _WireBallot | None
    decree: _DecreeIndex | None


class _WireVotes(msgspec.Struct, array_like=True):
    names: Annotated[list[str], msgspec.Meta(max_length=NAMES_MAX)]
    decrees: Annotated[list[_WireDecree], msgspec.Meta(max_length=PARTICIPANTS_MAX)]
    votes: Annotated[list[_WireVote], msgspec.Meta(max_length=PARTICIPANTS_MAX)]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_WireVotes)


def encode_votes(votes: Iterable[Vote]) -> bytes:
    """The votes as a payload, the same for the same votes. They must be within the limits and of different names."""
    in_order = sorted(votes, key=lambda vote: vote.name)
    names = sorted({name for vote in in_order for name in vote.names()})
    place = {name: index for index, name in enumerate(names)}
    decrees = sorted({vote.accepted.decree for vote in in_order if vote.accepted is not None})
    decree_place = {decree: index for index, decree in enumerate(decrees)}

    def ballot(of: Ballot) -> _WireBallot | None:
        return None if of == NO_BALLOT else _WireBallot(of.number, place[of.proposer])

    wire = _WireVotes(
        [*names],
        [_WireDecree(decree.ring_id, [place[owner] for owner in decree.owners]) for decree in decrees],
        [
            _WireVote(
                place[vote.name],
                vote.serial,
                vote.electorate.way,
                vote.electorate.expected,
                [place[name] for name in vote.known],
                ballot(vote.promised),
                ballot(vote.accepted_ballot),
                None if vote.accepted is None else decree_place[vote.accepted.decree],
            )
            for vote in in_order
        ],
    )
    return VOTES_FORMAT + _encoder.encode(wire)


def decode_votes(payload: bytes) -> tuple[Vote, ...]:
    """The votes in a payload, sorted by name; raises RemoteViolation."""
    if not 0 < len(payload) <= PAYLOAD_BYTES_MAX:
        raise RemoteViolation(f"a payload of {len(payload)} bytes")
    if payload[0] != FORMAT:
        raise RemoteViolation(f"vote format {payload[0]}, which this release does not know")
    try:
        wire = _decoder.decode(memoryview(payload)[1:])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RemoteViolation(f"votes that cannot be read: {error}") from error
    return _Reader(wire).votes()


class _Reader:
    """Turns indices back into what they stand for, and refuses what no honest peer says."""

    def __init__(self, wire: _WireVotes) -> None:
        if not all(is_owner_name(name) for name in wire.names):
            raise RemoteViolation("a peer name that is empty, too long or not printable")
        self._wire = wire
        self._names = [Owner(name) for name in wire.names]
        self._decrees = [Decree(decree.ring_id, self._sorted_names(decree.owners)) for decree in wire.decrees]

    def votes(self) -> tuple[Vote, ...]:
        votes = tuple(self._vote(vote) for vote in self._wire.votes)
        _refuse_disorder([vote.name for vote in votes])
        return votes

    def _vote(self, wire: _WireVote) -> Vote:
        accepted = None
        if (wire.accepted is None) != (wire.decree is None):
            raise RemoteViolation("a ballot without a decree, or a decree without a ballot")
        if wire.decree is not None:
            if wire.decree >= len(self._decrees):
                raise RemoteViolation("a decree that is not there")
            accepted = Accepted(self._ballot(wire.accepted), self._decrees[wire.decree])
        if (wire.way is Way.JOIN) != (wire.expected == 0):
            raise RemoteViolation(f"{wire.expected} initial peers by {wire.way.value}")
        electorate = Electorate(wire.way, wire.expected)
        known = self._sorted_names(wire.known)
        vote = Vote(self._name(wire.name), wire.serial, electorate, known, self._ballot(wire.promised), accepted)
        if vote.accepted_ballot > vote.promised:
            raise RemoteViolation("a decree accepted beyond the promise")
        if vote.name not in vote.known:
            raise RemoteViolation("a vote that does not name its own peer")
        return vote

    def _ballot(self, wire: _WireBallot | None) -> Ballot:
        return NO_BALLOT if wire is None else Ballot(wire.number, self._name(wire.proposer))

    def _sorted_names(self, indices: list[int]) -> tuple[Owner, ...]:
        names = tuple(self._name(index) for index in indices)
        _refuse_disorder(names)
        return names

    def _name(self, index: int) -> Owner:
        if index >= len(self._names):
            raise RemoteViolation("a name that is not there")
        return self._names[index]


def _refuse_disorder(names: Sequence[Owner]) -> None:
    if any(one >= following for one, following in pairwise(names)):
        raise RemoteViolation("names that are out of order or come twice")
