"""The election: several peers that were started together found one ring. One peer's part of it, as a pure machine.

Single-decree Paxos (Lamport, "Paxos Made Simple") without messages: each peer has one record, its `Vote`, and the
votes of all are spread by gossip. Whose votes count, and why two majorities share a peer, is in electorate.py; what a
ring does with the decree is not here. The counterpart is the same machine on other peers.

Theory of operation
-------------------
The state of the protocol is the votes and nothing else: what we promised and accepted is in our vote, whether a
ballot of ours is under way can be read off it, and a restart goes on from it. Only two times are kept besides, and
they decide when to try and never what is true. After each input, in this order:

    our vote                   a vote that counts                       our vote afterwards
    promised <= b,             its proposal is D in its ballot b        promised b, accepted (b, D)
      accepted in less than b
    promised < b               its own ballot is b                      promised b
    promised b, ours,          a majority has promised exactly b        accepted (b, D): D is what was accepted in the
      accepted in less than b                                             greatest ballot among them; a new one if none
    any                        a majority has accepted one (b, D)       the same; D is decided

    time                                                                our vote afterwards
    attempt_at, a majority of those that count is reachable             promised (greatest number seen + 1, we)

An attempt is made 0.1 to 0.6 s after all are reachable, or a second later than that while only a majority is; and
again 1 to 2 s later if nothing is decided. The pause doubles up to 16 times that, so that slow networks decide too. A
ballot of somebody else's puts it off. One peer that is all there is needs no delay.

Why at most one decree is decided. In a ballot only its proposer proposes, and once: it writes its acceptance before
anybody hears it. Let D be decided in b, and let b' be the least greater ballot in which anything is proposed. A
majority promised b', so one peer of it accepted D in b. It did so before it promised b', else it would have refused
b; so its promise of b' came with an acceptance in b or later, less than b', and hence of D. So b' proposes D, and by
induction so does every later ballot.

All this rests on `take_news` being durable before it is told and before `decision` is acted upon. If our own vote
comes back newer than we have it (an old state brought back from a backup), we take the greater of each part.
"""

from collections.abc import Collection, Iterable
from random import Random

from msgspec.structs import replace

from ipam_crdt.electorate import excuse, voters
from ipam_crdt.error import LocalMisuse, RemoteViolation, SnapshotCorrupt
from ipam_crdt.ring import RING_ID_BYTES
from ipam_crdt.roster import Owner
from ipam_crdt.vote import (
    COUNTER_MAX,
    JOINING,
    NAMES_MAX,
    NO_BALLOT,
    PARTICIPANTS_MAX,
    Accepted,
    Ballot,
    Decree,
    Electorate,
    Vote,
    Way,
    decode_votes,
    encode_votes,
)
from ipam_crdt.wire import OWNER_LENGTH_MAX, is_owner_name

FIRST_DELAY_S = (0.1, 0.6)
"""Drawn before the first attempt: longer than a round trip, so that mostly one peer is alone with its ballot."""
ABSENT_S = 1.0
"""Longer it waits while not all initial peers are there, for each that is there gets a share of the ring at once."""
PAUSE_S = (1.0, 2.0)
"""Drawn before the next attempt: two round trips of a slow network."""
DOUBLINGS_MAX = 4
"""How often the pause doubles: to 32 s at most, which is enough for any gossip that still deserves the name."""


class Election:
    """One peer's part. A peer that joins takes none; it keeps and passes on what others say."""

    def __init__(
        self, owner: Owner, *, electorate: Electorate | None, snapshot: bytes | None, rng: Random, now: float
    ) -> None:
        """An election that goes on from its snapshot (a `state()`), if there is one; `electorate` is None to join.

        Another electorate than in the snapshot replaces it, and names learned by addresses are learned anew; what was
        promised stays. A peer that expects nobody else has decided at once. Raises LocalMisuse, SnapshotCorrupt.
        """
        if not is_owner_name(owner):
            raise LocalMisuse(f"an owner's name has 1 to {OWNER_LENGTH_MAX} printable ASCII characters")
        self._owner = owner
        self._electorate = JOINING if electorate is None else electorate
        self._rng = rng
        self._votes: dict[Owner, Vote] = {}
        self._reachable: frozenset[Owner] = frozenset()
        self._decision: Decree | None = None
        self._encoded: bytes | None = None
        self._news = False
        self._attempts = 0
        self._attempt_at: float | None = None
        if snapshot is not None:
            self._votes = _restored(snapshot)
        own = self._own
        if own is None and self._electorate != JOINING:
            self._write(Vote(owner, 0, self._electorate, (owner,)))
        elif own is not None and own.electorate != self._electorate:
            self._write(replace(own, electorate=self._electorate, known=(owner,)))
        self._react(now)

    # The five verbs

    def receive(self, payload: bytes, now: float) -> None:
        """Take in what somebody knows; raises RemoteViolation, and nothing of it is used then."""
        if payload == self.state():
            return
        heard = decode_votes(payload)
        merged = dict(self._votes)
        for vote in heard:
            held = merged.get(vote.name)
            if vote.name != self._owner and (held is None or vote.rank > held.rank):
                merged[vote.name] = vote
        self._set_votes(merged)
        for vote in heard:
            if vote.name == self._owner:
                self._recall(vote)
        self._react(now)

    def set_known(self, names: Iterable[Owner], now: float) -> None:
        """These are at the addresses that we were given. They add to those known; by count, or to join, no matter."""
        own = self._own
        if own is None or own.electorate.way is not Way.ADDRESSES:
            return
        known = tuple(sorted({*own.known, *names}))
        if known != own.known and len(known) <= PARTICIPANTS_MAX:
            self._write(replace(own, known=known))
            self._react(now)

    def set_reachable(self, names: Iterable[Owner], now: float) -> None:
        """Exactly these can be reached now, as far as is known. It decides whether to try, and who gets a share."""
        self._reachable = frozenset(names)
        self._react(now)

    def tick(self, now: float) -> None:
        """Do what time has brought; early, late or twice does no harm."""
        if self._attempt_at is not None and self._attempt_at <= now:
            self._propose()
            self._attempts = min(self._attempts + 1, DOUBLINGS_MAX)
            self._attempt_at = now + self._pause()
        self._react(now)

    def deadline(self) -> float | None:
        """When `tick` has something to do next, on the clock of `now`; None if nothing."""
        return self._attempt_at

    def take_news(self) -> bytes | None:
        """All that is known, if any of it is news since the last call: to be persisted, then told to all; else None."""
        if not self._news:
            return None
        self._news = False
        return self.state()

    # Queries

    @property
    def decision(self) -> Decree | None:
        """What is decided; never changes again. To be acted upon when `take_news` is durable."""
        return self._decision

    def state(self) -> bytes:
        """All that is known, for another's `receive`; to be told when `take_news` is durable."""
        if self._encoded is None:
            self._encoded = encode_votes(self._votes.values())
        return self._encoded

    def votes(self) -> tuple[Vote, ...]:
        """All votes that are known, sorted by name."""
        return tuple(self._votes[name] for name in sorted(self._votes))

    def vote(self) -> Vote | None:
        """Our own vote; None if we never had any."""
        return self._own

    def excuse(self) -> str:
        """Why nothing is decided yet, as a sentence with cause and remedy; empty when it is."""
        return "" if self._decision is not None else excuse(self._own, self._votes.values(), self._reachable)

    def check(self) -> list[str]:
        """What is wrong inside, as sentences: nothing, or there is a bug in this package."""
        violations = [
            f"the vote of {vote.name} is kept as {name}'s" for name, vote in self._votes.items() if vote.name != name
        ]
        own = self._own
        if (own is None and self._electorate != JOINING) or (own is not None and own.electorate != self._electorate):
            violations.append("our vote does not say how we were started")
        for vote in self.votes():
            if vote.accepted_ballot > vote.promised:
                violations.append(f"{vote.name} has accepted beyond its promise")
            if vote.name not in vote.known or list(vote.known) != sorted({*vote.known}):
                violations.append(f"the names that {vote.name} knows are not in order, or without its own")
        if not _are_within_limits(self._votes.values()):
            violations.append("more votes or names than a payload may have")
        if self._decision is not None and self._attempt_at is not None:
            violations.append("there is a decision and still an attempt to come")
        return violations

    # Votes

    @property
    def _own(self) -> Vote | None:
        return self._votes.get(self._owner)

    def _voters(self) -> list[Vote]:
        own = self._own
        return [] if own is None else voters(own, self.votes())

    def _write(self, vote: Vote) -> None:
        """Our vote is this from now on."""
        self._set_votes({**self._votes, self._owner: replace(vote, serial=vote.serial + 1)})

    def _set_votes(self, votes: dict[Owner, Vote]) -> None:
        """These are the votes from now on, as far as they can be told."""
        votes = self._without_surplus(votes)
        if votes == self._votes:
            return
        self._votes = votes
        self._encoded = None
        self._news = True

    def _recall(self, heard: Vote) -> None:
        """Our own vote as others have it: older in a whole world, newer if our state was lost or is an old one."""
        own = self._own
        if own is None:
            own = Vote(self._owner, 0, self._electorate, (self._owner,))
        if not own.serial <= heard.serial < COUNTER_MAX or heard == own:
            return
        known = {*own.known, *heard.known} if heard.electorate == own.electorate else {*own.known}
        joined = Vote(
            self._owner,
            heard.serial,
            own.electorate,
            tuple(sorted(known)) if len(known) <= PARTICIPANTS_MAX else own.known,
            max(own.promised, heard.promised),
            own.accepted if own.accepted_ballot >= heard.accepted_ballot else heard.accepted,
        )
        if joined == heard and heard.rank > own.rank:
            self._set_votes({**self._votes, self._owner: heard})
        elif joined != own or heard.rank > own.rank:
            self._write(joined)

    def _without_surplus(self, votes: dict[Owner, Vote]) -> dict[Owner, Vote]:
        """What can be told of them: our own, then those that we have named, then those of our electorate."""
        if _are_within_limits(votes.values()):
            return votes
        own = votes.get(self._owner)
        known = () if own is None else own.known
        kept: dict[Owner, Vote] = {}
        names: set[Owner] = set()

        def urgency(vote: Vote) -> tuple[object, ...]:
            return (vote is not own, vote.name not in known, vote.electorate != self._electorate, vote.name)

        for vote in sorted(votes.values(), key=urgency):
            mentioned = names | vote.names()
            if len(kept) < PARTICIPANTS_MAX and len(mentioned) <= NAMES_MAX:
                kept[vote.name], names = vote, mentioned
        return kept

    # The protocol

    def _react(self, now: float) -> None:
        """Go as far as the votes allow."""
        own = self._own
        if own is None or own.electorate == JOINING:
            return
        self._follow(own, now)
        if own.electorate.expected == 1 and self._decision is None and not own.own_ballot.number:
            self._propose()
        self._conclude()
        if self._decision is None:
            self._decision = self._majority_decree()
        self._arm(now)

    def _follow(self, own: Vote, now: float) -> None:
        """Accept and promise what others ask for, as far as our promises allow."""
        others = [vote for vote in self._voters() if vote.name != self._owner]
        vote = own
        for accepted in sorted(other.proposal for other in others if other.proposal is not None):
            if accepted.ballot >= vote.promised and accepted.ballot > vote.accepted_ballot:
                vote = replace(vote, promised=accepted.ballot, accepted=accepted)
        greatest = max((other.own_ballot for other in others), default=vote.promised)
        if greatest > vote.promised:
            vote = replace(vote, promised=greatest)
        if vote != own:
            self._write(vote)
            self._attempt_at = now + self._pause()

    def _propose(self) -> None:
        """Ask for promises in a new ballot, ours the first."""
        own, counting = self._own, self._voters()
        if own is None or not counting:
            return
        number = max(max(vote.promised.number for vote in counting), own.promised.number) + 1
        if number <= COUNTER_MAX:
            self._write(replace(own, promised=Ballot(number, self._owner)))

    def _conclude(self) -> None:
        """With a majority of promises for our ballot, propose a decree in it, once."""
        own = self._own
        if own is None or own.promised.proposer != self._owner or own.accepted_ballot == own.promised:
            return
        promisers = [vote for vote in self._voters() if vote.promised == own.promised]
        if len(promisers) >= own.electorate.quorum:
            self._write(replace(own, accepted=Accepted(own.promised, self._choose(promisers))))

    def _choose(self, promisers: list[Vote]) -> Decree:
        """What may have been decided already, if anything; else a new ring for all that are there."""
        accepted = [vote.accepted for vote in promisers if vote.accepted is not None]
        if accepted:
            return max(accepted).decree
        present = {vote.name for vote in self._voters()} & self._reachable
        return Decree(self._rng.randbytes(RING_ID_BYTES), tuple(sorted({self._owner, *present})))

    def _majority_decree(self) -> Decree | None:
        """What a majority has accepted in one ballot; None if nothing."""
        own, accepted = self._own, [vote.accepted for vote in self._voters() if vote.accepted is not None]
        for one in accepted:
            if own is not None and accepted.count(one) >= own.electorate.quorum:
                return one.decree
        return None

    def _arm(self, now: float) -> None:
        """Attempt only what can succeed."""
        counting = {vote.name for vote in self._voters()}
        present = counting & {self._owner, *self._reachable}
        if self._decision is not None or len(present) < self._electorate.quorum:
            self._attempt_at = None
            return
        is_whole = len(present) == self._electorate.expected
        is_first = self._own is not None and self._own.promised == NO_BALLOT
        if self._attempt_at is None or (is_whole and is_first and self._attempt_at > now + FIRST_DELAY_S[1]):
            self._attempt_at = now + self._rng.uniform(*FIRST_DELAY_S) + (0.0 if is_whole else ABSENT_S)

    def _pause(self) -> float:
        return self._rng.uniform(*PAUSE_S) * (1 << self._attempts)


def _are_within_limits(votes: Collection[Vote]) -> bool:
    return len(votes) <= PARTICIPANTS_MAX and len({name for vote in votes for name in vote.names()}) <= NAMES_MAX


def _restored(snapshot: bytes) -> dict[Owner, Vote]:
    try:
        return {vote.name: vote for vote in decode_votes(snapshot)}
    except RemoteViolation as violation:
        raise SnapshotCorrupt(str(violation)) from violation
