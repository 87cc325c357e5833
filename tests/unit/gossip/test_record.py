import msgspec
import pytest

from gossip import RemoteViolation
from gossip.record import RANK_NONE, RECORD_LINKS_MAX, RecordBody, is_authentic, open_body, seal, signed_bytes
from tests.unit.gossip.fake_signer import fake_verify
from tests.unit.gossip.transcript import NAMES, SIGNERS, record


def test_a_sealed_record_is_authentic_and_opens_to_what_was_put_in() -> None:
    body = RecordBody(b"summary", (NAMES["bob"],))
    sealed = seal(SIGNERS["ann"], 3, 4, body)
    assert (sealed.origin, sealed.epoch, sealed.version) == (NAMES["ann"], 3, 4)
    assert is_authentic(sealed, fake_verify)
    assert open_body(sealed) == body


@pytest.mark.parametrize(
    "change",
    [
        {"origin": NAMES["bob"]},
        {"epoch": 4},
        {"version": 5},
        {"body": b"\x80"},
        {"public_key": SIGNERS["bob"].public_key},
        {"signature": b""},
    ],
)
def test_a_record_changed_in_any_field_is_not_authentic(change: dict[str, object]) -> None:
    changed = msgspec.structs.replace(record("ann", 3, 4), **change)
    assert not is_authentic(changed, fake_verify)


def test_a_signature_for_a_record_is_for_nothing_else() -> None:
    assert signed_bytes(NAMES["ann"], 1, 2, b"").startswith(b"weavemesh record 1\0")
    assert signed_bytes(NAMES["ann"], 1, 2, b"") != signed_bytes(NAMES["ann"], 2, 1, b"")


def test_epochs_outrank_versions_and_any_record_outranks_none() -> None:
    ranks = [RANK_NONE, record("ann", 0, 0).rank, record("ann", 1, 9).rank, record("ann", 2, 1).rank]
    assert ranks == sorted(ranks)


def test_two_records_under_one_version_have_an_order() -> None:
    one, other = record("ann", 1, 1, summary=b"one"), record("ann", 1, 1, summary=b"other")
    assert one.rank != other.rank


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x90",
        msgspec.msgpack.encode({"summary": b"", "links": ["x"]}),
        b"\x91" * 5000,
        b"\x82\xa7summary\xc4\x00\xa5links\x91\xa1\xff",
    ],
)
def test_a_body_that_cannot_be_read_is_a_violation(body: bytes) -> None:
    with pytest.raises(RemoteViolation):
        open_body(msgspec.structs.replace(record("ann", 1, 1), body=body))


def test_unknown_fields_of_a_body_are_skipped() -> None:
    body = msgspec.msgpack.encode({"future": [1, {}], "links": [], "summary": b"s"})
    assert open_body(msgspec.structs.replace(record("ann", 1, 1), body=body)) == RecordBody(b"s", ())


def test_the_links_that_a_record_names_are_bounded() -> None:
    names = (NAMES["bob"],) * (RECORD_LINKS_MAX + 1)
    body = RecordBody(b"", names[1:])
    assert open_body(seal(SIGNERS["ann"], 1, 1, body)) == body
    with pytest.raises(RemoteViolation):
        open_body(seal(SIGNERS["ann"], 1, 1, RecordBody(b"", names)))
