import itertools

import pytest

from gossip import Counters
from gossip.record import RANK_NONE, Record, is_authentic
from gossip.store import Merged, RecordStore
from tests.unit.gossip.fake_signer import fake_verify
from tests.unit.gossip.transcript import NAMES, record


def store_of(*records: Record) -> RecordStore:
    store = RecordStore(is_authentic=lambda it: is_authentic(it, fake_verify), counters=Counters())
    for each in records:
        store.merge(each, 1.0)
    return store


RECORDS = (
    record("ann", 1, 1),
    record("ann", 1, 2, ["bob"]),
    record("ann", 2, 1, summary=b"one"),
    record("ann", 2, 1, summary=b"other"),
    record("bob", 1, 1),
)


def test_merge_does_not_care_about_order_or_repetition() -> None:
    results = {
        (store.fingerprint(), tuple(sorted((entry.origin, entry.rank) for entry in store.digest())))
        for order in itertools.permutations(RECORDS)
        for store in [store_of(*order, *order)]
    }
    assert len(results) == 1


def test_merge_tells_what_it_did() -> None:
    store = store_of()
    steps = [
        (record("ann", 1, 1, summary=b"s"), Merged.CHANGED),
        (record("ann", 1, 1, summary=b"s"), Merged.KNOWN),
        (record("ann", 1, 2, ["bob"], b"s"), Merged.RENEWED),
        (record("ann", 1, 1, summary=b"s"), Merged.NOTHING),
        (record("ann", 1, 3, ["bob"], b"t"), Merged.CHANGED),
        (record("ann", 2, 1, ["bob"], b"t"), Merged.CHANGED),
    ]
    assert [store.merge(each, 1.0) for each, _ in steps] == [merged for _, merged in steps]


def test_equal_fingerprints_mean_equal_records() -> None:
    assert store_of(*RECORDS[:2]).fingerprint() == store_of(RECORDS[1]).fingerprint()
    assert store_of(RECORDS[0]).fingerprint() != store_of(RECORDS[1]).fingerprint()
    assert store_of(RECORDS[2]).fingerprint() != store_of(RECORDS[3]).fingerprint()
    assert store_of().fingerprint() == bytes(16)


@pytest.mark.parametrize(("mine", "theirs"), [((0, 4), (1,)), ((2,), (3, 4)), ((), (0, 4)), ((3,), (3,))])
def test_an_exchange_of_digests_makes_two_stores_equal(mine: tuple[int, ...], theirs: tuple[int, ...]) -> None:
    one, other = store_of(*(RECORDS[i] for i in mine)), store_of(*(RECORDS[i] for i in theirs))
    digest = one.digest()
    for_them, for_us = other.older_than(digest), other.newer_than(digest)
    for origin in for_them:
        known = one.get(origin)
        assert known is not None
        other.merge(known.record, 2.0)
    for origin in for_us:
        known = other.get(origin)
        assert known is not None
        one.merge(known.record, 2.0)
    assert one.fingerprint() == other.fingerprint()


def test_an_unknown_origin_has_the_lowest_rank() -> None:
    store = store_of(RECORDS[0])
    assert store.rank(NAMES["eve"]) == RANK_NONE
    assert store.get(NAMES["eve"]) is None
    assert NAMES["eve"] not in store
    assert list(store) == [NAMES["ann"]]


def test_the_signature_of_an_old_record_is_not_even_checked() -> None:
    checked: list[Record] = []

    def verify(it: Record) -> bool:
        checked.append(it)
        return True

    store = RecordStore(is_authentic=verify, counters=Counters())
    for each in (RECORDS[1], RECORDS[0], RECORDS[1]):
        store.merge(each, 1.0)
    assert checked == [RECORDS[1]]
