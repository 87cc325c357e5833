from ipaddress import IPv4Network

import pytest

from ipam_crdt import Allocate, Founding, IpamStatus, OwnerStatus, WaitingStatus
from tests.unit.ipam_crdt.peers import UNIVERSE, A, B, feed, peer


def test_a_founder_shows_itself_as_the_owner_of_all() -> None:
    founder = peer(A, Founding.FOUND)
    feed(founder, Allocate("pod", 1.0))
    assert founder.status() == IpamStatus(
        universe=UNIVERSE,
        ring_id=founder.ring_id,
        owners=(OwnerStatus(A, (IPv4Network("10.32.0.0/24"),), 256, 253, reachable=True),),
        unknown=0,
        allocated=1,
        pending=(),
        findings=(),
    )


def test_a_peer_without_a_ring_shows_who_waits_and_why() -> None:
    joiner = peer(B)
    feed(joiner, Allocate("pod", 5.0))
    reason = (
        "no peer has told us of the address ring yet; `weavemesh status connections` shows which peers are reachable"
    )
    status = joiner.status()
    assert (status.ring_id, status.owners, status.unknown) == (None, (), 256)
    assert status.pending == (WaitingStatus("pod", None, 5.0, reason),)


def test_status_is_a_value() -> None:
    with pytest.raises(AttributeError):
        peer(B).status().allocated = 1  # type: ignore[misc]  # that it is not allowed is what is tested
