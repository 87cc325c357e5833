"""A status becomes metrics: Weave Net's names for what Weave Net meant by them, and no more series than agreed."""

from collections.abc import Mapping

import msgspec

from tests.unit.weavemesh.sample import A, B, ailing_report
from weavemesh.metrics.family import LABEL_CHARACTERS_MAX, PEERS_MAX, Family, families
from weavemesh.status import StatusReport


def named(report: StatusReport) -> dict[str, Family]:
    return {family.name: family for family in families(report)}


def value(family: Family, **labels: str) -> float:
    (found,) = [sample.value for sample in family.samples if labels.items() <= dict(sample.labels).items()]
    return found


def test_the_names_of_weave_net_are_there() -> None:
    assert {name for name in named(ailing_report()) if name.startswith("weave_")} == {
        "weave_connections",
        "weave_connection_terminations",
        "weave_ips",
        "weave_max_ips",
        "weave_ipam_unreachable_count",
        "weave_ipam_unreachable_percentage",
        "weave_ipam_pending_allocates",
        "weave_ipam_pending_claims",
    }


def test_connections_have_a_value_for_each_state_also_where_there_is_none() -> None:
    report = ailing_report()
    connections = named(report)["weave_connections"]
    states: Mapping[str, float] = {sample.labels["state"]: sample.value for sample in connections.samples}
    assert set(states) == {"established", "pending", "retrying", "failed", "connecting"}
    assert sum(states.values()) == len(report.router.connections)
    assert {sample.labels["encryption"] for sample in connections.samples} == {"yes"}


def test_addresses_and_those_who_wait_for_some_are_counted() -> None:
    report = ailing_report()
    claiming = msgspec.structs.replace(report.ipam.pending[0], claims="10.32.0.9")
    ipam = msgspec.structs.replace(report.ipam, pending=(*report.ipam.pending, claiming))
    found = named(msgspec.structs.replace(report, ipam=ipam))
    assert value(found["weave_ips"], state="local-used") == len(report.ipam.active)
    assert value(found["weave_max_ips"]) == 2**20
    assert value(found["weave_ipam_pending_allocates"]) == len(report.ipam.pending)
    assert value(found["weave_ipam_pending_claims"]) == 1


def test_unreachable_owners_are_counted_with_what_they_own() -> None:
    report = ailing_report()
    lost = [entry for entry in report.ipam.entries if not entry.reachable]
    found = named(report)
    assert value(found["weave_ipam_unreachable_count"]) == len(lost) > 0
    assert value(found["weave_ipam_unreachable_percentage"]) == sum(entry.percent for entry in lost)


def test_each_other_peer_has_series_and_we_have_none() -> None:
    found = named(ailing_report())
    peers = {sample.labels["peer"] for sample in found["weavemesh_peer_live"].samples}
    assert B in peers
    assert A not in peers


def test_what_is_not_known_has_no_sample() -> None:
    report = ailing_report()
    silent = msgspec.structs.replace(report.peers[1], rtt_ms=None, last_handshake_s=None, via=None, loss=None)
    found = named(msgspec.structs.replace(report, peers=(report.peers[0], silent)))
    for name in ("rtt_seconds", "handshake_age_seconds", "relayed", "loss"):
        assert found[f"weavemesh_peer_{name}"].samples == ()


def test_all_samples_of_a_metric_have_the_same_labels() -> None:
    for family in families(ailing_report()):
        assert len({tuple(sample.labels) for sample in family.samples}) <= 1
        assert family.help.endswith((".", "`."))


def test_a_mesh_of_any_size_has_so_many_series_and_no_more() -> None:
    report = ailing_report()
    names = [f"{number:016x}" for number in range(PEERS_MAX + 234)]
    crowd = tuple(msgspec.structs.replace(report.peers[1], name=name, nickname="n" * 500) for name in names)
    found = named(msgspec.structs.replace(report, peers=(report.peers[0], *crowd)))
    assert value(found["weavemesh_peers_untold"]) == 234
    assert len(found["weavemesh_peer_live"].samples) == PEERS_MAX
    assert sum(sample.value for sample in found["weavemesh_peers"].samples) == PEERS_MAX + 234
    assert (
        max(len(sample.labels["nickname"]) for sample in found["weavemesh_peer_info"].samples) == LABEL_CHARACTERS_MAX
    )
    assert sum(len(family.samples) for family in found.values()) <= 9 * PEERS_MAX + 100
