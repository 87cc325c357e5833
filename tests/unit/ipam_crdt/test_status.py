import pytest

from ipam_crdt import Allocate, Fenced, IpamStatus, OwnerStatus, WaitingStatus
from tests.unit.ipam_crdt.peers import ALONE, ANNE, BERT, UNIVERSE, allocator, give, mesh, tell


def test_a_founder_shows_itself_as_the_owner_of_all() -> None:
    founder = allocator(ANNE, ALONE)
    tell(founder, Allocate("pod", 1.0))
    assert founder.status() == IpamStatus(
        universe=UNIVERSE,
        ring_id=founder.ring_id,
        owners=(OwnerStatus(ANNE, (UNIVERSE,), 256, 253, reachable=True),),
        unknown=0,
        allocated=1,
        pending=(),
        findings=(),
        is_removed=False,
        removed=(),
        unsettled=(),
        quarantined=(),
    )


def test_a_peer_without_a_ring_shows_who_waits_and_why() -> None:
    joiner = allocator(BERT)
    tell(joiner, Allocate("pod", 5.0))
    reason = (
        "there is no address ring yet: this peer joins a ring and founds none; "
        "start a peer that founds one, or link this one to a mesh"
    )
    status = joiner.status()
    assert (status.ring_id, status.owners, status.unknown) == (None, (), 256)
    assert status.pending == (WaitingStatus("pod", None, 5.0, reason),)


def test_one_who_was_removed_sees_that_it_was_and_owns_nothing() -> None:
    peers = mesh(ANNE, BERT)
    give(peers, ANNE, BERT)
    tell(peers[BERT], Fenced(ANNE))
    status = peers[BERT].status()
    assert (status.is_removed, status.removed, status.unsettled, status.allocated) == (True, (BERT,), (), 1)
    assert [owner.owner for owner in status.owners] == [ANNE]


def test_status_is_a_value() -> None:
    with pytest.raises(AttributeError):
        allocator(BERT).status().allocated = 1  # type: ignore[misc]  # that it is not allowed is what is tested
