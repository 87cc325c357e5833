"""From what the cores know of a peer to what the overlay plans with, and what people read.

Pure. It joins three worlds that do not know each other: gossip's views, summaries in peers' own words, WireGuard keys.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from gossip import PeerName, PeerView, Target
from weavemesh.overlay.pathevent import PathPeer
from weavemesh.overlay.plan import PlannedPeer
from weavemesh.overlay.state import Endpoint, PublicKey
from weavemesh.summary import Summary, SummaryInvalid
from weavemesh.trust import Secrets

SUMMARIES_KEPT = 2048
"""Decoded summaries remembered, about 1 KiB each: the same one is asked for whenever anything is planned or shown."""

DIAL_ADDRESSES_MAX = 4
"""Addresses of one peer that are dialled in turn: the likeliest come first; a host of many has bridges among them."""

_PEER_NAME = re.compile(r"\b[a-z2-7]{16}\b(?!\()")
"""A peer's name in a sentence of the cores, without its nickname behind it."""


def summary_of(view: PeerView) -> Summary | None:
    """What a peer says of itself; None if it has said nothing or nothing that we understand."""
    return None if view.summary is None else summary_in(view.summary)


def planned_peer(
    view: PeerView, summary: Summary, *, own_key: PublicKey, secrets: Secrets, chosen: Endpoint | None
) -> PlannedPeer:
    """What the overlay plans with for this peer: its key and where it may be reached, the `chosen` first.

    That one has been found to work.
    """
    first = () if chosen is None else (chosen,)
    return PlannedPeer(
        view.name,
        summary.public_key(),
        secrets.for_pair(summary.secrets).preshared_key(own_key, summary.public_key()),
        tuple(dict.fromkeys((*first, *_endpoints(view, summary)))),
    )


def path_peer(view: PeerView, summary: Summary) -> PathPeer:
    """The peer as the path machine looks for it."""
    return PathPeer(_endpoints(view, summary), summary.relaying(), in_touch=view.reachable, own=summary.own_endpoints())


def dial_addresses(_: PeerName, encoded: bytes) -> tuple[Target, ...]:
    """Where to dial a peer of this summary (`gossip.MeshOptions.dial_addresses`); empty if it does not tell."""
    summary = summary_in(encoded)
    if summary is None:
        return ()
    endpoints = (*summary.advertised_endpoints(), *summary.own_endpoints())
    return tuple(dict.fromkeys(Target(endpoint.text()) for endpoint in endpoints))[:DIAL_ADDRESSES_MAX]


def with_nicknames(sentence: str, nicknames: Mapping[str, str]) -> str:
    """A sentence of the cores for people: each peer's name with its nickname behind it.

    >>> with_nicknames("heard of aaaaaaaaaaaaaaaa, not of others", {"aaaaaaaaaaaaaaaa": "host1"})
    'heard of aaaaaaaaaaaaaaaa(host1), not of others'
    """

    def named(match: re.Match[str]) -> str:
        nickname = nicknames.get(match[0])
        return f"{match[0]}({nickname})" if nickname else match[0]

    return _PEER_NAME.sub(named, sentence)


def _endpoints(view: PeerView, summary: Summary) -> tuple[Endpoint, ...]:
    """Where it may be reached, the most likely first.

    What a user advertises comes first: he knows. Then where others see the peer's packets come from; where its link
    really comes from, or leads to; what the peer believes its addresses to be.
    """
    linked = (Endpoint(link_host(view), summary.port),) if view.linked is not None else ()
    said = (*summary.advertised_endpoints(), *summary.seen_endpoints())
    return tuple(dict.fromkeys((*said, *linked, *summary.own_endpoints())))


def link_host(view: PeerView) -> IPv4Address | IPv6Address:
    """The address at the other end of our link to a peer, which must have one."""
    assert view.linked is not None
    return ip_address(view.linked.address.rpartition(":")[0].strip("[]"))


@lru_cache(maxsize=SUMMARIES_KEPT)
def summary_in(encoded: bytes) -> Summary | None:
    """What these bytes say; None if it is nothing that we understand."""
    try:
        return Summary.decode(encoded)
    except SummaryInvalid:
        return None
