"""Whose votes count, and what to tell a person while too few do: pure functions over votes. Not the election itself.

The rule
--------
The vote of z counts for x, and x acts upon z's ballots, if the two have equal electorates (way and number N) and

- by count: at most N peers with this electorate have been heard of. If there are more, nobody's vote counts.
- by addresses: x has learned z's name from one of its addresses, and z likewise x's. While any peer that x itself has
  named has the same N and the two together name more than N, nobody's vote counts for x: one of the lists is wrong.

Ways do not mix: a peer given addresses takes no part where others were given a number. It cannot tell whether they
mean it, and mostly it is a late-comer that was given one address to join by. It gets its ring from the others.

Why two majorities share an acceptor
------------------------------------
A quorum is N // 2 + 1 different names that count for somebody. *By count*, if the number is given to N peers at most,
all quorums are majorities of these. *By addresses*, a quorum of x lies within x's list; if the lists name the same N
peers, all quorums are majorities of these. Two majorities of one set of N meet. What is learned late, forgotten or
restarted does not matter: it makes a quorum smaller or none, never one outside the set. A peer that was installed anew
and has forgotten its promises has a new name, which is one too many wherever the old one is known.

*Lists that differ*: x and z each name the other or do not count for each other. So chains, circles and stars of hosts
that name one another one way found nothing; at most the peers that name each other both ways do, and the rest join.
Two disjoint quorums are left in one case only: the command lines describe two groups, in each of which a majority
names each other with the same N, and these majorities do not hear of each other in time. No rule by which a majority
may found without the rest excludes that: to either group, the other is peers that are down. Each peer of a quorum of
x has room for fewer than N / 2 names outside it, so no member of it can name a whole quorum of the other group. It is
what an operator gets who writes down two meshes, and is found and told as two rings that refuse each other.
"""

from collections.abc import Collection, Iterable

from ipam_crdt.roster import Owner
from ipam_crdt.vote import Vote, Way

NAMES_TOLD_MAX = 8
"""Names in one sentence: enough to act upon, and it still fits a terminal."""
SAME_LIST = "give each initial peer the addresses of all the others"
AFRESH = f"stop the initial peers, `weavemesh reset` each of them, and start them again: {SAME_LIST}"


def voters(own: Vote, votes: Iterable[Vote]) -> list[Vote]:
    """The votes that count for the peer of the first one, its own included; empty if none may."""
    equals = [vote for vote in votes if vote.electorate == own.electorate]
    expected = own.electorate.expected
    match own.electorate.way:
        case Way.COUNT:
            return equals if len(equals) <= expected else []
        case Way.ADDRESSES:
            named = [vote for vote in equals if vote.name in own.known]
            if any(len({*own.known, *vote.known}) > expected for vote in named):
                return []
            return [vote for vote in named if own.name in vote.known]
        case _:
            return []


def excuse(own: Vote | None, votes: Iterable[Vote], reachable: Collection[Owner]) -> str:
    """Why no ring is founded yet, as a sentence with the remedy."""
    if own is None or own.electorate.way is Way.JOIN:
        return "this peer joins a ring and founds none; start a peer that founds one, or link this one to a mesh"
    everyone = sorted(votes, key=lambda vote: vote.name)
    surplus = _surplus(own, everyone)
    if surplus:
        return surplus
    counting = voters(own, everyone)
    quorum = own.electorate.quorum
    if len(counting) < quorum:
        return _stranger(own, everyone) or _missing(own, counting)
    unreachable = [vote.name for vote in counting if vote.name != own.name and vote.name not in reachable]
    if len(counting) - len(unreachable) < quorum:
        return (
            f"of {own.electorate.expected} initial peers, {quorum} must be reachable to found a ring, and these are "
            f"not: {_list(unreachable)}; `weavemesh status connections` shows why"
        )
    return "the initial peers are agreeing on a ring; wait a few seconds"


def _surplus(own: Vote, votes: list[Vote]) -> str:
    """The sentence if more peers than expected take themselves for initial ones; else empty."""
    expected = own.electorate.expected
    equals = [vote for vote in votes if vote.electorate == own.electorate]
    if own.electorate.way is Way.COUNT:
        if len(equals) <= expected:
            return ""
        names = _list(vote.name for vote in equals)
        return (
            f"more than {expected} initial peers: {names} were all started with --initial-peers {expected}; "
            f"restart all but {expected} of them without it"
        )
    if len(own.known) > expected:
        return f"more than {expected} initial peers are at the addresses given: {_list(own.known)}; {AFRESH}"
    for vote in equals:
        together = {*own.known, *vote.known}
        if vote.name in own.known and len(together) > expected:
            return (
                f"more than {expected} initial peers: {vote.name} and this one together name {_list(together)}; "
                f"{AFRESH}"
            )
    return ""


def _stranger(own: Vote, votes: list[Vote]) -> str:
    """The sentence if a peer that ought to count was started in another way; else empty."""
    for vote in votes:
        one_of_us = vote.name in own.known if own.electorate.way is Way.ADDRESSES else vote.electorate.way is Way.COUNT
        if vote.name == own.name or not one_of_us:
            continue
        if vote.electorate != own.electorate:
            remedy = "start all initial peers with the same" if own.electorate.way is Way.COUNT else SAME_LIST
            return f"{vote.name} was started {_start_of(vote)} and this one {_start_of(own)}; {remedy}"
        if own.electorate.way is Way.ADDRESSES and own.name not in vote.known:
            return (
                f"{vote.name} has not reached this peer at any address that it was given as an initial peer's; "
                f"{SAME_LIST}, or wait until the initial peers found a ring for this one to join"
            )
    return ""


def _missing(own: Vote, counting: list[Vote]) -> str:
    expected, quorum = own.electorate.expected, own.electorate.quorum
    silent = sorted({*own.known} - {vote.name for vote in counting})
    unheard = f", not of {_list(silent)}" if silent else ""
    return (
        f"waiting for {quorum - len(counting)} more of {expected} initial peers: heard of "
        f"{_list(vote.name for vote in counting)}{unheard}; start the others, or restart these as fewer"
    )


def _start_of(vote: Vote) -> str:
    match vote.electorate.way:
        case Way.COUNT:
            return f"with --initial-peers {vote.electorate.expected}"
        case Way.ADDRESSES:
            number = vote.electorate.expected - 1
            return f"with {number} address{'' if number == 1 else 'es'} of initial peers"
        case _:
            return "to join"


def _list(names: Iterable[Owner]) -> str:
    in_order = sorted(names)
    rest = len(in_order) - NAMES_TOLD_MAX
    return ", ".join(in_order[:NAMES_TOLD_MAX]) + (f" and {rest} more" if rest > 0 else "") or "none"
