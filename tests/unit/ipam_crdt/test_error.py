from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network

import pytest

from ipam_crdt import IpamError, LocalMisuse, RemoteViolation, SnapshotCorrupt, SnapshotForeign, UniverseMismatch

ERRORS = [
    RemoteViolation("a payload of 0 bytes"),
    LocalMisuse("a range without addresses"),
    SnapshotCorrupt("it is cut short"),
    SnapshotForeign("it belongs to peer b, not to a", "b"),
    UniverseMismatch(IPv4Network("10.32.0.0/12"), IPv4Network("10.0.0.0/8")),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_error_is_of_one_tree_and_says_what_is_wrong(error: IpamError) -> None:
    assert isinstance(error, IpamError)
    assert str(error)


def test_a_foreign_snapshot_is_one_that_cannot_be_used() -> None:
    error = SnapshotForeign("it belongs to peer b, not to a", "b")
    assert isinstance(error, SnapshotCorrupt)
    assert str(error) == "the ring file cannot be used: it belongs to peer b, not to a"
    assert error.belongs_to == "b"


def test_an_error_passes_through_a_context_manager() -> None:
    """It sets the traceback, which an error that is frozen would not allow."""

    @contextmanager
    def passing() -> Iterator[None]:
        yield

    with pytest.raises(RemoteViolation), passing():
        raise RemoteViolation("a payload of 0 bytes")
