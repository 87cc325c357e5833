"""The simulator finds what it should: each of these faults, put into the core, breaks a law within a few seeds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gossip import discovery, exchange, link, record, store, suspicion
from tests.simulation.test_gossip import run_chaos

SEEDS = 40


def takes_older(patch: pytest.MonkeyPatch) -> None:
    """The rank of a record is ignored."""
    patch.setattr(record.Record, "rank", property(lambda it: (0, it.version % 3, it.signature[:8])))


def believes_all(patch: pytest.MonkeyPatch) -> None:
    """Records are taken at half their epoch: what was never said is believed."""
    original = record.open_body
    patch.setattr(store, "open_body", lambda it: record.RecordBody(b"invented", original(it).links))


def never_pushes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(exchange.Exchange, "push", lambda *_args, **_options: None)
    patch.setattr(exchange.Exchange, "glance", lambda *_args: None)


def never_gives_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(suspicion, "SILENCE_MAX_S", 1e9)


def never_explores(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(discovery.Discovery, "choose", lambda *_args, **_options: [])


def keeps_all_links(patch: pytest.MonkeyPatch) -> None:
    """Of several links to one peer all are kept."""
    patch.setattr(link.LinkTable, "surplus", lambda *_args: [])


def forgets_debts(patch: pytest.MonkeyPatch) -> None:
    """What came to be owed over a blocked link is never paid, and nothing repairs it."""
    patch.setattr(exchange.Exchange, "unblock", lambda *_args: None)
    patch.setattr(exchange.Exchange, "glance", lambda *_args: None)


@pytest.mark.parametrize(
    "mutate",
    [takes_older, believes_all, never_pushes, never_gives_up, never_explores, keeps_all_links, forgets_debts],
)
def test_a_fault_in_the_core_is_found(mutate: Callable[[pytest.MonkeyPatch], None]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        mutate(patch)
        for seed in range(SEEDS):
            try:
                run_chaos(seed)
            except Exception:  # noqa: BLE001 - whichever law it is that breaks
                return
    pytest.fail(f"nothing was noticed in {SEEDS} seeds")
