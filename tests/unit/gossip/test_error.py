import pytest

from gossip import GossipError, LocalMisuse, RemoteViolation, SnapshotCorrupt


def test_a_violation_names_the_rule_and_what_broke_it() -> None:
    violation = RemoteViolation("frame too long", "9 bytes")
    assert (violation.rule, violation.detail, str(violation)) == (
        "frame too long",
        "9 bytes",
        "frame too long: 9 bytes",
    )
    assert str(RemoteViolation("a second hello")) == "a second hello"


@pytest.mark.parametrize("kind", [RemoteViolation, LocalMisuse, SnapshotCorrupt])
def test_all_errors_are_of_one_tree(kind: type[Exception]) -> None:
    assert issubclass(kind, GossipError)
