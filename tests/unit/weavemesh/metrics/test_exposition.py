"""What is served is what Prometheus' own parser reads."""

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.weavemesh.sample import ailing_report
from weavemesh.metrics.exposition import exposition
from weavemesh.metrics.family import families


def test_every_metric_is_read_back_with_its_values() -> None:
    report = ailing_report()
    read = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(exposition(report).decode())
        for sample in family.samples
    }
    for family in families(report):
        name = f"{family.name}_total" if family.kind == "counter" else family.name
        for sample in family.samples:
            assert read[name, tuple(sorted(sample.labels.items()))] == sample.value


def test_the_process_is_measured_too() -> None:
    text = exposition(ailing_report()).decode()
    assert "\nprocess_resident_memory_bytes " in text
    assert "\nprocess_open_fds " in text


def test_what_a_peer_says_of_itself_cannot_become_a_metric() -> None:
    report = ailing_report()
    nasty = msgspec.structs.replace(report.peers[1], nickname='x"} 1\nweavemesh_ok 1\n# \\')
    text = exposition(msgspec.structs.replace(report, peers=(report.peers[0], nasty))).decode()
    assert sum(line.startswith("weavemesh_ok ") for line in text.splitlines()) == 1
    (info,) = [
        sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "weavemesh_peer_info"
    ]
    assert info.labels["nickname"] == nasty.nickname
